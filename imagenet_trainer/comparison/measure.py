"""Measures a trained network: python -m imagenet_trainer.comparison.measure

Evaluates its best epoch and measures its size and speed. `compare` starts this in a process for
each network, so that MXNet's memory is free for the trainings that follow. The measurements are
stored in compare.json in the run's folder, where `results` reads them.
"""

import gc
import hashlib
import os
import sys
import time
from dataclasses import replace
from functools import partial
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np

from imagenet_trainer.comparison.analysis import BatchSpeed
from imagenet_trainer.comparison.results import read_stored, store
from imagenet_trainer.config import MeasureSettings, flags
from imagenet_trainer.data.augment import EvalTransform, decode
from imagenet_trainer.data.dataset import Dataset
from imagenet_trainer.engines import Devices
from imagenet_trainer.engines.memory import DeviceMemoryError
from imagenet_trainer.errors import print_message, run_command
from imagenet_trainer.eval.evaluator import EpochResult, Evaluator
from imagenet_trainer.eval.network import engine_for, read_network, set_checkpoint
from imagenet_trainer.runs.checkpoint import Checkpoint, Preprocessing
from imagenet_trainer.runs.retention import best_of
from imagenet_trainer.runs.run import Run
from imagenet_trainer.symbols.summary import summarise
from imagenet_trainer.system.block_cache import use_cache
from imagenet_trainer.system.gpus import nvidia_gpus

log = partial(print_message, "compare")

_VERSION = 2  # of the stored measurements; others are measured again
IMAGES = 16  # number of different images in a batch
# A batch size is timed for at least this many seconds and calls. Doubling stops after two sizes
# that are no faster, or after a call that takes longer than the last number, in seconds.
_SECONDS, _CALLS, _TOO_LONG = 0.5, 3, 10.0


def available_devices(settings: MeasureSettings) -> List[Tuple[str, Devices]]:
    """Names and descriptions: the CPU, and the first GPU (of --gpus, if that is given)."""
    threads = os.environ["OMP_NUM_THREADS"]  # set by engines.choice
    name = f"CPU, {threads} thread{'s' * (threads != '1')}"
    devices = [(name, Devices(engine="torch" if settings.engine == "torch" else "auto"))]
    gpus = nvidia_gpus()
    if gpus or settings.gpus:
        number = (settings.gpus or (0,))[0]
        name = gpus[number][0] if number < len(gpus) else f"GPU {number}"
        # Not compiled, as every batch size would be, unless the user wants that.
        compile_ = "off" if settings.compile == "auto" else settings.compile
        devices.append((name, Devices((number,), engine=settings.engine, compile=compile_)))
    return devices


def best_epoch(run: Run) -> int:
    """The best epoch by the run's own validation, as `--epochs best`; else the last one."""
    best = best_of(run.selection())
    return run.epochs()[-1] if best is None else best


def measure(settings: MeasureSettings) -> None:
    """Evaluate and time a run's best epoch; stored measurements of the same epoch are reused.

    Raises InputError for a network that cannot be loaded or run.
    """
    assert settings.model_prefix is not None
    use_cache(settings.cache_dir, settings.cache_size)
    run = Run(settings.model_prefix)
    epoch = best_epoch(run)
    scored, dataset, preprocessing = _evaluate(settings, run, epoch)
    devices = available_devices(settings)
    parts = [
        _VERSION, run.params_sha256(epoch), preprocessing, settings.largest_batch, devices,
    ]  # fmt: skip
    key = hashlib.sha256(repr(parts).encode()).hexdigest()
    measured = read_stored(run).get("measured", {})
    if measured.get("key") != key or settings.measure_again:
        measured = {"key": key, **costs(run, epoch, dataset, devices, settings.largest_batch)}
    numbers = scored.metrics
    about = {
        "epoch": epoch,
        "set": scored.name,
        "key": scored.predictions.key,
        "image_shape": preprocessing.image_shape,
        "numbers": {
            **{name: numbers[name] for name in ("rank1", "rank5", "loss")},
            "interval": numbers["intervals"]["rank1"],
        },
        "classes": [one if one == name else f"{one} {name}" for one, name in scored.classes],
        "pictures": f"{dataset.path}: {len(dataset):,} of {len(dataset.classes)} classes",
        "fingerprint": dataset.fingerprint,
    }
    store(run, {"measured": measured, "scored": about})


