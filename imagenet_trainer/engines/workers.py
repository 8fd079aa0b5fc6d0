"""The processes that train one network together: the rank of this one, and sums over all."""

import contextlib
import hashlib
import os
from typing import Any, Dict, Iterator, List, Mapping, Protocol, Sequence

import numpy as np

from imagenet_trainer.errors import InputError, LostWorkerError, exit_code_of
from imagenet_trainer.system.arrays import Arrays

# Seconds without a heartbeat after which a process is lost. torchrun then needs up to 30 more to
# end one that hangs.
PATIENCE = 20
# Seconds for which a worker waits for the first sign of the others, which import from slow disks
# at different speeds.
BEGINNING = 300


class Ranked(Protocol):
    """One of several processes that work together; engines are members too."""

    rank: int  # 0 to world_size - 1
    world_size: int


class Workers(Ranked, Protocol):
    """The group of this process. All members call the same methods in the same order."""

    in_step: bool  # every update uses the gradients of all workers

    def sum(self, values: np.ndarray) -> np.ndarray:
        """Sum float64 (k,) over all workers, element by element; all get the same result."""

    def part(self) -> None:
        """Leave the group when all work is done; the process ends after all others have called it.

        A process that ends without this call, because of an error, does not wait.
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
        """There are no others to wait for."""


ALONE = Alone()


def variable(name: str, numbers: range = range(1 << 31)) -> int:
    """The number in a variable that launchers set; InputError unless it is one of these."""
    text = os.environ[name]
    if text.isdecimal() and int(text) in numbers:
        return int(text)
    raise InputError(
        f"{name} {text}: must be a whole number from {numbers[0]} to {numbers[-1]}; correct this "
        "environment variable, or have tools/launch.py set it"
    )


def share(total: int, workers: Ranked) -> range:
    """Return this worker's part of 0..total-1: contiguous; sizes differ by at most one."""
    rank, size = workers.rank, workers.world_size
    return range(total * rank // size, total * (rank + 1) // size)


@contextlib.contextmanager
def together(workers: Workers) -> Iterator[None]:
    """A block that all workers complete, or none; it must not call `sum`.

    In the workers that completed it although another one did not, raises InputError if that one
    ended because of a wrong flag or file, otherwise LostWorkerError: then a launcher tries again.
    """
    try:
        yield
    except BaseException as error:
        is_mistake = exit_code_of(error) == InputError.exit_code
        workers.sum(np.array([is_mistake, not is_mistake], np.float64))
        raise
    mistakes, crashes = workers.sum(np.zeros(2))
    if mistakes:
        raise InputError("another worker cannot begin; see its error")
    if crashes:
        raise LostWorkerError("another worker ended before it began; see its error")


def gathered(values: np.ndarray, workers: Workers) -> np.ndarray:
    """The float64 (k,) of every worker, in the order of their ranks: float64 (world_size, k)."""
    table = np.zeros((workers.world_size, len(values)))
    table[workers.rank] = values
    return workers.sum(table.ravel()).reshape(table.shape)


def of_all_devices(here: Sequence[Arrays], workers: Workers) -> List[Arrays]:
    """The arrays of every device of every worker, those of rank 0 first.

    `here` are those of this worker's devices; names, shapes and types are the same for all.
    """
    if workers.world_size == 1 or not here[0]:
        return list(here)
    flat = np.concatenate([value.ravel() for one in here for value in one.values()])
    ends = np.cumsum([value.size for value in here[0].values()])[:-1]
    result: List[Arrays] = []
    # One worker at a time, as the arrays may be as large as the parameters.
    for rank in range(workers.world_size):
        theirs = workers.sum(flat if rank == workers.rank else np.zeros(len(flat)))
        for row in theirs.reshape(len(here), -1):
            parts = zip(here[0].items(), np.split(row, ends))
            result.append({n: part.reshape(v.shape).astype(v.dtype) for (n, v), part in parts})
    return result


def mean_of(devices: Sequence[Arrays]) -> Arrays:
    """The mean of the arrays of one device or more, by name.

    Equal values are their own mean, which float32 does not represent on the way.
    """
    if len(devices) == 1:
        return devices[0]
    return {
        name: np.mean([one[name] for one in devices], 0, np.float64).astype(value.dtype)
        for name, value in devices[0].items()
    }


def whole_of(parts: Mapping[str, float], workers: Workers) -> Dict[str, float]:
    """Root mean squares over a batch from those over every worker's part of it, by name.

    Parts have equal sizes. Values that are equal for all workers, as of parameters, do not change.
    """
    if workers.world_size == 1:
        return dict(parts)
    squares = workers.sum(np.square(np.array(list(parts.values()), np.float64)))
    return dict(zip(parts, np.sqrt(squares / workers.world_size).tolist()))


def check_equal(value: Any, workers: Workers, otherwise: str) -> None:
    """Raise InputError `worker 3 of 4 OTHERWISE` in all workers unless their values are equal."""
    # 48 bits, which a float64 represents exactly.
    number = int.from_bytes(hashlib.sha256(repr(value).encode()).digest()[:6], "big")
    numbers = gathered(np.array([number], np.float64), workers).ravel()
    others = np.flatnonzero(numbers != numbers[0])
    if len(others):
        raise InputError(f"worker {others[0]} of {workers.world_size} {otherwise}")
