"""Runs a command in another process: forwards signals, measures memory, collects its error.

`python -m imagenet_trainer.comparison.child_process MODULE ARGUMENT ...` is that process. It ends
when its parent process ends, even if the parent was killed.
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

import psutil

from imagenet_trainer.system.interrupts import Interrupts, signal_name
from imagenet_trainer.system.machine import peak_memory

_ROOT = Path(__file__).parents[2]
_PR_SET_PDEATHSIG = 1  # from linux/prctl.h
_POLL_SECONDS = 0.05  # between two checks whether the process has ended
_MEMORY_SECONDS = 0.2  # between two measurements of memory


class Ended(NamedTuple):
    """How a command ended."""

    code: int  # as a shell reports it
    error: str  # its error message if it failed, else ""
    seconds: float
    peak_bytes: int  # sum of the peak memory of its processes; 0: unknown


def run(
    module: str, arguments: Sequence[str], interrupts: Interrupts, forward_signals: bool = False
) -> Ended:
    """Run `python -m module` with these arguments to its end.

    Its standard output goes to that of this process, its standard error too, except for its error
    message, which is returned. On the first signal that this process gets, the child gets the same
    signal if `forward_signals` is set, and is killed otherwise; a second signal ends both. The
    child has its own session; otherwise Ctrl-C would reach it twice.
    """
    path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH", "")]))
    start = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", __name__, module, *arguments],
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
        target=_copy, args=(process.stderr, prefix, errors, last), daemon=True
    )
    reader.start()
    try:
        code, peak = _wait(process, interrupts, forward_signals)
    except BaseException:  # whatever ends this process early must not leave the other one behind
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        raise
    reader.join(timeout=5)
    error = errors[-1] if errors else ""
    if not errors and not interrupts:
        error = _reason(code, last[0])
    return Ended(128 - code if code < 0 else code, error, time.monotonic() - start, peak)


def _reason(code: int, last_line: str) -> str:
    """The reason for a failure without an error message."""
    if code >= 0:
        return f"exit code {code}: {last_line}" if code else ""
    return f"ended by {signal_name(-code)}, possibly out of memory (check dmesg)"


def _wait(
    process: "subprocess.Popen[bytes]", interrupts: Interrupts, forward_signals: bool
) -> Tuple[int, int]:
    """The exit code (negative: a signal) and the peak memory in bytes."""
    signalled, measured = False, 0.0
    peaks: Dict[int, int] = {}
    while process.poll() is None:
        if interrupts.signal and not signalled:
            signalled = True
            process.send_signal(interrupts.signal if forward_signals else signal.SIGKILL)
        if time.monotonic() - measured > _MEMORY_SECONDS:
            measured = time.monotonic()
            peaks.update(peaks_of_session(process.pid))
        time.sleep(_POLL_SECONDS)
    return process.returncode, sum(peaks.values())


def peaks_of_session(session: int) -> Dict[int, int]:
    """Peak memory in bytes of each process of a session, on Linux; {} elsewhere.

    The peak that wait4 reports is of no use: a forked process inherits that of its parent.
    """
    peaks: Dict[int, int] = {}
    for process in psutil.pids():
        with contextlib.suppress(OSError):  # the process has ended
            if os.getsid(process) == session:
                peaks[process] = peak_memory(process)
    return {process: peak for process, peak in peaks.items() if peak}


def _copy(lines: "IO[bytes]", prefix: str, errors: List[str], last: List[str]) -> None:
    """Copy lines to standard error, except for the error message, which the caller reports."""
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
    """Run MODULE in this process, with the arguments after it."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:  # Linux; elsewhere this process survives a killed parent
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    sys.argv[1:] = argv[1:]
    runpy.run_module(argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