def _evaluate(
    settings: MeasureSettings, run: Run, epoch: int
) -> Tuple[EpochResult, Dataset, Preprocessing]:
    """Run inference over all images and store the predictions, as `evaluate` does."""
    evaluator = Evaluator(replace(settings, epochs=(epoch,)), run, (epoch,), log)
    (scored,) = evaluator.results()
    return scored, evaluator.dataset, evaluator.input.preprocessing


def costs(
    run: Run, epoch: int, dataset: Dataset, devices: Sequence[Tuple[str, Devices]], largest: int
) -> Dict[str, Any]:
    """Parameters, multiply-adds, and throughput on each device, in batches up to `largest`."""
    symbol, checkpoint = read_network(run, epoch)
    views = np.concatenate([*map(views_of(dataset, checkpoint), range(IMAGES))])
    timings = []
    for name, device in devices:

        def call_of(batch: int, device: Devices = device) -> Callable[[], object]:
            engine = engine_for(symbol, checkpoint, device, batch)
            set_checkpoint(engine, symbol, run, checkpoint)
            images = views[np.arange(batch) % IMAGES]
            return lambda: engine.predict(images)

        timings.append({"device": name, "batches": list(throughput(call_of, largest))})
        gc.collect()  # frees an engine's memory before the next one is opened
    cost = summarise(symbol, checkpoint.known_preprocessing.image_shape)
    return {
        "parameters": cost.learned, "multiply_adds": cost.multiply_adds, "timings": timings,
    }  # fmt: skip


def views_of(dataset: Dataset, checkpoint: Checkpoint) -> Callable[[int], np.ndarray]:
    """A function that decodes and crops the first IMAGES images in turn: uint8 (1, h, w, 3)."""
    transform = EvalTransform(*checkpoint.known_preprocessing.geometry)
    count = min(IMAGES, len(dataset))
    encoded = [bytes(dataset.shards.record(number).image) for number in range(count)]

    def view(number: int) -> np.ndarray:
        out = np.empty((1, *transform.size, 3), np.uint8)
        transform.apply(decode(encoded[number % count]), None, 0, out[0])
        return out

    return view


def throughput(
    call_of: Callable[[int], Callable[[], object]],
    largest: int,
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[BatchSpeed]:
    """Images per second with batches of 1, 2, 4 ... up to `largest`, from the median call.

    `call_of` returns a function that runs inference on a batch of that size. Stops before
    `largest` after two sizes in a row that are no faster than a smaller one, when memory is full,
    or when a call takes too long.
    """
    best, slower, size = 0.0, 0, 1
    while size <= largest and slower < 2:
        try:
            call = call_of(size)
            call()  # warms up
            times: List[float] = []
            while len(times) < _CALLS or sum(times) < _SECONDS:
                start = clock()
                call()
                times.append(clock() - start)
        except DeviceMemoryError:
            return
        seconds = float(np.median(times))
        speed = BatchSpeed(size, size / max(seconds, 1e-9))
        yield speed
        if seconds > _TOO_LONG:
            return
        slower = 0 if speed.images_per_second > best else slower + 1
        best, size = max(best, speed.images_per_second), 2 * size


def main(argv: Optional[Sequence[str]] = None) -> int:
    """The command line, which `compare` composes."""
    about = "Measure a trained network; compare runs this for each of its networks."
    settings = flags.parse(MeasureSettings, argv, "measuring", about)
    return run_command("measuring", partial(measure, settings))


if __name__ == "__main__":
    sys.exit(main())
