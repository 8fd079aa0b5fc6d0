"""The processes that train one network together: which one this is, and sums over all of them."""

import contextlib
import hashlib
from typing import Any, Dict, Iterator, List, Mapping, Protocol, Sequence

import numpy as np

from imagenet_trainer.errors import InputError
from imagenet_trainer.system.arrays import Arrays


class Member(Protocol):
    """One of several that work together; an engine is one too."""

    rank: int  # 0 to world_size - 1
    world_size: int


class Workers(Member, Protocol):
    """The group that this process belongs to. Every member calls the same methods in one order."""

    in_step: bool  # every update is made of the gradients of all workers

    def sum(self, values: np.ndarray) -> np.ndarray:
        """Add float64 (k,) of all workers, element by element: float64 (k,), the same for all."""

    def part(self) -> None:
        """All work is done: the process ends when the others are here too.

        A process that ends without it, by an error, waits for nobody.
        """


class Alone:
    """A group of one."""

    rank = 0
    world_size = 1
    in_step = True

    def sum(self, values: np.ndarray) -> np.ndarray:
        """The values."""
        return np.asarray(values, np.float64)

    def part(self) -> None:
        """Nobody else is there."""


ALONE = Alone()


def share(total: int, workers: "Member") -> range:
    """Return this worker's part of 0..total-1: neighbours, and parts differ by one at most."""
    rank, size = workers.rank, workers.world_size
    return range(total * rank // size, total * (rank + 1) // size)


@contextlib.contextmanager
def together(workers: Workers) -> Iterator[None]:
    """A stretch that all workers get through, or none; nothing is summed inside.

    Raises InputError in the workers that got through when another one did not.
    """
    try:
        yield
    except BaseException:
        workers.sum(np.ones(1))
        raise
    if workers.sum(np.zeros(1))[0]:
        raise InputError("another worker cannot begin; its own line says why")


def gathered(values: np.ndarray, workers: Workers) -> np.ndarray:
    """The float64 (k,) of every worker, in the order of their ranks: float64 (world_size, k)."""
    table = np.zeros((workers.world_size, len(values)))
    table[workers.rank] = values
    return workers.sum(table.ravel()).reshape(table.shape)


def of_all_devices(here: Sequence[Arrays], workers: Workers) -> List[Arrays]:
    """The arrays of every device of every worker, those of rank 0 first.

    `here` are those of this worker's devices; names, shapes and types are the same everywhere.
    """
    if workers.world_size == 1 or not here[0]:
        return list(here)
    flat = np.concatenate([value.ravel() for one in here for value in one.values()])
    ends = np.cumsum([value.size for value in here[0].values()])[:-1]
    found: List[Arrays] = []
    # One worker after the other: they may be as long as the parameters.
    for rank in range(workers.world_size):
        theirs = workers.sum(flat if rank == workers.rank else np.zeros(len(flat)))
        for row in theirs.reshape(len(here), -1):
            parts = zip(here[0].items(), np.split(row, ends))
            found.append({n: part.reshape(v.shape).astype(v.dtype) for (n, v), part in parts})
    return found


def average_of(here: Sequence[Arrays], workers: Workers) -> Arrays:
    """The mean over every device of every worker; parameters as `of_all_devices`."""
    all_ = of_all_devices(here, workers)
    if len(all_) == 1:
        return all_[0]
    return {name: np.mean([one[name] for one in all_], axis=0) for name in here[0]}


def whole_of(parts: Mapping[str, float], workers: Workers) -> Dict[str, float]:
    """Root mean squares of a batch, by name, of those of every worker's part of it.

    Parts are equally large; what all workers hold alike, such as parameters, stays as it is.
    """
    if workers.world_size == 1:
        return dict(parts)
    squares = workers.sum(np.square(np.array(list(parts.values()), np.float64)))
    return dict(zip(parts, np.sqrt(squares / workers.world_size).tolist()))


def check_equal(value: Any, workers: Workers, otherwise: str) -> None:
    """InputError `worker 3 of 4 OTHERWISE`, in all workers, unless all have the same value."""
    # 48 bits, which a float64 holds exactly.
    number = int.from_bytes(hashlib.sha256(repr(value).encode()).digest()[:6], "big")
    numbers = gathered(np.array([number], np.float64), workers).ravel()
    others = np.flatnonzero(numbers != numbers[0])
    if len(others):
        raise InputError(f"worker {others[0]} of {workers.world_size} {otherwise}")
