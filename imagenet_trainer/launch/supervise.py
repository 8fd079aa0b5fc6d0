"""Start the jobs of one attempt, watch them, and end them all when one fails."""

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from typing import IO, Callable, List, Optional, Sequence, TextIO

from imagenet_trainer.errors import InputError, LostWorkerError
from imagenet_trainer.launch.plan import WORKER, Job, ending_in

# Seconds that servers and the scheduler get to exit by themselves after the last worker.
_CLOSING = 15.0
# Seconds after the first failure in which other jobs that fail for the same reason can print it.
_LAST_LINES = 1.0
# Seconds after the order to kill: an ssh whose network is down does not react.
_UNREACHABLE = 10.0
_PRINTING = threading.Lock()
# Exit codes of workers that saved and exited after a signal.
SIGNALLED = tuple(128 + number for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM))


class RunningJob:
    """A started job.

    The exit code of one that starts several processes is that of the process that failed first:
    srun returns the highest one, which is that of the processes that it ended because of it.
    """

    def __init__(self, job: Job, events: "queue.SimpleQueue[object]") -> None:
        self.job = job
        self.code: Optional[int] = None
        self._endings: List[int] = []  # exit codes of its processes
        self.process = subprocess.Popen(
            job.command,
            stdin=subprocess.PIPE if job.has_control else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C reaches the launcher only
        )
        self._pumps = [
            threading.Thread(target=self._copy, args=streams, daemon=True)
            for streams in (
                (self.process.stdout, sys.stdout),
                (self.process.stderr, sys.stderr),
            )
        ]
        for pump in self._pumps:
            pump.start()
        threading.Thread(target=self._wait, args=(events,), daemon=True).start()

    def _wait(self, events: "queue.SimpleQueue[object]") -> None:
        code = self.process.wait()
        for pump in self._pumps:
            pump.join(timeout=5)
        code = code if code >= 0 else 128 - code
        self.code = cause_of(self._endings) if code and self._endings else code
        events.put(self)

    def _copy(self, source: IO[bytes], target: TextIO) -> None:
        """Write whole lines, so that those of several hosts do not mix."""
        for line in source:
            text = line.decode("utf-8", "replace").rstrip("\n")
            code = None if self.job.has_control else ending_in(text)
            if code is not None:
                self._endings.append(code)
            with contextlib.suppress(OSError, ValueError), _PRINTING:
                target.write(text + "\n")
                target.flush()

    def stop(self, number: int) -> None:
        """Ask the workers of this job to save and exit."""
        if self.job.has_control:
            self._order(f"stop {int(number)}")
        else:
            # At SIGTERM mpirun and srun kill their processes, and at SIGINT srun only prints their
            # state. Both forward SIGUSR2, which the watchers turn into SIGTERM.
            self._signal(signal.SIGUSR2)

    def kill(self) -> None:
        """Kill the processes of this job at once."""
        if self.job.has_control:
            self._order("kill")
        else:
            self._signal(signal.SIGTERM)

    def cut_off(self) -> None:
        """Kill the job's own process, which did not react to `kill`."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def _order(self, text: str) -> None:
        """Send a line to the watcher; nothing happens if it has exited."""
        with contextlib.suppress(OSError, ValueError):
            assert self.process.stdin is not None
            self.process.stdin.write(text.encode() + b"\n")
            self.process.stdin.flush()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)


class Attempt:
    """All jobs, from their start to the end of the last one.

    `stop` may be called by a signal handler at any time. `log` gets one line for each event.
    """

    def __init__(self, log: Callable[[str], None], grace: float) -> None:
        self._log, self._grace = log, grace
        self._events: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._jobs: List[RunningJob] = []
        self._stop_signal: Optional[int] = None  # that the launcher received
        self._stopping: Optional[float] = None  # time at which workers were asked to save
        self._closing: Optional[float] = None  # time at which servers and scheduler ended

    def run(self, jobs: Sequence[Job]) -> int:
        """Return 0 if all workers end with 0, otherwise the exit code of the job that failed.

        After a signal to the launcher whose workers all saved, the code is that of the signal.
        """
        code = 1
        try:
            for job in jobs:
                self._jobs.append(RunningJob(job, self._events))
            code = self._watch()
        finally:
            self._end_all(gently=code == 0)
        if code in SIGNALLED and self._stop_signal is not None:
            return 128 + self._stop_signal  # mpirun's and srun's workers all end with 143
        return code

    def stop(self, number: int) -> None:
        """Ask all workers to save and exit; a second call kills everything."""
        self._events.put(number)

    def _watch(self) -> int:
        """Wait until all workers have ended or one job has failed."""
        result = 0
        workers = [running for running in self._jobs if running.job.role in (WORKER, None)]
        while any(worker.code is None for worker in workers):
            event = self._next_event()
            if event is None:
                cause = "the servers ended" if self._stopping is None else "the signal"
                self._log(f"some workers are still running long after {cause}; killing all")
                return result or 128 + signal.SIGKILL
            if isinstance(event, int):
                if self._stopping is not None:
                    self._log(f"{_name(event)} again: killing all")
                    return 128 + event
                self._stop_signal = event
                self._begin_to_stop(f"{_name(event)}: workers save and exit", workers, event)
            elif isinstance(event, RunningJob):
                failed = self._has_failed(event)
                result = result or (event.code or 0)
                if failed:
                    self._log(f"{event.job.name} {_ending(event.code or 0)}; stopping the others")
                    self._wait_for_ends(_LAST_LINES)
                    ended = (running.code for running in self._jobs if running is not event)
                    return cause_of([result or 1, *filter(None, ended)])
        return result

    def _has_failed(self, ended: RunningJob) -> bool:
        """Whether the end of this job is a failure of the attempt."""
        if ended.job.role in (WORKER, None):
            if ended.code in SIGNALLED and self._stopping is None:
                others = [o for o in self._jobs if o.job.role == WORKER and o.code is None]
                self._begin_to_stop(
                    f"{ended.job.name} {_ending(ended.code)}; the others follow", others, 0
                )
            return ended.code != 0 and ended.code not in SIGNALLED
        # Servers and scheduler end with 0 once all workers have disconnected.
        self._closing = self._closing or time.monotonic()
        return ended.code != 0

    def _begin_to_stop(self, message: str, workers: Sequence[RunningJob], number: int) -> None:
        self._log(message)
        self._stopping = time.monotonic()
        for worker in workers:
            if number and worker.code is None:
                worker.stop(number)

    def _next_event(self) -> Optional[object]:
        """Wait for the next event; None once a time limit has passed."""
        limits = [] if self._stopping is None else [self._stopping + self._grace]
        limits += [] if self._closing is None else [self._closing + _CLOSING]
        if not limits:
            return self._events.get()
        left = min(limits) - time.monotonic()
        with contextlib.suppress(queue.Empty):
            return self._events.get(timeout=max(left, 0.0))
        return None

    def _wait_for_ends(self, seconds: float) -> None:
        """Wait until all jobs have ended, at most for this long."""
        until = time.monotonic() + seconds
        with contextlib.suppress(queue.Empty):
            while self._left():
                self._events.get(timeout=max(until - time.monotonic(), 0.0))

    def _end_all(self, gently: bool) -> None:
        if gently:
            self._wait_for_ends(_CLOSING)
        for running in self._left():
            running.kill()
        self._wait_for_ends(_UNREACHABLE)
        for running in self._left():
            running.cut_off()
        self._wait_for_ends(_UNREACHABLE)

    def _left(self) -> List[RunningJob]:
        return [running for running in self._jobs if running.code is None]


def cause_of(codes: Sequence[int]) -> int:
    """The exit code that explains the others: a wrong flag or file, otherwise the first one.

    A worker that lost another one is not the cause.
    """
    lost = LostWorkerError.exit_code
    return min(codes, key=lambda code: (code != InputError.exit_code, code == lost))


def _ending(code: int) -> str:
    if code - 128 in signal.valid_signals():
        return f"was ended by {_name(code - 128)}"
    return f"ended with exit code {code}"


def _name(number: int) -> str:
    with contextlib.suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"
