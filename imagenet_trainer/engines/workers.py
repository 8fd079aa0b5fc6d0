"""The processes that train one network together: which one this is, and sums over all of them."""

from typing import Optional, Protocol

import numpy as np


class Workers(Protocol):
    """The group that this process belongs to. Every member calls the same methods in one order."""

    rank: int  # of this process, 0 to world_size - 1
    world_size: int

    def sum(self, values: np.ndarray) -> np.ndarray:
        """Add float64 (k,) of all workers, element by element: float64 (k,), the same for all."""

    def leave(self) -> None:
        """Let this process end without waiting for the others."""


class Alone:
    """A group of one."""

    rank = 0
    world_size = 1

    def sum(self, values: np.ndarray) -> np.ndarray:
        """The values."""
        return np.asarray(values, np.float64)

    def leave(self) -> None:
        """Nobody waits."""


ALONE = Alone()


def share(total: int, workers: Workers) -> range:
    """Return this worker's part of 0..total-1: neighbours, and parts differ by one at most."""
    rank, size = workers.rank, workers.world_size
    return range(total * rank // size, total * (rank + 1) // size)


def gathered(values: np.ndarray, workers: Workers) -> np.ndarray:
    """The float64 (k,) of every worker, in the order of their ranks: float64 (world_size, k)."""
    table = np.zeros((workers.world_size, len(values)))
    table[workers.rank] = values
    return workers.sum(table.ravel()).reshape(table.shape)


def first_difference(values: np.ndarray, workers: Workers) -> Optional[int]:
    """The lowest rank whose float64 (k,) are not those of rank 0; None if all agree."""
    table = gathered(values, workers)
    others = np.flatnonzero((table != table[0]).any(axis=1))
    return int(others[0]) if len(others) else None
