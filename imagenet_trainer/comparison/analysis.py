"""What a comparison says: pure functions from numbers to numbers and choices."""

import math
from dataclasses import dataclass, field
from typing import List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from imagenet_trainer.metrics.confidence import mcnemar

SURE = 0.05
"""Two networks differ when chance alone would do so more rarely than this (McNemar's exact p)."""


class Epoch(NamedTuple):
    """A row of history.csv; nan for what it does not say."""

    epoch: int
    train_loss: float
    train_rank1: float
    val_loss: float
    val_rank1: float
    seconds: float  # of its updates


class Batch(NamedTuple):
    """Speed of the network with batches of one size."""

    size: int
    images_per_second: float


@dataclass(frozen=True)
class Timing:
    """How fast answers come on one device. Milliseconds of one image."""

    device: str
    median: float  # of the network
    high: float  # the 99th percentile
    whole_median: float  # from the encoded image to probabilities
    whole_high: float
    batches: Tuple[Batch, ...]

    @property
    def best(self) -> Batch:
        """The batch with most images a second."""
        return max(self.batches, key=lambda batch: batch.images_per_second)


class ClassErrors(NamedTuple):
    """Wrong answers about one class."""

    name: str
    images: int
    missed: int  # false negatives: images of it that were taken for something else
    wrongly: int  # false positives: other images that were taken for it


@dataclass(frozen=True)
class Entry:
    """All that is known of one network of the comparison."""

    name: str
    series: str
    flags: str
    image_shape: Tuple[int, ...]
    train_images: int
    epochs: Tuple[Epoch, ...]
    judged: int  # the epoch whose parameters were measured
    rank1: float
    rank1_interval: Tuple[float, float]
    rank5: float
    loss: float
    parameters: int
    multiply_adds: int
    file_bytes: int
    timings: Tuple[Timing, ...]
    classes: Tuple[ClassErrors, ...]
    right: np.ndarray = field(repr=False)  # bool (validation images,): recognised at rank 1
    wall_seconds: Optional[float] = None  # of the training's processes
    peak_bytes: Optional[int] = None  # of the training, on the CPU's side
    gpu_peak_bytes: Optional[int] = None  # of the training, on its fullest GPU


class Times(NamedTuple):
    """Seconds of a training's epochs; the first one also prepares the network."""

    first: float
    later: float  # median of the others; nan without any
    total: float


def epoch_times(epochs: Sequence[Epoch]) -> Times:
    """The first epoch apart."""
    seconds = [one.seconds for one in epochs]
    later = float(np.median(seconds[1:])) if seconds[1:] else math.nan
    return Times(seconds[0] if seconds else math.nan, later, sum(seconds))


class Overfitting(NamedTuple):
    """Where over-fitting begins."""

    epoch: int  # the last good one
    rise: float  # of the validation loss since then, to the last epoch
    fall: float  # of the training loss


def overfitting(epochs: Sequence[Epoch]) -> Optional[Overfitting]:
    """The epoch of the lowest validation loss, if that of all later ones is higher while the
    training loss fell on; None while there is no such epoch.
    """
    known = [one for one in epochs if math.isfinite(one.val_loss)]
    if not known:
        return None
    lowest = min(one.val_loss for one in known)
    best = [one for one in known if one.val_loss == lowest][-1]
    last = known[-1]
    if last is best or not last.train_loss < best.train_loss:
        return None
    return Overfitting(best.epoch, last.val_loss - best.val_loss, best.train_loss - last.train_loss)


def front(costs: Sequence[float], gains: Sequence[float]) -> List[int]:
    """Places of the Pareto front, by rising cost: no other has both less cost and more gain.

    Of equal ones all are on it; nan never is.
    """
    places = [
        place
        for place in range(len(costs))
        if math.isfinite(costs[place]) and math.isfinite(gains[place])
    ]

    def beaten(place: int) -> bool:
        return any(
            costs[other] <= costs[place]
            and gains[other] >= gains[place]
            and (costs[other] < costs[place] or gains[other] > gains[place])
            for other in places
        )

    return sorted((p for p in places if not beaten(p)), key=lambda p: (costs[p], gains[p]))


def most_accurate(entries: Sequence[Entry]) -> Entry:
    """The highest rank-1; of equal ones the lower loss, then the faster."""
    return max(entries, key=lambda one: (one.rank1, -one.loss, -one.timings[0].median))


def chance(one: Entry, other: Entry) -> float:
    """McNemar's exact p of two networks that answered the same images."""
    only_one = np.array((one.right & ~other.right).sum())
    only_other = np.array((other.right & ~one.right).sum())
    return float(mcnemar(only_one, only_other))


class Advice(NamedTuple):
    """A row of the table of recommendations."""

    wish: str
    name: str
    reason: str


def advice(entries: Sequence[Entry]) -> List[Advice]:
    """Which network to take for which wish; none without networks."""
    if not entries:
        return []
    best = most_accurate(entries)
    low, high = (100 * bound for bound in best.rank1_interval)
    found = [
        Advice(
            "most accurate", best.name,
            f"rank-1 {100 * best.rank1:.1f} %, 95 % interval {low:.1f} to {high:.1f}",
        )
    ]  # fmt: skip
    for place, timing in enumerate(best.timings):
        fast = min(entries, key=lambda one: one.timings[place].median)
        found.append(
            Advice(
                f"fastest, one image on {timing.device}", fast.name,
                f"{fast.timings[place].median:.2f} ms, rank-1 {100 * fast.rank1:.1f} %",
            )
        )  # fmt: skip
    small = min(entries, key=lambda one: (one.parameters, -one.rank1))
    found.append(
        Advice(
            "smallest", small.name,
            f"{small.parameters:,} parameters, rank-1 {100 * small.rank1:.1f} %",
        )
    )  # fmt: skip
    known = [one for one in entries if one.epochs]
    if known:
        cheap = min(known, key=lambda one: epoch_times(one.epochs).total)
        found.append(
            Advice(
                "least training", cheap.name,
                f"{epoch_times(cheap.epochs).total:.0f} s, rank-1 {100 * cheap.rank1:.1f} %",
            )
        )  # fmt: skip
    equal = [one for one in entries if one is best or chance(best, one) >= SURE]
    fast = min(equal, key=lambda one: one.timings[0].median)
    p = "" if fast is best else f"; p {chance(best, fast):.2g} against {best.name}"
    found.append(
        Advice(
            "fastest that is not measurably worse than the most accurate", fast.name,
            f"{fast.timings[0].median:.2f} ms, rank-1 {100 * fast.rank1:.1f} %{p}",
        )
    )  # fmt: skip
    return found
