"""Ends a worker whose neighbour has fallen silent: stopped, or its machine gone from the network.

A process that died is noticed by torchrun at once. One that is there and does nothing is not: the
others wait for it inside a sum until that gives up, which takes as long as the slowest honest work
(compiling the network, a checkpoint on a disk that is away). So every worker has a thread that
counts in the store that all of them share, whatever the worker itself is doing, and looks at the
count of the next one. Each looks at one only: the store serves any number of them.
"""

import atexit
import threading
from typing import Any, Callable, Optional

# Seconds without a sign. torchrun then needs up to 30 more to end a process that does not answer.
PATIENCE = 20
_TICK = 1.0
_LEFT = b"left"  # a worker whose work is done


class Heartbeat:
    """Counts for this worker and listens for the next, from `begin` until `leave`.

    Parameters
    ----------
    store
        what all workers share, with `set`, `get` and `check` of torch.distributed's stores, and
        no other user of this connection.
    rank, world_size
        of this worker.
    prefix
        of the keys, one for each attempt at the training.
    lost
        is called once with what is wrong, in a thread of its own.
    patience
        ticks without a sign after which the next worker counts as lost. They are counted, and not
        read from a clock: a machine that was suspended comes back without losses.
    tick
        in seconds.

    """

    def __init__(
        self,
        store: Any,
        rank: int,
        world_size: int,
        prefix: str,
        lost: Callable[[str], None],
        patience: int = PATIENCE,
        tick: float = _TICK,
    ) -> None:
        self._store, self._lost, self._patience, self._tick = store, lost, patience, tick
        self._mine, self._next = (f"{prefix}/{r}" for r in (rank, (rank + 1) % world_size))
        self._of = f"worker {(rank + 1) % world_size} of {world_size}"
        self._silent = {"store": 0, "next": 0}  # ticks without a sign
        self._ended = threading.Event()
        self._parted = threading.Event()

    def begin(self) -> None:
        """Start both threads; they end with the process."""
        for work in (self._beat, self._watch):
            threading.Thread(target=work, name="heartbeat", daemon=True).start()
        atexit.register(self.leave)

    def leave(self) -> None:
        """Nobody has to miss this worker: its work is done."""
        self._ended.set()
        self._parted.wait(5 * self._tick)
        atexit.unregister(self.leave)

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
            self._store.set(self._mine, _LEFT.decode())
        except RuntimeError:
            # The store is gone, and with it whoever keeps it.
            self._silent["store"] = self._patience
        self._parted.set()

    def _said(self) -> Optional[bytes]:
        # `get` would wait for a worker that has not begun.
        return self._store.get(self._next) if self._store.check([self._next]) else None

    def _watch(self) -> None:
        while not self._ended.wait(self._tick):
            for who in self._silent:
                self._silent[who] += 1
            if max(self._silent.values()) > self._patience:
                seconds = f"{self._patience * self._tick:g} s"
                what = "the first worker's machine" if self._silent["store"] > self._patience else (
                    self._of
                )  # fmt: skip
                self._ended.set()
                self._lost(f"{what} has given no sign for {seconds}")
                return
