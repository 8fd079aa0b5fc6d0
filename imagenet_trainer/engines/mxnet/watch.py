"""Ends a process of ps-lite that would wait forever for another one.

While a process joins the others, `engines.joining` limits how long that takes. Afterwards every
worker and server sends the scheduler a heartbeat each second, from a thread of ps-lite, and
the scheduler acknowledges it. A process that hangs, or whose machine or network is down, sends
none: the scheduler ends if a worker or a server is silent, workers and servers end if the
scheduler is. The launcher ends all processes when one has ended.
"""

import atexit
import ctypes
import os
import threading
from typing import Any, Callable, Mapping

from imagenet_trainer.engines.joining import end_process
from imagenet_trainer.engines.workers import PATIENCE
from imagenet_trainer.errors import attributed_to
from imagenet_trainer.system.hosts import resolve

# ps-lite's numbers of its groups.
SCHEDULER = {"the scheduler": 1}
SERVERS_AND_WORKERS = {"a server": 2, "a worker": 4}
_TICK = 1.0  # seconds
# Successive ticks that have to agree, so that a machine that was suspended has time for heartbeats.
_CONFIRMED = 5


def prepare_environment() -> None:
    """Set ps-lite's variables: heartbeats, and addresses instead of host names.

    Raises InputError for a name that cannot be resolved.
    """
    os.environ["PS_HEARTBEAT_INTERVAL"] = f"{_TICK:.0f}"
    for name in ("DMLC_PS_ROOT_URI", "DMLC_NODE_HOST"):
        value = os.environ.get(name)
        if value:
            with attributed_to(name, " "):
                os.environ[name] = resolve(value)


class Watch:
    """Ends this process if one of ps-lite's groups has a member without heartbeats.

    Parameters
    ----------
    count
        returns how many members of a group, given by its number, were silent for that many seconds.
    groups
        to watch: their numbers by what a member is called.
    lost
        called once with the reason, in the watching thread.
    tick
        seconds between two looks.

    """

    def __init__(
        self,
        count: Callable[[int, int], int],
        groups: Mapping[str, int],
        lost: Callable[[str], None],
        tick: float = _TICK,
    ) -> None:
        self._count, self._groups, self._lost, self._tick = count, groups, lost, tick
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="heartbeat", daemon=True)
        self._thread.start()
        # A thread inside the library while the interpreter shuts down would crash it.
        atexit.register(self.leave)

    def leave(self) -> None:
        """Stop; the others may be gone from now on."""
        self._ended.set()
        self._thread.join()
        atexit.unregister(self.leave)

    def _watch(self) -> None:
        silent = dict.fromkeys(self._groups, 0)
        while not self._ended.wait(self._tick):
            for member, group in self._groups.items():
                is_silent = self._count(group, PATIENCE - _CONFIRMED) > 0
                silent[member] = silent[member] + 1 if is_silent else 0
                if silent[member] >= _CONFIRMED:
                    self._lost(f"{member} has not responded for {PATIENCE} s")
                    return


def counter(library: Any, handle: Any) -> Callable[[int, int], int]:
    """The `count` of a kvstore: MXNet's library and the handle."""

    def count(group: int, seconds: int) -> int:
        number = ctypes.c_int()
        library.MXKVStoreGetNumDeadNode(handle, group, ctypes.byref(number), seconds)
        return number.value

    return count


def end_lost(why: str) -> None:
    """End this process, whose main thread waits in C for the lost one."""
    end_process(
        f"{os.uname().nodename}: {why}; the same command continues from the last checkpoint"
    )
