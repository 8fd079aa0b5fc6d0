"""A training in a process of its own: signals are passed on, its memory is measured."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Dict, List, NamedTuple, Sequence, Tuple

from imagenet_trainer.interrupts import Interrupts

_ROOT = Path(__file__).parents[2]
_PATIENCE = 0.05  # seconds between two looks at the process, and at the memory of all
_MEMORY_EVERY = 0.2


class Ended(NamedTuple):
    """How a training ended."""

    code: int  # as a shell reports it
    last_words: str  # the last line that it said
    seconds: float  # with opening, validation and checkpoints
    peak_bytes: int  # the most memory that its processes held, added up; 0: unknown


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
        code, peak = _wait(process, interrupts)
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        raise
    reader.join(timeout=5)
    return Ended(128 - code if code < 0 else code, last[0], time.monotonic() - began, peak)


def _wait(process: "subprocess.Popen[bytes]", interrupts: Interrupts) -> Tuple[int, int]:
    """The exit code (negative: a signal) and the peak of its memory in bytes."""
    told, looked = False, 0.0
    peaks: Dict[int, int] = {}
    while process.poll() is None:
        if interrupts.signal and not told:
            told = True
            process.send_signal(interrupts.signal)
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


def _pass_on(lines: "IO[bytes]", last: List[str]) -> None:
    """Copy what it says to our standard error, and remember its last line."""
    for line in lines:
        text = line.decode("utf-8", "replace")
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(text)
            sys.stderr.flush()
        last[0] = " ".join(text.split()) or last[0]
