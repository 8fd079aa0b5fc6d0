"""What is measured of a trained network: python -m imagenet_trainer.comparison.measure

The answers of its best epoch, its size, how fast answers come. `compare` runs it in a process of
its own, so that no network stays in MXNet's memory beside the trainings that follow; what it finds
is kept in the run's folder, where `entries` reads it.
"""

import gc
import hashlib
import os
import sys
import time
from dataclasses import asdict, replace
from functools import partial
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np

from imagenet_trainer.comparison.analysis import Batch, Timing
from imagenet_trainer.comparison.results import keep, kept_of
from imagenet_trainer.config import MeasureSettings, flags
from imagenet_trainer.data.augment import EvalTransform, decode
from imagenet_trainer.data.dataset import Dataset
from imagenet_trainer.engines import Devices, open_engine
from imagenet_trainer.engines.memory import DeviceMemoryError
from imagenet_trainer.errors import print_message, run_command
from imagenet_trainer.eval.evaluator import Scored, Scorer
from imagenet_trainer.eval.latency import measure as measure_latency
from imagenet_trainer.eval.network import open_network, set_checkpoint
from imagenet_trainer.runs.checkpoint import Preprocessing
from imagenet_trainer.runs.retention import best_of
from imagenet_trainer.runs.run import Run
from imagenet_trainer.system.files import sha256
from imagenet_trainer.system.mxnet_import import nvidia_gpus
from symbols.summary import summarise

log = partial(print_message, "compare")

_VERSION = 1  # of what is kept; another one is measured again
_SHOWN = 16  # images that take turns while one at a time is timed
# A batch size is timed for so long, and at least so often; doubling ends when two sizes in turn
# were no faster, or a call takes this long.
_SECONDS, _CALLS, _TOO_LONG = 0.5, 3, 10.0


def devices_at_hand(settings: MeasureSettings) -> List[Tuple[str, Devices]]:
    """Name and description of the CPU, and of the first GPU (of --gpus, if that is given)."""
    threads = os.environ["OMP_NUM_THREADS"]  # set when MXNet is imported
    name = f"CPU, {threads} thread{'s' * (threads != '1')}"
    found = [(name, Devices(engine="torch" if settings.engine == "torch" else "auto"))]
    gpus = nvidia_gpus()
    if gpus or settings.gpus:
        number = (settings.gpus or (0,))[0]
        name = gpus[number][0] if number < len(gpus) else f"GPU {number}"
        found.append((name, Devices((number,), engine=settings.engine)))
    return found


def judged_epoch(run: Run) -> int:
    """The best finished epoch by its own validation, as `--epochs best`; else the newest."""
    best = best_of(run.validations())
    return run.epochs()[-1] if best is None else best


def measure(settings: MeasureSettings) -> None:
    """Score and time a run's judged epoch; what was measured before of the same is kept.

    Raises InputError for a network that cannot be opened or asked.
    """
    assert settings.model_prefix is not None
    run = Run(settings.model_prefix)
    epoch = judged_epoch(run)
    scored, dataset, how = _score(settings, run, epoch)
    devices = devices_at_hand(settings)
    parts = [
        _VERSION, sha256(run.params_path(epoch)), how, settings.rounds, settings.largest_batch,
        devices,
    ]  # fmt: skip
    key = hashlib.sha256(repr(parts).encode()).hexdigest()
    measured = kept_of(run).get("measured", {})
    if measured.get("key") != key or settings.measure_again:
        measured = {"key": key, **costs(settings, run, epoch, dataset, devices)}
    numbers = scored.numbers
    about = {
        "epoch": epoch,
        "set": scored.name,
        "key": scored.answers.key,
        "image_shape": how.image_shape,
        "numbers": {
            **{name: numbers[name] for name in ("rank1", "rank5", "loss")},
            "interval": numbers["intervals"]["rank1"],
        },
        "classes": [one if one == words else f"{one} {words}" for one, words in scored.classes],
        "pictures": f"{dataset.path}: {len(dataset):,} of {len(dataset.classes)} classes",
        "fingerprint": dataset.fingerprint,
    }
    keep(run, measured=measured, scored=about)


