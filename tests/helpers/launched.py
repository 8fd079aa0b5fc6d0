"""A launcher in a separate process, and the processes that it starts."""

import os
import re
import subprocess
import sys
import time
import uuid
from pathlib import Path

from conftest import ROOT

# A worker that trains nothing.
WORKER = ("python", ROOT / "tests" / "helpers" / "kvstore_worker.py")


class Launched:
    """A running tools/launch.py. Its processes carry a mark in their environment."""

    def __init__(self, flags, command, before=(), env=None):
        self.mark = f"LAUNCH_TEST={uuid.uuid4()}"
        name, value = self.mark.split("=")
        path = f"{ROOT}:{ROOT / 'tests'}"
        launcher = [sys.executable, str(ROOT / "tools" / "launch.py"), "--env", name]
        self.process = subprocess.Popen(
            [*map(str, before), *launcher, *map(str, flags), *map(str, command)],
            cwd=ROOT,
            env={**os.environ, **(env or {}), name: value, "PYTHONPATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.output = ""

    def until(self, pattern, times=1):
        """Read lines until the pattern has matched that many of them."""
        for line in self.process.stdout:
            self.output += line
            times -= bool(re.search(pattern, line))
            if not times:
                return
        raise AssertionError(self.output)

    def end(self):
        """Read the rest; return the exit code."""
        self.output += self.process.communicate(timeout=300)[0]
        return self.process.returncode

    def members(self, words=""):
        """Ids of the processes that carry the mark and have the words in their command line."""
        members = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                marked = self.mark.encode() in (folder / "environ").read_bytes()
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if marked and words in line:
                members.append(int(folder.name))
        return members

    def nobody_is_left(self):
        for _ in range(100):  # what was killed a moment ago
            if not self.members():
                return True
            time.sleep(0.1)
        return False
