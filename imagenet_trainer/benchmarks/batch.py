"""How large a batch the device's memory holds: measured by doubling and halving."""

import gc
import math
from dataclasses import replace
from typing import Callable

import numpy as np

from imagenet_trainer.config import FitSettings
from imagenet_trainer.data.sets import classes_without_data
from imagenet_trainer.engines import DeviceMemoryError
from imagenet_trainer.engines.choice import choose_engine
from imagenet_trainer.errors import InputError
from imagenet_trainer.session import Session
from imagenet_trainer.starting import Start, devices_of, start_of

_MOST = 1 << 16


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


def attempt(start: Start, batch: int) -> bool:
    """Whether two updates with so many pictures fit; the second has the optimizer's state too."""
    start = replace(start, settings=replace(start.settings, batch_size=batch))
    _, height, width = start.settings.image_shape
    symbol = start.symbol(classes_without_data(start.settings))
    images = np.zeros((batch, height, width, 3), np.uint8)
    labels = np.zeros(batch, np.int64)
    try:
        engine = start.opened(symbol)
        for _ in range(2):
            engine.train_batch(images, labels, 0.0)
        engine.read_counts()
        return True
    except DeviceMemoryError:
        return False
    finally:
        engine = None  # type: ignore[assignment]
        _free()


def _free() -> None:
    import torch

    torch.compiler.reset()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def largest_below(settings: FitSettings, batch: int) -> int:
    """The largest batch that fits, when this one does not."""
    start = start_of(settings)
    _free()
    return largest(lambda size: attempt(start, size), batch // 2, _step(settings), batch - 1)


def _step(settings: FitSettings) -> int:
    """What batches are multiples of: 8, and the parts of --accumulate."""
    return math.lcm(8, settings.accumulate)


def told_with_measure(session: Session, error: DeviceMemoryError) -> str:
    """The error's line with the batch that fits, measured by halving where one process trains."""
    if session.engine.world_size > 1:
        return str(error)
    # The memory is needed for the measurement; frames of a traceback hold on to it.
    session.engine = None  # type: ignore[assignment]
    error.__cause__ = error.__context__ = error.__traceback__ = None
    fits = largest_below(session.settings, session.settings.batch_size)
    return f"{error} (measured: {fits} fit)" if fits else str(error)


def tell_largest(settings: FitSettings) -> int:
    """`fit --find-batch`: print what fits, from the least that does to the most."""
    if choose_engine(devices_of(settings)).engine != "torch":
        raise InputError("--find-batch: measures PyTorch's memory; use it with --engine torch")
    devices = len(settings.gpus) or settings.cpus
    # Each trains its part in a process of its own: the first one's memory stands for all.
    settings = replace(settings, gpus=settings.gpus[:1], cpus=1)
    start = start_of(settings)

    def fits(size: int) -> bool:
        answer = attempt(start, size)
        print(f"{size * devices:6}  {'fits' if answer else 'is too many'}", flush=True)
        return answer

    step = _step(settings)
    most = largest(fits, max(step, settings.batch_size // devices), step)
    each = f", {most} on each of {devices} devices" if devices > 1 else ""
    print(f"--batch-size {most * devices}: the largest that fits, to a sixteenth{each}")
    return 0
