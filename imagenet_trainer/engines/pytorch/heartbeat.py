"""Ends a worker whose neighbour has fallen silent: stopped, or its machine gone from the network.

A process that died is noticed by torchrun at once. One that is there and does nothing is not: the
others wait for it inside a sum until that gives up, which takes as long as the slowest honest work
(compiling the network, a checkpoint on a disk that is away). So every worker has a thread that
counts in the store that all of them share, whatever the worker itself is doing, and looks at the
count of the next one. Each looks at one only: the store serves any number of them. A worker that
ended by an error counts no more either, so that none waits on another machine for one that failed.
"""

import atexit
import threading
from typing import Any, Callable, Optional

# Seconds without a sign. torchrun then needs up to 30 more to end a process that does not answer.
PATIENCE = 20
# The same before the first sign: imports from a slow disk take one worker longer than another.
BEGINNING = 300
_TICK = 1.0
_LEFT = b"left"  # a worker whose work is done


class Heartbeat:
    """Counts for this worker and listens for the next, from `begin` until `leave`.

    Parameters
    ----------
    store
        what all workers of this attempt share, with `set`, `get` and `check` of
        torch.distributed's stores, and no other user of this connection.
    rank, world_size
        of this worker.
    lost
        is called once with what is wrong, in a thread of its own.
    patience, beginning
        ticks without a sign, and without the first one, after which the next worker counts as lost.
        They are counted, and not read from a clock: a machine that was suspended comes back
        without losses.
    tick
        in seconds.

    """

    def __init__(
        self,
        store: Any,
        rank: int,
        world_size: int,
        lost: Callable[[str], None],
        patience: int = PATIENCE,
        beginning: int = BEGINNING,
        tick: float = _TICK,
    ) -> None:
        self._store, self._lost, self._tick = store, lost, tick
        self._mine, self._next = (f"heartbeat/{r}" for r in (rank, (rank + 1) % world_size))
        self._whose = {
            "store": "the first worker's machine",
            "next": f"worker {(rank + 1) % world_size} of {world_size}",
        }
        self._silent = {"store": 0, "next": 0}  # ticks without a sign
        self._patience = {"store": patience, "next": beginning}
        self._after_begun = patience
        self._is_done = False
        self._ended = threading.Event()
        self._parted = threading.Event()

    def begin(self) -> None:
        """Give the first sign, and start both threads, which end with the process."""
        self._store.set(self._mine, "0")
        for work in (self._beat, self._watch):
            threading.Thread(target=work, name="heartbeat", daemon=True).start()
        # A thread that is inside the store when the interpreter is taken down would crash it.
        atexit.register(self._end)

    def leave(self) -> None:
        """Nobody has to miss this worker: its work is done."""
        self._is_done = True
        self._end()
        atexit.unregister(self._end)

    def _end(self) -> None:
        self._ended.set()
        self._parted.wait(5 * self._tick)

    def _beat(self) -> None:
        """Talk to the store, which may take for ever: the other thread watches this one too."""
        count, heard = 0, b""
        try:
            while not self._ended.wait(self._tick):
                count += 1
                self._store.set(self._mine, str(count))
                self._silent["store"] = 0
                said = self._said()
                if said is not None and (said != heard or said == _LEFT):
                    heard, self._silent["next"] = said, 0
                    self._patience["next"] = self._after_begun
            if self._is_done:
                self._store.set(self._mine, _LEFT.decode())
        except RuntimeError:
            # The store is gone, and with it whoever keeps it: it gives no sign any more. A worker
            # that was told to end has this time to save in.
            pass
        self._parted.set()

    def _said(self) -> Optional[bytes]:
        # `get` would wait for a worker that has not begun.
        return self._store.get(self._next) if self._store.check([self._next]) else None

    def _watch(self) -> None:
        while not self._ended.wait(self._tick):
            for who, patience in self._patience.items():
                self._silent[who] += 1
                if self._silent[who] > patience:
                    self._ended.set()
                    seconds = f"{patience * self._tick:g} s"
                    self._lost(f"{self._whose[who]} has given no sign for {seconds}")
                    return
