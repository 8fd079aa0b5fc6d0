"""Starts the jobs of one attempt, watches them, and ends all when one fails."""

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from typing import IO, Callable, List, Optional, Sequence, TextIO

from imagenet_trainer.launch.plan import WORKER, Job

# After the last worker ended well: servers and scheduler do so by themselves.
_CLOSING = 15.0
# After one failed: others that failed of the same cause say so before they are killed.
_LAST_WORDS = 1.0
# After the order to kill: an ssh whose network is gone.
_UNREACHABLE = 10.0
# Exit codes of workers that a signal had save and end.
SIGNALLED = tuple(128 + number for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM))


class Running:
    """A started job."""

    def __init__(self, job: Job, ended: "queue.SimpleQueue[object]") -> None:
        self.job = job
        self.code: Optional[int] = None
        self.process = subprocess.Popen(
            job.command,
            stdin=subprocess.PIPE if job.has_control else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C comes to the launcher alone
        )
        self._pumps = [
            threading.Thread(target=_copy, args=words, daemon=True)
            for words in (
                (self.process.stdout, sys.stdout),
                (self.process.stderr, sys.stderr),
            )
        ]
        for pump in self._pumps:
            pump.start()
        threading.Thread(target=self._wait, args=(ended,), daemon=True).start()

    def _wait(self, ended: "queue.SimpleQueue[object]") -> None:
        code = self.process.wait()
        for pump in self._pumps:
            pump.join(timeout=5)
        self.code = code if code >= 0 else 128 - code
        ended.put(self)

    def order(self, text: str) -> None:
        """Tell the watcher beside the process; nothing happens once it is gone."""
        with contextlib.suppress(OSError, ValueError):
            assert self.process.stdin is not None
            self.process.stdin.write(text.encode() + b"\n")
            self.process.stdin.flush()

    def stop(self, number: int) -> None:
        """Have the workers in it save and end."""
        if self.job.has_control:
            self.order(f"stop {int(number)}")
        elif self.job.name == "mpirun":
            # mpirun kills everything at SIGTERM, and passes this one on.
            self._signal(signal.SIGUSR2)
        elif self.job.name == "qsub":
            self._signal(signal.SIGINT)  # deletes the job, which warns its tasks by SIGUSR2
        else:
            self._signal(number)

    def kill(self) -> None:
        """End it at once."""
        if self.job.has_control:
            self.order("kill")
        else:
            self._signal(signal.SIGINT if self.job.name == "qsub" else signal.SIGTERM)

    def cut_off(self) -> None:
        """End what does not answer any more."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)


class Attempt:
    """All jobs, from their start to the end of the last one.

    `stop` may be called by a signal handler at any time. `say` gets one line for each event.
    """

    def __init__(self, say: Callable[[str], None], grace: float) -> None:
        self._say, self._grace = say, grace
        self._events: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._running: List[Running] = []
        self._stopping: Optional[float] = None  # since when workers save and end
        self._closing: Optional[float] = None  # since when servers and scheduler are done

    def run(self, jobs: Sequence[Job]) -> int:
        """Return 0 when all workers ended well, or the exit code of the first that did not."""
        code = 1
        try:
            for job in jobs:
                self._running.append(Running(job, self._events))
            code = self._watch()
        finally:
            self._end_all(gently=code == 0)
        return code

    def stop(self, number: int) -> None:
        """Have all workers save and end; called again, end all at once."""
        self._events.put(number)

    def _watch(self) -> int:
        """Until all workers have ended, or one thing has failed."""
        result = 0
        working = [one for one in self._running if one.job.role in (WORKER, None)]
        while any(one.code is None for one in working):
            event = self._next()
            if event is None:
                told = "the servers ended" if self._stopping is None else "the signal"
                self._say(f"some workers are still there long after {told}; killing all")
                return result or 128 + signal.SIGKILL
            if isinstance(event, int):
                if self._stopping is not None:
                    self._say(f"{_name(event)} again: killing all")
                    return 128 + event
                self._begin_to_stop(f"{_name(event)}: workers save and end", working, event)
            elif isinstance(event, Running):
                failed = self._judge(event)
                result = result or (event.code or 0)
                if failed:
                    self._say(f"{event.job.name} {_ending(event.code or 0)}; stopping the others")
                    self._listen(_LAST_WORDS)
                    return result or 1
        return result

    def _judge(self, one: Running) -> bool:
        """Whether the end of this job is a failure."""
        if one.job.role in (WORKER, None):
            if one.code in SIGNALLED and self._stopping is None:
                others = [o for o in self._running if o.job.role == WORKER and o.code is None]
                self._begin_to_stop(
                    f"{one.job.name} {_ending(one.code)}; the others follow", others, 0
                )
            return one.code != 0 and one.code not in SIGNALLED
        # Servers and scheduler end well once all workers have parted.
        self._closing = self._closing or time.monotonic()
        return one.code != 0

    def _begin_to_stop(self, told: str, whom: Sequence[Running], number: int) -> None:
        self._say(told)
        self._stopping = time.monotonic()
        for one in whom:
            if number and one.code is None:
                one.stop(number)

    def _next(self) -> Optional[object]:
        """What happens next; None when the time to end in is over."""
        ends = [] if self._stopping is None else [self._stopping + self._grace]
        ends += [] if self._closing is None else [self._closing + _CLOSING]
        if not ends:
            return self._events.get()
        left = min(ends) - time.monotonic()
        with contextlib.suppress(queue.Empty):
            return self._events.get(timeout=max(left, 0.0))
        return None

    def _listen(self, seconds: float) -> None:
        """Wait for ends, which say their last words, but not for longer."""
        until = time.monotonic() + seconds
        with contextlib.suppress(queue.Empty):
            while any(one.code is None for one in self._running):
                self._events.get(timeout=max(until - time.monotonic(), 0.0))

    def _end_all(self, gently: bool) -> None:
        if gently:
            self._listen(_CLOSING)
        for one in self._left():
            one.kill()
        self._listen(_UNREACHABLE)
        for one in self._left():
            one.cut_off()
        self._listen(_UNREACHABLE)

    def _left(self) -> List[Running]:
        return [one for one in self._running if one.code is None]


def _ending(code: int) -> str:
    return f"was ended by {_name(code - 128)}" if code > 128 else f"ended with exit code {code}"


def _name(number: int) -> str:
    with contextlib.suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"


_PRINTING = threading.Lock()


def _copy(source: IO[bytes], target: TextIO) -> None:
    """Whole lines, so that those of several hosts do not mix."""
    for line in source:
        with contextlib.suppress(OSError, ValueError), _PRINTING:
            target.write(line.decode("utf-8", "replace").rstrip("\n") + "\n")
            target.flush()
