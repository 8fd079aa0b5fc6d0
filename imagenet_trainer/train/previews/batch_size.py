"""`fit --find-batch`: the largest batch that fits into memory, found by trying batches."""

import contextlib
import gc
import math
import os
import sys
import time
from dataclasses import replace
from typing import Callable, Dict, Optional

import numpy as np

from imagenet_trainer.config import FitSettings
from imagenet_trainer.data.mixup import mixing_of
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
from imagenet_trainer.train.datasets import number_of_classes, packed_training_set
from imagenet_trainer.train.engine import devices_of
from imagenet_trainer.train.multi_label import made_labels
from imagenet_trainer.train.session import Session
from imagenet_trainer.train.setup import TrainingSetup, training_setup

_MAX_BATCH = 1 << 16
_SECONDS = 120  # of all trials on a CPU, where larger batches are not faster
_RATE = 1e-9  # ftml divides by it
_USABLE_SHARE = 0.9  # of the free memory; the rest is for other programs


def largest(fits: Callable[[int], bool], start: int, step: int, most: int = _MAX_BATCH) -> int:
    """The largest multiple of `step` up to `most` that fits, within one sixteenth; 0 for none.

    Tries `start` first, then its doubles or halves, then the sizes between.
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


class MemoryForecast:
    """Predicts from smaller batches how much of a CPU's memory a batch needs.

    A GPU refuses an allocation that does not fit; a machine without free memory swaps until
    nothing responds, or kills a process. So a batch is not tried if smaller ones predict that it
    needs more than is free. Memory grows linearly with the number of images.

    Parameters
    ----------
    processes
        that share the memory, each with a batch of the size that is tried.

    Raises InputError if the system does not report the peak memory of a process.

    """

    def __init__(self, processes: int) -> None:
        if not peak_memory():
            raise InputError(
                "--find-batch: needs Linux on CPUs, which reports the peak memory of a process; "
                "try --batch-size by hand"
            )
        free = free_memory()
        self._base = resident_memory()
        self.limit = _USABLE_SHARE * (self._base + free / processes)
        self._peaks: Dict[int, int] = {}  # bytes by images

    def begin(self) -> None:
        """Call before a batch is tried."""
        reset_peak_memory()

    def end(self, batch: int) -> None:
        """Call after a batch was tried."""
        self._peaks[batch] = peak_memory()

    def needed(self, batch: int) -> float:
        """Bytes that a process needs for a batch; 0 before the first measurement."""
        if not self._peaks:
            return 0.0
        sizes = sorted(self._peaks)
        last = sizes[-1]
        # The steeper of two slopes: between the last two batches, and from zero images. Small
        # batches may use memory that was freed before, and then seem to need none.
        slope = max(0.0, self._peaks[last] - self._base) / last
        if len(sizes) > 1:
            rise = self._peaks[last] - self._peaks[sizes[-2]]
            slope = max(slope, rise / (last - sizes[-2]))
        return self._peaks[last] + slope * (batch - last)


def attempt(setup: TrainingSetup, batch: int) -> bool:
    """Whether two updates with this batch fit; the second also holds the optimizer's state."""
    settings = replace(setup.settings, batch_size=batch)
    try:
        _make_two_updates(replace(setup, settings=settings), number_of_classes(settings))
        return True
    except DeviceMemoryError:
        return False
    finally:
        _free_memory()


def _make_two_updates(setup: TrainingSetup, classes: int) -> None:
    """Train on black images; the engine is gone when this returns."""
    settings, batch = setup.settings, setup.settings.batch_size
    _, height, width = settings.image_shape
    images = np.zeros((batch, height, width, 3), np.uint8)
    labels = made_labels(settings, np.zeros(batch, np.int64), classes)
    is_mixed = mixing_of(settings, settings.seed)
    mix = Mix(labels, np.ones(batch, np.float32)) if is_mixed else None
    engine = setup.open_engine(setup.symbol(classes))
    for _ in range(2):
        engine.train_batch(images, labels, _RATE, mix)
    engine.read_counts()


def _free_memory() -> None:
    torch = sys.modules.get("torch")  # not imported if MXNet trains
    if torch:
        torch.compiler.reset()
    gc.collect()
    if torch and torch.cuda.is_available():
        torch.cuda.empty_cache()


