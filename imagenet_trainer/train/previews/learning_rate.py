"""`fit --find-lr`: the learning-rate range test.

Smith 2015, "Cyclical Learning Rates for Training Neural Networks", arXiv:1506.01186, section 3.3:
train for a while at increasing rates, from one at which nothing changes to one at which training
diverges, and plot the loss. Here the rates increase exponentially, and the test ends when the loss
explodes.
"""

import math
from typing import List, NamedTuple, Optional, Sequence

import numpy as np

from imagenet_trainer.config import FitSettings
from imagenet_trainer.data.augment import TrainTransform
from imagenet_trainer.data.dataset import Dataset
from imagenet_trainer.data.loader import Worker, loader_threads, training_batches
from imagenet_trainer.data.mixup import mixing_of
from imagenet_trainer.engines import Engine, Mix, NonFiniteLossError
from imagenet_trainer.engines.factory import join_workers
from imagenet_trainer.errors import InputError
from imagenet_trainer.system.files import atomic_write, make_folder, write_file
from imagenet_trainer.train.datasets import loss_weights, open_order, open_training_set
from imagenet_trainer.train.engine import devices_of
from imagenet_trainer.train.engine_choice import joins_others, print_threads
from imagenet_trainer.train.gpu_decoding import decoded, decodes_on_gpu
from imagenet_trainer.train.setup import TrainingSetup, training_setup
from imagenet_trainer.viz.lr_figures import draw_range

_SMOOTHING = 0.9  # the decay of the smoothed loss
_EXPLODED = 4.0  # the test ends when the smoothed loss is this many times its minimum
_BELOW = 10.0  # the suggested rate is that of the minimum divided by this
RULE = "a tenth of the rate at which the smoothed loss was lowest"


class Point(NamedTuple):
    """An update of the test."""

    rate: float
    loss: float  # of its batch, before the update
    smoothed: float


def print_range_test(settings: FitSettings) -> int:
    """Run the test, write its plot and table into the run's folder, print the suggestion."""
    setup = training_setup(settings)
    settings = setup.settings
    low, high = settings.find_lr_range
    if low >= high:
        raise InputError(
            f"--find-lr-range {low:g},{high:g}: the second rate must be above the first"
        )
    if joins_others(settings):  # which loads the engine
        print_threads(settings)
    workers = join_workers(devices_of(settings))
    train = open_training_set(settings)
    print_threads(settings)
    weights = loss_weights(settings, train)
    engine = setup.open_engine(setup.symbol(len(train.classes)), workers, weights)
    try:
        points = range_test(settings, engine, train)
    finally:
        train.shards.close()
    workers.part()
    if engine.rank == 0:
        _report(setup, points)
    return 0


def _report(setup: TrainingSetup, points: Sequence[Point]) -> None:
    """Write lr-range.csv and lr-range.png; print the suggestion."""
    run, rate = setup.run, suggestion(points)
    plot, table = run.rates_path("lr-range.png"), run.rates_path("lr-range.csv")
    make_folder(run.folder)
    with atomic_write(table, "w") as file:
        file.write("learning_rate,loss,smoothed_loss\n")
        file.writelines(f"{p.rate:.9g},{p.loss:.9g},{p.smoothed:.9g}\n" for p in points)
    rates_of, losses, smoothed = zip(*points)
    title = f"{setup.name}: learning-rate range test"
    write_file(plot, draw_range(rates_of, losses, smoothed, rate, title))
    print(
        f"{len(points)} updates at rates from {points[0].rate:.3g} to {points[-1].rate:.3g}, "
        f"loss from {points[0].loss:.4g} to {points[-1].loss:.4g}"
    )
    print(f"Plot: {plot}, table: {table}")
    if rate is None:
        print("The loss did not fall: try more updates or another --find-lr-range")
    else:
        print(f"Suggested: --lr {rate:.2g} ({RULE})")


def range_test(settings: FitSettings, engine: Engine, train: Dataset) -> List[Point]:
    """Train at increasing rates on the run's batches until the loss explodes or the last rate."""
    order = open_order(settings, train)
    transform = TrainTransform(settings, settings.image_shape, settings.seed)
    threads = loader_threads(settings.data_nthreads, bool(settings.gpus))
    mixup = mixing_of(settings, settings.seed)
    low, high = settings.find_lr_range
    points: List[Point] = []
    average = 0.0
    with training_batches(
        train.shards, order, transform, len(train.classes), range(settings.find_lr),
        Worker(engine.rank, engine.world_size), threads, mixup,
        encoded=decodes_on_gpu(settings), on_bad=settings.on_bad_record,
    ) as batches:  # fmt: skip
        stream = decoded(batches, settings, train.shards, threads.count, print)
        for batch, rate in zip(stream, rates(low, high, settings.find_lr)):
            mix = Mix(*batch.mix) if batch.mix else None
            try:
                engine.train_batch(batch.images, batch.labels, rate, mix)
            except NonFiniteLossError:
                break
            images, _, _, loss, _ = engine.read_counts()
            loss /= images
            average = _SMOOTHING * average + (1 - _SMOOTHING) * loss
            # Kingma and Ba 2014, section 3: corrects the average, which starts at zero.
            points.append(Point(rate, loss, average / (1 - _SMOOTHING ** (len(points) + 1))))
            if points[-1].smoothed > _EXPLODED * min(point.smoothed for point in points):
                break
    if not points:
        raise InputError(
            f"--find-lr-range {settings.find_lr_range[0]:g},...: the loss of the first batch is "
            "not finite before any update; check --initializer, --rgb-mean and --rgb-std"
        )
    return points


def rates(low: float, high: float, updates: int) -> List[float]:
    """Rates from low to high, each a constant factor above the one before."""
    return [
        low * math.exp(math.log(high / low) * update / max(1, updates - 1))
        for update in range(updates)
    ]


def suggestion(points: Sequence[Point]) -> Optional[float]:
    """The rate by RULE; None if the smoothed loss never fell 1 % below its first value."""
    smoothed = np.array([point.smoothed for point in points])
    lowest = int(smoothed.argmin())
    if smoothed[lowest] > 0.99 * smoothed[0]:
        return None
    return points[lowest].rate / _BELOW
