"""Commands that get SIGINT at one moment of their start."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Sequence

ROOT = Path(__file__).resolve().parents[2]
# Runs a module and sends it SIGINT at its n-th import, opened file or compiled text, counted from
# the moment at which the command has its own handling, or has imported its settings without one.
_AT_EVENT = """
import os, runpy, signal, sys
at, count, counts = int(sys.argv[1]), 0, False

def hook(event, arguments):
    global count, counts
    if event in ("import", "open", "exec", "compile"):
        counts = (
            counts
            or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
            or "imagenet_trainer.config" in sys.modules
        )
        count += counts
        if counts and count == at:
            os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.addaudithook(hook)
sys.argv = sys.argv[2:]
try:
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
finally:
    print("events", count)
"""


def run_until(event: int, words: Sequence[str], folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run a module with its arguments in the folder; SIGINT comes at the event, 0 is never."""
    return subprocess.run(
        [sys.executable, "-c", _AT_EVENT, str(event), *words], cwd=folder, capture_output=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True, check=False,
    )  # fmt: skip


def count_events(words: Sequence[str], folder: Path) -> int:
    """The number of events of a whole run."""
    return int(run_until(0, words, folder).stdout.split()[-1])


def fault_of(done: "subprocess.CompletedProcess[str]") -> str:
    """What is wrong with the end of a command that got SIGINT, or ""."""
    if "Traceback" in done.stderr or "ignored" in done.stderr:
        return "traceback"
    return "" if done.returncode in (-signal.SIGINT, 128 + signal.SIGINT) else "signal"
