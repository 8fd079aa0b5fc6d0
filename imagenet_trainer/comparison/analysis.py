"""The analysis of a comparison: pure functions from results to statistics and recommendations."""

import math
from dataclasses import dataclass, field
from typing import Callable, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from imagenet_trainer.metrics.confidence import mcnemar, median_interval

_Describe = Callable[["Result"], str]

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
    """Speed of inference on one device. Latencies are milliseconds for one image.

    `medians` are those of the turns in which the networks were measured, empty before that.
    """

    device: str
    batches: Tuple[BatchSpeed, ...]
    medians: Tuple[float, ...] = ()  # of the network alone
    high: float = math.nan  # the 99th percentile of all calls
    whole_medians: Tuple[float, ...] = ()  # from the encoded image to probabilities
    whole_high: float = math.nan

    @property
    def median(self) -> float:
        """Latency of the network alone; nan before it is measured."""
        return float(np.median(self.medians)) if self.medians else math.nan

    @property
    def whole_median(self) -> float:
        """Latency from the encoded image to probabilities."""
        return float(np.median(self.whole_medians)) if self.whole_medians else math.nan

    @property
    def interval(self) -> Tuple[float, float]:
        """95 % confidence interval of the latency of the network alone; nan if unknown."""
        return median_interval(self.medians)

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

    def merit(one: Result) -> Tuple[float, float, float]:
        latency = one.timings[0].median
        return one.rank1, -one.loss, -math.inf if math.isnan(latency) else -latency

    return max(results, key=merit)


def p_value(one: Result, other: Result) -> float:
    """McNemar's exact test of two networks on the same images."""
    only_one = np.array((one.correct & ~other.correct).sum())
    only_other = np.array((other.correct & ~one.correct).sum())
    return float(mcnemar(only_one, only_other))


def not_slower(results: Sequence[Result], device: int) -> List[Result]:
    """The network with the lowest latency on a device, and those that may be as fast.

    Networks are compared turn by turn, since both have the same load in a turn: one is slower if
    the 95 % confidence interval of the median ratio is above 1. Without intervals no network is.
    """
    timed = [one for one in results if one.timings[device].medians]
    if not timed:
        return []
    best = min(timed, key=lambda one: one.timings[device].median)

    def is_slower(one: Result) -> bool:
        pairs = zip(one.timings[device].medians, best.timings[device].medians)
        low, _ = median_interval([other / own for other, own in pairs])
        return low > 1

    return [best, *(one for one in timed if one is not best and not is_slower(one))]


def not_longer(results: Sequence[Result]) -> List[Result]:
    """The network with the shortest training, and those whose training may be as short.

    The seconds of its epochs bound what a training takes: from all epochs like the fastest one to
    all like the slowest one. One epoch says nothing about that.
    """
    if not results:
        return []

    def bounds(one: Result) -> Tuple[float, float]:
        seconds = [epoch.seconds for epoch in one.epochs]
        if len(seconds) < 2:
            return 0.0, math.inf
        return len(seconds) * min(seconds), len(seconds) * max(seconds)

    best = min(results, key=lambda one: epoch_times(one.epochs).total)
    most = bounds(best)[1]
    return [best, *(one for one in results if one is not best and bounds(one)[0] <= most)]


class Recommendation(NamedTuple):
    """The network to use for a purpose, or all those that the intervals do not distinguish."""

    purpose: str
    network: str
    reason: str


def recommendations(results: Sequence[Result]) -> List[Recommendation]:
    """The network to use for each purpose; none without results."""
    if not results:
        return []
    best = most_accurate(results)
    equal = [one for one in results if one is best or p_value(best, one) >= SIGNIFICANCE]
    equal.sort(key=lambda one: (one is not best, -one.rank1))
    chosen: List[Tuple[str, List[Result], _Describe]] = [("most accurate", equal, _accuracy)]
    for device, timing in enumerate(best.timings):
        fast = not_slower(results, device)
        chosen.append((f"fastest, one image on {timing.device}", fast, _latency(device)))
    small = min(results, key=lambda one: (one.parameters, -one.rank1))
    chosen.append(("smallest", [small], _parameters))
    chosen.append(("least training", not_longer([one for one in results if one.epochs]), _seconds))
    purpose = "fastest that is not measurably worse than the most accurate"
    chosen.append((purpose, not_slower(equal, 0), _latency(0)))
    return [_recommend(*one) for one in chosen if one[1]]


def _recommend(purpose: str, networks: Sequence[Result], describe: _Describe) -> Recommendation:
    """All of `networks` are as good as the first, as far as the intervals tell."""
    *others, last = [one.name for one in networks]
    if not others:
        return Recommendation(purpose, last, describe(networks[0]))
    named = "; ".join(f"{one.name} {describe(one)}" for one in networks)
    listed = f"{', '.join(others)} or {last}"
    return Recommendation(purpose, listed, f"not measurably different: {named}")


def _accuracy(one: Result) -> str:
    low, high = (100 * bound for bound in one.rank1_interval)
    return f"{_rank1(one)}, 95 % confidence interval {low:.1f} to {high:.1f}"


def _parameters(one: Result) -> str:
    return f"{one.parameters:,} parameters, {_rank1(one)}"


def _seconds(one: Result) -> str:
    return f"{epoch_times(one.epochs).total:.0f} s, {_rank1(one)}"


def _latency(device: int) -> _Describe:
    def describe(one: Result) -> str:
        timing = one.timings[device]
        low, high = timing.interval
        interval = "" if math.isnan(low) else f" ({low:.2f} to {high:.2f})"
        return f"{timing.median:.2f} ms{interval}, {_rank1(one)}"

    return describe


def _rank1(result: Result) -> str:
    return f"rank-1 {100 * result.rank1:.1f} %"
