"""The analysis of a comparison: pure functions from results to statistics and recommendations."""

import math
from dataclasses import dataclass, field
from typing import List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from imagenet_trainer.metrics.confidence import mcnemar

SIGNIFICANCE = 0.05
"""Two networks differ significantly if the p-value of McNemar's exact test is below this."""


class Epoch(NamedTuple):
    """A row of history.csv; nan for empty cells."""

    epoch: int
    train_loss: float
    train_rank1: float
    val_loss: float
    val_rank1: float
    seconds: float  # of its updates


class BatchSpeed(NamedTuple):
    """Throughput of the network at one batch size."""

    size: int
    images_per_second: float


@dataclass(frozen=True)
class Timing:
    """Speed of inference on one device. Latencies are milliseconds for one image."""

    device: str
    median: float  # of the network alone
    high: float  # the 99th percentile
    whole_median: float  # from the encoded image to probabilities
    whole_high: float
    batches: Tuple[BatchSpeed, ...]

    @property
    def best(self) -> BatchSpeed:
        """The batch size with the highest throughput."""
        return max(self.batches, key=lambda batch: batch.images_per_second)


class ClassErrors(NamedTuple):
    """Errors of one class."""

    name: str
    images: int
    false_negatives: int  # images of the class that are predicted as another class
    false_positives: int  # images of other classes that are predicted as this class


@dataclass(frozen=True)
class Result:
    """Measurements of one network of the comparison."""

    name: str
    series: str
    flags: str
    image_shape: Tuple[int, ...]
    train_images: int
    epochs: Tuple[Epoch, ...]
    best_epoch: int  # the epoch whose parameters are measured
    rank1: float
    rank1_interval: Tuple[float, float]
    rank5: float
    loss: float
    parameters: int
    multiply_adds: int
    file_bytes: int
    timings: Tuple[Timing, ...]
    classes: Tuple[ClassErrors, ...]
    correct: np.ndarray = field(repr=False)  # bool (validation images,): correct at rank 1
    wall_seconds: Optional[float] = None  # of the training's processes
    peak_bytes: Optional[int] = None  # host memory of the training
    gpu_peak_bytes: Optional[int] = None  # of the training, on the GPU that used most


class Times(NamedTuple):
    """Seconds of a training's epochs; the first epoch also prepares the network."""

    first: float
    later: float  # median of the others; nan if there are none
    total: float


def epoch_times(epochs: Sequence[Epoch]) -> Times:
    """Time of the first epoch, of a later one, and of all."""
    seconds = [one.seconds for one in epochs]
    later = float(np.median(seconds[1:])) if seconds[1:] else math.nan
    return Times(seconds[0] if seconds else math.nan, later, sum(seconds))


class Overfitting(NamedTuple):
    """Where overfitting starts."""

    epoch: int  # with the lowest validation loss
    rise: float  # of the validation loss since then, to the last epoch
    fall: float  # of the training loss


def overfitting(epochs: Sequence[Epoch]) -> Optional[Overfitting]:
    """The epoch with the lowest validation loss, if the validation loss is higher after all later
    epochs while the training loss falls further; None otherwise.
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


def pareto_front(costs: Sequence[float], gains: Sequence[float]) -> List[int]:
    """Indices of the Pareto front by rising cost: none has a lower cost and a higher gain.

    Equal points are all on the front; points with nan are not.
    """
    finite = [
        index
        for index in range(len(costs))
        if math.isfinite(costs[index]) and math.isfinite(gains[index])
    ]

    def dominated(index: int) -> bool:
        return any(
            costs[other] <= costs[index]
            and gains[other] >= gains[index]
            and (costs[other] < costs[index] or gains[other] > gains[index])
            for other in finite
        )

    return sorted((i for i in finite if not dominated(i)), key=lambda i: (costs[i], gains[i]))


def most_accurate(results: Sequence[Result]) -> Result:
    """The highest rank-1; of equal ones the one with the lower loss, then the faster one."""
    return max(results, key=lambda one: (one.rank1, -one.loss, -one.timings[0].median))


def p_value(one: Result, other: Result) -> float:
    """McNemar's exact test of two networks on the same images."""
    only_one = np.array((one.correct & ~other.correct).sum())
    only_other = np.array((other.correct & ~one.correct).sum())
    return float(mcnemar(only_one, only_other))


class Recommendation(NamedTuple):
    """The network to use for a purpose."""

    purpose: str
    network: str
    reason: str


def recommendations(results: Sequence[Result]) -> List[Recommendation]:
    """The network to use for each purpose; none without results."""
    if not results:
        return []
    best = most_accurate(results)
    low, high = (100 * bound for bound in best.rank1_interval)
    interval = f"95 % confidence interval {low:.1f} to {high:.1f}"
    chosen = [Recommendation("most accurate", best.name, f"{_rank1(best)}, {interval}")]
    for device, timing in enumerate(best.timings):
        fast = min(results, key=lambda one: one.timings[device].median)
        reason = f"{fast.timings[device].median:.2f} ms, {_rank1(fast)}"
        chosen.append(Recommendation(f"fastest, one image on {timing.device}", fast.name, reason))
    small = min(results, key=lambda one: (one.parameters, -one.rank1))
    reason = f"{small.parameters:,} parameters, {_rank1(small)}"
    chosen.append(Recommendation("smallest", small.name, reason))
    trained = [one for one in results if one.epochs]
    if trained:
        cheap = min(trained, key=lambda one: epoch_times(one.epochs).total)
        reason = f"{epoch_times(cheap.epochs).total:.0f} s, {_rank1(cheap)}"
        chosen.append(Recommendation("least training", cheap.name, reason))
    equal = [one for one in results if one is best or p_value(best, one) >= SIGNIFICANCE]
    fast = min(equal, key=lambda one: one.timings[0].median)
    p = "" if fast is best else f"; p {p_value(best, fast):.2g} against {best.name}"
    reason = f"{fast.timings[0].median:.2f} ms, {_rank1(fast)}{p}"
    purpose = "fastest that is not measurably worse than the most accurate"
    return [*chosen, Recommendation(purpose, fast.name, reason)]


def _rank1(result: Result) -> str:
    return f"rank-1 {100 * result.rank1:.1f} %"
