"""A command in a process of its own: signals are passed on, its memory is measured and given back.

`python -m imagenet_trainer.comparison.child_process MODULE WORD ...` is that process: it ends when
the process that started it is gone, even if that was killed.
"""

import contextlib
import ctypes
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Dict, List, NamedTuple, Sequence, Tuple

from imagenet_trainer.system.interrupts import Interrupts, name_of

_ROOT = Path(__file__).parents[2]
_PR_SET_PDEATHSIG = 1  # from linux/prctl.h
_PATIENCE = 0.05  # seconds between two looks at the process, and at the memory of all
_MEMORY_EVERY = 0.2


class Ended(NamedTuple):
    """How a command ended."""

    code: int  # as a shell reports it
    error: str  # why, in its own words, if it failed
    seconds: float
    peak_bytes: int  # the most memory that its processes held, added up; 0: unknown


def run(module: str, words: Sequence[str], interrupts: Interrupts, saves: bool = False) -> Ended:
    """Run `python -m module` with these words to its end; it has stdout and stderr of ours.

    The first signal that comes to us goes on to it if it `saves`, or it is killed; a second one
    ends both. It has a session of its own, or Ctrl-C would reach it twice.
    """
    path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH", "")]))
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", __name__, module, *words],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,
    )
    assert process.stderr is not None
    errors: List[str] = []
    last: List[str] = [""]
    prefix = f"{module.rpartition('.')[2]}: error: "
    reader = threading.Thread(
        target=_pass_on, args=(process.stderr, prefix, errors, last), daemon=True
    )
    reader.start()
    try:
        code, peak = _wait(process, interrupts, saves)
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        raise
    reader.join(timeout=5)
    error = errors[-1] if errors else "" if interrupts else _why(code, last[0])
    return Ended(128 - code if code < 0 else code, error, time.monotonic() - began, peak)


def _why(code: int, last_words: str) -> str:
    """For a process that ended without a line of its own."""
    if code >= 0:
        return f"it ended with {code}: {last_words}" if code else ""
    return f"it was ended by {name_of(-code)}, perhaps for want of memory (dmesg says so)"


def _wait(
    process: "subprocess.Popen[bytes]", interrupts: Interrupts, saves: bool
) -> Tuple[int, int]:
    """The exit code (negative: a signal) and the peak of its memory in bytes."""
    told, looked = False, 0.0
    peaks: Dict[int, int] = {}
    while process.poll() is None:
        if interrupts.signal and not told:
            told = True
            process.send_signal(interrupts.signal if saves else signal.SIGKILL)
        if time.monotonic() - looked > _MEMORY_EVERY:
            looked = time.monotonic()
            peaks.update(peaks_of_session(process.pid))
        time.sleep(_PATIENCE)
    return process.returncode, sum(peaks.values())


def peaks_of_session(session: int) -> Dict[int, int]:
    """Most bytes that each process of a session has held so far, as Linux tells; else {}.

    What wait4 tells is of no use: a process that we start counts our own memory as its first.
    """
    found: Dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):  # ended meanwhile
            # pid (name) state parent group session ...; the name may hold anything.
            words = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
            if int(words[3]) == session:
                found[int(folder.name)] = _high_water(folder / "status")
    return {process: peak for process, peak in found.items() if peak}


def _high_water(status: Path) -> int:
    lines = status.read_text(errors="replace").splitlines()
    return next((int(one.split()[1]) << 10 for one in lines if one.startswith("VmHWM:")), 0)


def _pass_on(lines: "IO[bytes]", prefix: str, errors: List[str], last: List[str]) -> None:
    """Copy what it says to our standard error, but for its error, which our caller tells."""
    for line in lines:
        text = line.decode("utf-8", "replace")
        last[0] = " ".join(text.split()) or last[0]
        if text.startswith(prefix):
            errors.append(last[0][len(prefix) :])
            continue
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(text)
            sys.stderr.flush()


def main(argv: Sequence[str]) -> None:
    """Be MODULE, with the words behind it."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:  # Linux; elsewhere a killed parent leaves us behind
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    sys.argv[1:] = argv[1:]
    runpy.run_module(argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
