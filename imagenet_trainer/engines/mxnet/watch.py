"""Ends a process of ps-lite that would wait forever for another one.

ps-lite's calls wait in C, where Python can neither act on a signal nor on time. So signals end the
process at once while it joins the others, and a thread limits how long that takes. Afterwards
every worker and server sends the scheduler a heartbeat each second, from a thread of ps-lite, and
the scheduler acknowledges it. A process that hangs, or whose machine or network is down, sends
none: the scheduler ends if a worker or a server is silent, workers and servers end if the
scheduler is. The launcher ends all processes when one has ended.
"""

import atexit
import ctypes
import os
import signal
import sys
import threading
from contextlib import contextmanager
from typing import Any, Callable, Iterator, Mapping

from imagenet_trainer.engines.workers import BEGINNING, PATIENCE
from imagenet_trainer.errors import LostWorkerError, attributed_to
from imagenet_trainer.system.hosts import resolve

# ps-lite's numbers of its groups.
SCHEDULER = {"the scheduler": 1}
SERVERS_AND_WORKERS = {"a server": 2, "a worker": 4}
_TICK = 1.0  # seconds
# Successive ticks that have to agree, so that a machine that was suspended has time for heartbeats.
_CONFIRMED = 5
_SAID = 10  # seconds after which a process says what it waits for
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


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


def end_at_signals() -> None:
    """Let signals end the process at once, also while it waits in C."""
    if threading.current_thread() is threading.main_thread():
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)


@contextmanager
def joining(others: str, said: float = _SAID, limit: float = BEGINNING) -> Iterator[None]:
    """A block that waits in C until the others are present; nothing needs saving before that.

    Signals end the process at once. After `said` seconds it prints what it waits for, and after
    `limit` it ends with exit code 75.
    """
    present = threading.Event()

    def watch() -> None:
        if not present.wait(said):
            print(f"waiting for {others}", file=sys.stderr, flush=True)
            if not present.wait(max(limit - said, 0)):
                _end(f"waited {limit:g} s for {others}; start them, and the same command again")

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    threading.Thread(target=watch, name="joining", daemon=True).start()
    end_at_signals()
    try:
        yield
    finally:
        present.set()
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                if handler is not None:  # one that was not set by Python
                    signal.signal(number, handler)


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
    _end(f"{os.uname().nodename}: {why}; the same command continues from the last checkpoint")


def _end(why: str) -> None:
    print(f"error: {why}", file=sys.stderr, flush=True)
    os._exit(LostWorkerError.exit_code)