class Trials:
    """Tries whether a batch fits each process, and reports the results.

    On CPUs a batch is not tried if smaller ones predict that it exceeds memory, or that all trials
    together would take more than `_SECONDS`.

    Attributes
    ----------
    is_over
        whether a batch was not tried because of the time.

    """

    def __init__(
        self, setup: TrainingSetup, processes: int, report: Callable[[int, str], None]
    ) -> None:
        self._setup, self._report = setup, report
        self._forecast = None if setup.settings.gpus else MemoryForecast(processes)
        self._began = time.monotonic()
        self._per_image = 0.0  # seconds, in the last trial
        self.is_over = False

    def __call__(self, size: int) -> bool:
        """Whether a batch of this size fits, as far as it was tried."""
        forecast = self._forecast
        if forecast is None:
            result = attempt(self._setup, size)
            self._report(size, "fits" if result else "too large")
            return result
        refusal = self._refusal(size, forecast)
        if refusal:
            self._report(size, refusal)
            return False
        began = time.monotonic()
        forecast.begin()
        result = attempt(self._setup, size)
        forecast.end(size)
        seconds = time.monotonic() - began
        self._per_image = seconds / size
        self._report(size, f"fits, {seconds:.1f} s" if result else "too large")
        return result

    def _refusal(self, size: int, forecast: MemoryForecast) -> str:
        """Why a batch is not tried; "" for one that is."""
        needed = forecast.needed(size)
        if needed > forecast.limit:
            return f"too large: would need {needed / 1e9:.1f} GB of {forecast.limit / 1e9:.1f}"
        seconds = self._per_image * size
        if time.monotonic() - self._began + seconds > _SECONDS:
            self.is_over = True
            return f"not tried: would take {seconds:.0f} s, more than is left of {_SECONDS}"
        return ""


def _step(settings: FitSettings, parts: int = 1) -> int:
    """The unit of batch sizes: a multiple of 8 and of the parts of --accumulate per device."""
    return math.lcm(8, settings.accumulate * parts)


def with_way_out(session: Session, error: DeviceMemoryError) -> DeviceMemoryError:
    """The error with the flags that help, and the batch that fits if one process measures it."""
    message = f"{error}, more --gpus, or --accumulate, which computes a batch in parts"
    engine = choose_engine(devices_of(session.settings)).engine
    if session.engine.world_size == 1 and engine == "torch":
        # Free the memory for the measurement; the frames of a traceback keep it alive.
        session.engine = None  # type: ignore[assignment]
        error.__cause__ = error.__context__ = error.__traceback__ = None
        with contextlib.suppress(InputError):  # where a process does not know its memory
            size = _largest_below(session.settings, session.settings.batch_size)
            message += f" (measured: {size} fit)" if size else ""
    error.args = (message,)
    return error


def _largest_below(settings: FitSettings, batch: int) -> int:
    """The largest batch that fits, given one that does not."""
    setup = training_setup(settings)
    _free_memory()
    step = _step(settings)
    first = batch // 2 if settings.gpus else step  # see MemoryForecast
    return largest(Trials(setup, 1, lambda size, result: None), first, step, batch - 1)


def print_largest_batch(settings: FitSettings) -> int:
    """Print every batch that is tried, and the largest that fits."""
    engine, devices = choose_engine(devices_of(settings)).engine, len(settings.gpus)
    if engine == "mxnet" and devices:
        raise InputError(
            "--find-batch: can measure GPU memory with PyTorch only; add --engine torch"
        )
    # Set before PyTorch is imported: it warns of every failed allocation, and some are intended.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    devices, processes = devices or settings.cpus, 1
    if engine == "torch":
        # Each device has its own process; the first device is measured for all.
        processes = devices
        settings = replace(settings, gpus=settings.gpus[:1], cpus=1)
    setup, step = training_setup(settings), _step(settings, devices // processes)
    first = max(step, settings.batch_size // processes) if settings.gpus else step

    def report(size: int, result: str) -> None:
        print(f"{size * processes:6}  {result}", flush=True)

    trials, images = Trials(setup, processes, report), images_of(settings)
    most = _MAX_BATCH if images is None else max(step, images // processes // step * step)
    size = largest(trials, first, step, min(most, _MAX_BATCH))
    if not size:
        raise InputError(
            f"--find-batch: {step * processes} images are too many; use a smaller --image-shape or "
            "--network, or other devices"
        )
    which = "the largest that fits, within one sixteenth"
    if size == most:
        which = f"fits; no multiple of {step * processes} up to all {images} images is larger"
    elif trials.is_over:
        which = f"fits; larger ones would take more than {_SECONDS} s to try"
    each = f", {size} on each of {processes} devices" if processes > 1 else ""
    print(f"--batch-size {size * processes}: {which}{each}")
    return 0


def images_of(settings: FitSettings) -> Optional[int]:
    """The number of training images; None if the shards are missing."""
    dataset = packed_training_set(settings)
    return None if dataset is None else len(dataset)
