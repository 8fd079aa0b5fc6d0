"""How large a batch the device's memory holds: measured by doubling and halving."""

import gc
import math
import os
import sys
from dataclasses import replace
from typing import Callable, Dict

import numpy as np

from imagenet_trainer.config import FitSettings
from imagenet_trainer.engines import Mix
from imagenet_trainer.engines.choice import choose_engine
from imagenet_trainer.engines.memory import DeviceMemoryError
from imagenet_trainer.errors import InputError
from imagenet_trainer.system.machine import (
    free_memory,
    peak_memory,
    reset_peak_memory,
    resident_memory,
)
from imagenet_trainer.train.datasets import number_of_classes
from imagenet_trainer.train.engine import devices_of
from imagenet_trainer.train.session import Session
from imagenet_trainer.train.setup import Start, start_of

_MOST = 1 << 16
_SHARE = 0.9  # of what is free: other programs live too


def largest(fits: Callable[[int], bool], start: int, step: int, most: int = _MOST) -> int:
    """The largest multiple of `step` up to `most` that fits, to a sixteenth; 0 if none does.

    `start` is tried first, then its doubles or halves, then what lies between.
    """
    good, bad = 0, most + step
    trial = min(max(step, start // step * step), most)
    while trial <= most and trial < bad:
        if fits(trial):
            good, trial = trial, 2 * trial
        else:
            bad = trial
    while good == 0 and bad > step:
        trial = max(step, bad // 2 // step * step)
        good, bad = (trial, bad) if fits(trial) else (0, trial)
    while bad - good > max(step, good // 16):
        trial = (good + bad) // 2 // step * step
        good, bad = (trial, bad) if fits(trial) else (good, trial)
    return good


class Foresight:
    """Whether a batch would fit into the memory of CPUs, foreseen from smaller ones.

    A GPU refuses what it has no room for; a machine swaps until nothing moves, or kills. So no
    batch is tried of which those before say that it would take more than is free. Memory grows
    with images in a straight line.

    Parameters
    ----------
    processes
        that share the memory, each with a batch of this size.

    Raises InputError where the system does not report the peak of a process's memory.

    """

    def __init__(self, processes: int) -> None:
        if not peak_memory():
            raise InputError(
                "--find-batch: on CPUs it needs Linux, which reports the peak of a process's "
                "memory; try batches by hand"
            )
        free = free_memory()
        self._base = resident_memory()
        self.limit = _SHARE * (self._base + free / processes)
        self._peaks: Dict[int, int] = {}  # bytes by images

    def begin(self) -> None:
        """Before a batch is tried."""
        reset_peak_memory()

    def end(self, batch: int) -> None:
        """After it."""
        self._peaks[batch] = peak_memory()

    def needed(self, batch: int) -> float:
        """Bytes that a process needs for a batch; 0 before anything is known."""
        if not self._peaks:
            return 0.0
        sizes = sorted(self._peaks)
        last = sizes[-1]
        # As steep as between the last two, and no less than from nothing: what small batches take
        # may hide in memory that was freed before.
        each = max(0.0, self._peaks[last] - self._base) / last
        if len(sizes) > 1:
            rise = self._peaks[last] - self._peaks[sizes[-2]]
            each = max(each, rise / (last - sizes[-2]))
        return self._peaks[last] + each * (batch - last)


def attempt(start: Start, batch: int) -> bool:
    """Whether two updates with so many images fit; the second has the optimizer's state too."""
    start = replace(start, settings=replace(start.settings, batch_size=batch))
    _, height, width = start.settings.image_shape
    symbol = start.symbol(number_of_classes(start.settings))
    images = np.zeros((batch, height, width, 3), np.uint8)
    labels = np.zeros(batch, np.int64)
    mix = Mix(labels, np.ones(batch, np.float32)) if start.settings.mixup else None
    try:
        engine = start.opened(symbol)
        for _ in range(2):
            engine.train_batch(images, labels, 0.0, mix)
        engine.read_counts()
        return True
    except DeviceMemoryError:
        return False
    finally:
        engine = None  # type: ignore[assignment]
        _free()


def _free() -> None:
    torch = sys.modules.get("torch")  # which MXNet does without
    if torch:
        torch.compiler.reset()
    gc.collect()
    if torch and torch.cuda.is_available():
        torch.cuda.empty_cache()


def _tried(start: Start, processes: int, tell: Callable[[int, str], None]) -> Callable[[int], bool]:
    """What says whether so many images fit each process, after a word."""
    foresight = None if start.settings.gpus else Foresight(processes)

    def fits(size: int) -> bool:
        if foresight:
            needed = foresight.needed(size)
            if needed > foresight.limit:
                tell(size, f"is too many: would take {needed / 1e9:.1f} GB of "
                     f"{foresight.limit / 1e9:.1f}")  # fmt: skip
                return False
            foresight.begin()
        answer = attempt(start, size)
        if foresight:
            foresight.end(size)
        tell(size, "fits" if answer else "is too many")
        return answer

    return fits


def largest_below(settings: FitSettings, batch: int) -> int:
    """The largest batch that fits, when this one does not."""
    start = start_of(settings)
    _free()
    step = _step(settings)
    first = batch // 2 if settings.gpus else step  # see Foresight
    return largest(_tried(start, 1, lambda size, word: None), first, step, batch - 1)


def _step(settings: FitSettings, parts: int = 1) -> int:
    """What batches are multiples of: 8, and the parts of --accumulate on each device."""
    return math.lcm(8, settings.accumulate * parts)


def with_way_out(session: Session, error: DeviceMemoryError) -> DeviceMemoryError:
    """The error with what else helps, and the batch that fits, measured if one process trains."""
    ways = f"{error}, more --gpus, or --accumulate, which computes a batch in parts"
    if (
        session.engine.world_size == 1
        and choose_engine(devices_of(session.settings)).engine == "torch"
    ):
        # The memory is needed for the measurement; frames of a traceback hold on to it.
        session.engine = None  # type: ignore[assignment]
        error.__cause__ = error.__context__ = error.__traceback__ = None
        fits = largest_below(session.settings, session.settings.batch_size)
        ways += f" (measured: {fits} fit)" if fits else ""
    error.args = (ways,)
    return error


def tell_largest(settings: FitSettings) -> int:
    """`fit --find-batch`: print what fits, from the least that does to the most."""
    engine, devices = choose_engine(devices_of(settings)).engine, len(settings.gpus)
    if engine == "mxnet" and devices:
        raise InputError(
            "--find-batch: of GPUs it measures PyTorch's memory; use it with --engine torch"
        )
    # Before PyTorch is imported, which warns of every allocation that fails; some are meant to.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    devices, processes = devices or settings.cpus, 1
    if engine == "torch":
        # Each trains its part in a process of its own: the first one's memory stands for all.
        processes = devices
        settings = replace(settings, gpus=settings.gpus[:1], cpus=1)
    start, step = start_of(settings), _step(settings, devices // processes)
    first = max(step, settings.batch_size // processes) if settings.gpus else step

    def tell(size: int, word: str) -> None:
        print(f"{size * processes:6}  {word}", flush=True)

    most = largest(_tried(start, processes, tell), first, step)
    each = f", {most} on each of {processes} devices" if processes > 1 else ""
    print(f"--batch-size {most * processes}: the largest that fits, to a sixteenth{each}")
    return 0
