"""Ends a worker if its neighbour stops responding, because it hangs or its machine is offline.

torchrun notices at once that a process has ended, but not that one hangs. The others then wait for
it in a sum until a timeout, which has to be as long as the slowest regular work (compiling the
network, a checkpoint on an unavailable disk). So every worker has a thread that increments a
counter in the shared store, independently of the worker's own work, and watches the counter of the
next worker. Each watches only one other, so the load on the store is small for any number of
workers. The counter of a worker that ended because of an error stops too, so no worker on another
machine waits for it.
"""

import atexit
import threading
from typing import Any, Callable, Optional

from imagenet_trainer.engines.workers import BEGINNING, PATIENCE

_TICK = 1.0
_LEFT = b"left"  # the value of a worker whose work is done


class Heartbeat:
    """Sends heartbeats for this worker and watches the next one, from `begin` until `leave`.

    Parameters
    ----------
    store
        shared by all workers of this attempt, with `set`, `get` and `check` as torch.distributed's
        stores have; the connection must have no other user.
    rank, world_size
        of this worker.
    lost
        called once with the reason, in the watching thread.
    patience, beginning
        ticks without a heartbeat, and without the first one, after which the next worker is lost.
        Ticks are counted instead of reading a clock, so a suspended machine resumes without losses.
    tick
        length of a tick in seconds.

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
        self._names = {
            "store": "the first worker's machine",
            "next": f"worker {(rank + 1) % world_size} of {world_size}",
        }
        self._silent = {"store": 0, "next": 0}  # ticks without a heartbeat
        self._patience = {"store": patience, "next": beginning}
        self._after_begun = patience
        self._is_done = False
        self._ended = threading.Event()
        self._stopped = threading.Event()

    def begin(self) -> None:
        """Send the first heartbeat and start both threads, which end with the process."""
        self._store.set(self._mine, "0")
        for work in (self._beat, self._watch):
            threading.Thread(target=work, name="heartbeat", daemon=True).start()
        # A thread inside the store while the interpreter shuts down would crash it.
        atexit.register(self._end)

    def leave(self) -> None:
        """Stop, and let the others know that the work of this worker is done."""
        self._is_done = True
        self._end()
        atexit.unregister(self._end)

    def _end(self) -> None:
        self._ended.set()
        self._stopped.wait(5 * self._tick)

    def _beat(self) -> None:
        """Access the store, which may hang: the other thread watches this one too."""
        count, last = 0, b""
        try:
            while not self._ended.wait(self._tick):
                count += 1
                self._store.set(self._mine, str(count))
                self._silent["store"] = 0
                value = self._read_next()
                if value is not None and (value != last or value == _LEFT):
                    last, self._silent["next"] = value, 0
                    self._patience["next"] = self._after_begun
            if self._is_done:
                self._store.set(self._mine, _LEFT.decode())
        except RuntimeError:
            # The store is gone together with the process that holds it. `_watch` ends this worker
            # later, so a worker that received a signal has time to save.
            pass
        self._stopped.set()

    def _read_next(self) -> Optional[bytes]:
        # `get` would wait for a worker that has not started.
        return self._store.get(self._next) if self._store.check([self._next]) else None

    def _watch(self) -> None:
        while not self._ended.wait(self._tick):
            for source, patience in self._patience.items():
                self._silent[source] += 1
                if self._silent[source] > patience:
                    self._ended.set()
                    seconds = f"{patience * self._tick:g} s"
                    self._lost(f"{self._names[source]} has not responded for {seconds}")
                    return
