"""A training in a process of its own: signals are passed on, its memory is measured."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, List, NamedTuple, Sequence

from imagenet_trainer.interrupts import Interrupts

_ROOT = Path(__file__).parents[2]
_PATIENCE = 0.05  # seconds between two looks at the process
_UNIT = 1 if sys.platform == "darwin" else 1024  # of what getrusage calls the resident set


class Ended(NamedTuple):
    """How a training ended."""

    code: int  # as a shell reports it
    last_words: str  # the last line that it said
    seconds: float  # with opening, validation and checkpoints
    peak_bytes: int  # the most memory that the process held


def train(words: Sequence[str], interrupts: Interrupts) -> Ended:
    """Run `python -m imagenet_trainer.fit` with these words to its end.

    The first signal that comes to us goes on to it, and it saves and ends; a second one ends both.
    It has a session of its own, or Ctrl-C would reach it twice.
    """
    path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH", "")]))
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "imagenet_trainer.fit", *words],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,
    )
    assert process.stderr is not None
    last: List[str] = [""]
    reader = threading.Thread(target=_pass_on, args=(process.stderr, last), daemon=True)
    reader.start()
    try:
        code, peak = _wait(process.pid, interrupts)
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        raise
    process.returncode = code  # it has been waited for
    reader.join(timeout=5)
    return Ended(128 - code if code < 0 else code, last[0], time.monotonic() - began, peak * _UNIT)


def _wait(process: int, interrupts: Interrupts) -> "tuple[int, int]":
    """The exit code (negative: a signal) and the peak of its memory, as the system counts it."""
    told = False
    while True:
        ended, status, usage = os.wait4(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status), usage.ru_maxrss
        if interrupts.signal and not told:
            told = True
            os.kill(process, interrupts.signal)
        time.sleep(_PATIENCE)


def _pass_on(lines: "IO[bytes]", last: List[str]) -> None:
    """Copy what it says to our standard error, and remember its last line."""
    for line in lines:
        text = line.decode("utf-8", "replace")
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(text)
            sys.stderr.flush()
        last[0] = " ".join(text.split()) or last[0]
