"""`fit --find-lr`: the learning-rate range test.

Smith 2015, "Cyclical Learning Rates for Training Neural Networks", arXiv:1506.01186, section 3.3:
train for a while at rates that rise from one that does nothing to one that diverges, and look at
which the loss falls. Rates rise exponentially here, and the test ends when the loss explodes.
"""

import math
from typing import List, NamedTuple, Optional, Sequence

import numpy as np

from imagenet_trainer.config import FitSettings
from imagenet_trainer.data.augment import TrainTransform
from imagenet_trainer.data.dataset import Dataset
from imagenet_trainer.data.loader import Worker, loader_threads, training_batches
from imagenet_trainer.data.mixup import Mixup
from imagenet_trainer.engines import Engine, Mix, NonFiniteLossError
from imagenet_trainer.engines.factory import join_workers
from imagenet_trainer.errors import InputError
from imagenet_trainer.system.files import atomic_write, make_folder
from imagenet_trainer.train.datasets import open_order, open_training_set
from imagenet_trainer.train.engine import devices_of
from imagenet_trainer.train.gpu_decoding import decoded, decodes_on_gpu
from imagenet_trainer.train.setup import start_of

# How much of itself the smoothed loss keeps, how far above its lowest it ends the test, and how
# far below the rate of the lowest the suggestion lies.
_SMOOTHING, _EXPLODED, _BELOW = 0.9, 4.0, 10.0
RULE = "a tenth of the rate at which the smoothed loss was lowest"


class Point(NamedTuple):
    """An update of the test."""

    rate: float
    loss: float  # of its batch, before it
    smoothed: float


def find(settings: FitSettings) -> int:
    """Run the test, draw and tabulate it in the run's folder, print the suggestion."""
    start = start_of(settings)
    settings, run = start.settings, start.run
    low, high = settings.find_lr_range
    if low >= high:
        raise InputError(
            f"--find-lr-range {low:g},{high:g}: must rise from the first to the second"
        )
    workers = join_workers(devices_of(settings))
    train = open_training_set(settings)
    engine = start.opened(start.symbol(len(train.classes)), workers)
    try:
        points = measure(settings, engine, train)
    finally:
        train.shards.close()
    workers.part()
    if engine.rank:
        return 0
    best = suggestion(points)
    image, as_table = run.rates_path("lr-range.png"), run.rates_path("lr-range.csv")
    make_folder(run.folder)
    with atomic_write(as_table, "w") as file:
        file.write("learning_rate,loss,smoothed_loss\n")
        file.writelines(f"{p.rate:.9g},{p.loss:.9g},{p.smoothed:.9g}\n" for p in points)
    with atomic_write(image) as file:
        file.write(drawn(points, best, f"{start.name}: learning-rate range test"))
    print(
        f"{len(points)} updates at rates from {points[0].rate:.3g} to {points[-1].rate:.3g}, "
        f"loss from {points[0].loss:.4g} to {points[-1].loss:.4g}"
    )
    print(f"Drawn to {image}, as a table in {as_table}")
    if best is None:
        print("The loss did not fall: try more updates or another --find-lr-range")
    else:
        print(f"Suggested: --lr {best:.2g} ({RULE})")
    return 0


def measure(settings: FitSettings, engine: Engine, train: Dataset) -> List[Point]:
    """Train at rising rates on the run's own batches, until the loss explodes or the end."""
    order = open_order(settings, train)
    transform = TrainTransform(settings, settings.image_shape, settings.seed)
    threads = loader_threads(settings.data_nthreads, bool(settings.gpus))
    mixup = Mixup(settings.mixup, settings.seed) if settings.mixup else None
    low, high = settings.find_lr_range
    points: List[Point] = []
    average = 0.0
    with training_batches(
        train.shards, order, transform, len(train.classes), range(settings.find_lr),
        Worker(engine.rank, engine.world_size), threads, mixup, encoded=decodes_on_gpu(settings),
    ) as batches:  # fmt: skip
        stream = decoded(batches, settings, train.shards, threads.count, print)
        for batch, rate in zip(stream, rates(low, high, settings.find_lr)):
            mix = Mix(*batch.mix) if batch.mix else None
            try:
                engine.train_batch(batch.images, batch.labels, rate, mix)
            except NonFiniteLossError:
                break
            images, _, _, loss = engine.read_counts()
            loss /= images
            average = _SMOOTHING * average + (1 - _SMOOTHING) * loss
            # Kingma and Ba 2014, section 3: an average that began at nought is too low.
            points.append(Point(rate, loss, average / (1 - _SMOOTHING ** (len(points) + 1))))
            if points[-1].smoothed > _EXPLODED * min(point.smoothed for point in points):
                break
    if not points:
        raise InputError(
            f"--find-lr-range {settings.find_lr_range[0]:g},...: the loss of the first update is "
            "not finite before any step; look at --initializer, --rgb-mean and --rgb-std"
        )
    return points


def rates(low: float, high: float, updates: int) -> List[float]:
    """Rates from low to high, each the same number of times the one before."""
    return [
        low * math.exp(math.log(high / low) * update / max(1, updates - 1))
        for update in range(updates)
    ]


def suggestion(points: Sequence[Point]) -> Optional[float]:
    """RULE; None where the loss never fell by a hundredth below its beginning."""
    smoothed = np.array([point.smoothed for point in points])
    lowest = int(smoothed.argmin())
    if smoothed[lowest] > 0.99 * smoothed[0]:
        return None
    return points[lowest].rate / _BELOW


def drawn(points: Sequence[Point], best: Optional[float], title: str) -> bytes:
    """The test as PNG."""
    from imagenet_trainer.viz.lr_figures import draw_range

    rates, losses, smoothed = zip(*points)
    return draw_range(rates, losses, smoothed, best, title)
