"""Runs the steps of a long measurement so that a step that fails or hangs loses only itself.

One child process runs them in order. If a step raises, the child prints the traceback and ends; a
step that takes too long has its stack printed and is killed; a crash ends the child by itself. The
steps behind it run in a new child, because a GPU's errors stay with the process.
"""

import faulthandler
import os
import select
import signal
import subprocess
import sys
import time
import traceback
from contextlib import suppress
from typing import Callable, NamedTuple, Sequence

_FIRST, _PIPE = "STEPS_FIRST", "STEPS_PIPE"  # variables that make a process the child
_START = 60.0  # seconds more for the first step of a child, which imports
_LEAVE = 5.0  # seconds in which a child prints its stacks, or ends
_DONE = b"."


class Step(NamedTuple):
    """One measurement; `call` prints its result."""

    name: str
    seconds: float  # limit
    call: Callable[[], object]


def run_steps(steps: Sequence[Step], command: Sequence[str], seconds: float) -> int:
    """Run the steps, for at most so many seconds in all; returns how many failed or were not run.

    `command` is that of this process. Its child calls this with the same steps, and does not
    return.
    """
    if _FIRST in os.environ:
        sys.exit(_as_child(steps, int(os.environ[_FIRST]), int(os.environ[_PIPE])))
    end, first, missing = time.monotonic() + seconds, 0, 0
    while first < len(steps):
        if time.monotonic() >= end:
            print("NOT RUN, no time is left: " + ", ".join(step.name for step in steps[first:]))
            return missing + len(steps) - first
        first += _run_child(steps, command, first, end)
        if first < len(steps):  # the child ended in this step
            missing += 1
            first += 1
    return missing


def _run_child(steps: Sequence[Step], command: Sequence[str], first: int, end: float) -> int:
    """Run the steps from `first` on in a child, until one fails; returns how many succeeded."""
    reader, writer = os.pipe()
    environment = {**os.environ, _FIRST: str(first), _PIPE: str(writer), "PYTHONUNBUFFERED": "1"}
    child = subprocess.Popen(command, env=environment, pass_fds=[writer], start_new_session=True)
    os.close(writer)
    done = 0
    try:
        while first + done < len(steps):
            step = steps[first + done]
            limit = min(step.seconds + (0 if done else _START), end - time.monotonic())
            if not select.select([reader], [], [], max(limit, 0))[0]:
                print(f"FAILED {step.name}: stopped after {limit:.0f} s; its stacks:", flush=True)
                child.send_signal(signal.SIGUSR1)
                break
            if os.read(reader, 1) != _DONE:
                print(f"FAILED {step.name}", flush=True)
                break
            done += 1
    finally:
        os.close(reader)
        _end(child)
    return done


def _end(child: "subprocess.Popen[bytes]") -> None:
    """Wait for the child, then kill it and what it started: compilers, loaders."""
    with suppress(subprocess.TimeoutExpired):
        child.wait(_LEAVE)
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):  # a process inside the driver may not be killable
        code = child.wait(20)
        if code:
            print(f"the process ended with code {code}", flush=True)


def _as_child(steps: Sequence[Step], first: int, pipe: int) -> int:
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, sys.stdout)
    for step in steps[first:]:
        try:
            step.call()
        except BaseException:  # a step that exits has no result either
            sys.stdout.flush()
            traceback.print_exc(file=sys.stdout)
            return 1
        sys.stdout.flush()
        os.write(pipe, _DONE)
    return 0