def _score(
    settings: MeasureSettings, run: Run, epoch: int
) -> Tuple[Scored, Dataset, Preprocessing]:
    """The answers to all images, as `evaluate` gives and keeps them."""
    scorer = Scorer(replace(settings, epochs=(epoch,)), run, (epoch,), log)
    (scored,) = scorer.scored()
    return scored, scorer.dataset, scorer.shown.preprocessing


def costs(
    settings: MeasureSettings,
    run: Run,
    epoch: int,
    dataset: Dataset,
    devices: Sequence[Tuple[str, Devices]],
) -> Dict[str, Any]:
    """What a network's answers cost: parameters, multiply-adds, time on each device."""
    timings = []
    for name, one in devices:
        timings.append(timing(settings, run, epoch, dataset, name, one))
        gc.collect()  # an engine's memory, before the next one's
    _, symbol, checkpoint = open_network(run, epoch, Devices(), 1)
    assert checkpoint.preprocessing is not None
    cost = summarise(symbol, checkpoint.preprocessing.image_shape)
    return {
        "parameters": cost.learned,
        "multiply_adds": cost.multiply_adds,
        "timings": [asdict(one) for one in timings],
    }


def timing(
    settings: MeasureSettings, run: Run, epoch: int, dataset: Dataset, name: str,
    devices: Devices,
) -> Timing:  # fmt: skip
    """How fast answers come on a device."""
    engine, symbol, checkpoint = open_network(run, epoch, devices, 1)
    how = checkpoint.preprocessing
    assert how is not None
    transform = EvalTransform(how.image_shape, how.val_resize)
    count = min(_SHOWN, len(dataset))
    encoded = [bytes(dataset.shards.record(number).image) for number in range(count)]

    def view(number: int) -> np.ndarray:
        out = np.empty((1, *transform.size, 3), np.uint8)
        transform.apply(decode(encoded[number % count]), None, 0, out[0])
        return out

    views = [view(number) for number in range(count)]
    alone = measure_latency("", 1, lambda n: engine.predict(views[n % count]), settings.rounds)
    whole = measure_latency("", 1, lambda n: engine.predict(view(n)), settings.rounds)

    def call_of(batch: int) -> Callable[[], object]:
        many = open_engine(symbol, devices, (batch, *transform.size, 3), how.rgb_mean, how.rgb_std)
        set_checkpoint(many, symbol, run, checkpoint)
        images = np.concatenate([views[number % count] for number in range(batch)])
        return lambda: many.predict(images)

    batches = tuple(throughput(call_of, settings.largest_batch))
    return Timing(name, alone.median, alone.high, whole.median, whole.high, batches)


def throughput(
    call_of: Callable[[int], Callable[[], object]],
    largest: int,
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[Batch]:
    """Images a second with batches of 1, 2, 4 ... up to `largest`, by the median call.

    `call_of` makes what answers a batch of that size. It ends before `largest` when two sizes in
    turn were no faster than a smaller one, when memory is full, or a call takes too long.
    """
    best, slower, size = 0.0, 0, 1
    while size <= largest and slower < 2:
        try:
            call = call_of(size)
            call()  # prepares
            times: List[float] = []
            while len(times) < _CALLS or sum(times) < _SECONDS:
                began = clock()
                call()
                times.append(clock() - began)
        except DeviceMemoryError:
            return
        seconds = float(np.median(times))
        found = Batch(size, size / max(seconds, 1e-9))
        yield found
        if seconds > _TOO_LONG:
            return
        slower = 0 if found.images_per_second > best else slower + 1
        best, size = max(best, found.images_per_second), 2 * size


def main(argv: Optional[Sequence[str]] = None) -> int:
    """The command line, which `compare` writes."""
    about = "Measure a trained network; compare does it for each of its networks."
    settings = flags.parse(MeasureSettings, argv, "measuring", about)

    def body() -> None:
        measure(settings)

    return run_command("measuring", body)


if __name__ == "__main__":
    sys.exit(main())
