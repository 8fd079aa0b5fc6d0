"""Processor time that other processes take from this one."""

import math
import os
import time
from typing import List, Tuple

import psutil

# Fields of psutil's cpu_times in which a processor works, for anyone. Linux counts guests twice.
_WORKING = ("user", "nice", "system", "irq", "softirq", "steal")

_LITTLE = 0.5  # processors; less takes no thread's place


class Competition:
    """The processors that other processes used since the last reading."""

    def __init__(self) -> None:
        self._last = _reading()

    @property
    def seconds(self) -> float:
        """Time since the last reading."""
        return time.perf_counter() - self._last[0]

    def read(self) -> float:
        """How many of this process's processors others kept busy since the last call."""
        then, now = self._last, _reading()
        self._last = now
        seconds, busy, own = (after - before for before, after in zip(then, now))
        return max(0.0, (busy - own) / max(seconds, 1e-9))


def busy_processors() -> float:
    """How many of this process's processors others keep busy now.

    It takes 0.3 seconds, and if that shows competition another two, so that a short peak is none.
    """
    competition, found = Competition(), math.inf
    for seconds in (0.3, 2.0):
        time.sleep(seconds)
        found = min(found, competition.read())
        if found < _LITTLE:
            break
    return found


def _reading() -> Tuple[float, float, float]:
    """Time, processor time of everyone on the processors of this process, and its own."""
    times = psutil.cpu_times(percpu=True)
    used = [times[number] for number in _allowed(len(times))]
    busy = sum(getattr(one, name, 0.0) for one in used for name in _WORKING)
    return time.perf_counter(), busy, time.process_time()


def _allowed(count: int) -> List[int]:
    """Numbers of the processors that this process may use, of `count`."""
    try:
        return [number for number in os.sched_getaffinity(0) if number < count]
    except AttributeError:  # systems other than Linux
        return list(range(count))
