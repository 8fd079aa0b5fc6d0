"""Learning rates: pure functions of the update number, so a resumed run restores nothing.

Warm-up and scaling with the batch: Goyal et al. 2017, "Accurate, Large Minibatch SGD: Training
ImageNet in 1 Hour", 2.1 and 2.2. Polynomial: as in Caffe and ParseNet (Liu et al. 2015). Cosine:
Loshchilov and Hutter 2016, "SGDR", without restarts, as in He et al. 2018, "Bag of Tricks".
Triangle: as in FFCV's training of ImageNet (Leclerc et al. 2023). One-cycle: Smith and Topin 2018,
"Super-convergence", with the curves of PyTorch's OneCycleLR and a constant momentum.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Optional, Sequence, Tuple

# The share of the full rate after a share of the warm-up, in (0, 1].
_RISES = {
    "linear": lambda share: share,
    "power2": lambda share: share**2,
    "sqrt": lambda share: share**0.5,
}
# The remaining share of the difference between base and final rate, after a share in [0, 1] of the
# updates that follow the warm-up.
_FALLS = {
    "poly": lambda share, power: (1 - share) ** power,
    "cosine": lambda share, power: (1 + math.cos(math.pi * share)) / 2,
}
# Both halves of a schedule that rises and falls again: the share of the way, after a share of it.
_CYCLES = {
    "triangle": lambda share: share,
    "one-cycle": lambda share: (1 - math.cos(math.pi * share)) / 2,
}
KINDS = ("step", *_FALLS, *_CYCLES)
CYCLES = tuple(_CYCLES)


@dataclass(frozen=True)
class Schedule:
    """The rate of every update, counted from 0.

    step: `base` is multiplied by `factor` at each update in `steps`, or, if `every` is given, once
    every `every` updates. The rate never falls below `final`. poly: the rate falls from `base` to
    `final` as (1 - share of the updates made) ** power. cosine: it falls as half a period of a
    cosine. Both count the updates from the end of the warm-up to `total`, and stay at `final`
    afterwards. triangle: the rate goes from `start` to `base` at update `peak`, and from there to
    `final` at `total`, along straight lines. one-cycle: the same, each time along half a period of
    a cosine. They have no warm-up.

    During the first `warmup` updates the rate rises from zero: update u has the share
    (u + 1) / warmup of the full rate (`linear`), the square of that share (`power2`) or its square
    root (`sqrt`).
    """

    base: float
    kind: str = "step"  # KINDS
    factor: float = 0.1
    steps: Tuple[int, ...] = ()
    every: Optional[Fraction] = None  # in updates; not always a whole number
    total: int = 0  # updates of the run, for poly and cosine
    power: float = 2.0
    final: float = 0.0
    warmup: int = 0  # updates
    strategy: str = "linear"
    start: float = 0.0  # of triangle and one-cycle
    peak: int = 0  # update

    def __post_init__(self) -> None:
        if self.kind not in KINDS or self.strategy not in _RISES:
            raise ValueError(f"{self.kind}, {self.strategy}: unknown schedule or warm-up")

    def rate(self, update: int) -> float:
        """The learning rate of an update."""
        if self.kind in _CYCLES:
            return self._cycle(update)
        if update >= self.warmup:
            return self._falling(update)
        # The rate at the end of the warm-up: poly and cosine begin to fall there.
        top = self._falling(update if self.kind == "step" else self.warmup)
        return top * _RISES[self.strategy]((update + 1) / self.warmup)

    def _falling(self, update: int) -> float:
        if self.kind == "step":
            return max(self.base * self.factor ** self._drops(update), self.final)
        share = min(1.0, (update - self.warmup) / max(1, self.total - self.warmup))
        return self.final + (self.base - self.final) * _FALLS[self.kind](share, self.power)

    def _cycle(self, update: int) -> float:
        curve = _CYCLES[self.kind]
        if update < self.peak:
            return self.start + (self.base - self.start) * curve(update / self.peak)
        share = min(1.0, (update - self.peak) / max(1, self.total - self.peak))
        return self.final + (self.base - self.final) * (1 - curve(share))

    def _drops(self, update: int) -> int:
        if self.every is None:
            return sum(step <= update for step in self.steps)
        # Drop k is at update floor(k * every), as in `steps_of`.
        return math.ceil((update + 1) / self.every) - 1


def updates_in(epochs: float, images: int, batch: int) -> Fraction:
    """The exact number of updates in the given epochs.

    A fraction of an epoch means the decimal number as it is written: 0.3 epochs of 10 images are
    3 images, although the nearest float to 0.3 is smaller.
    """
    return Fraction(str(epochs)) * images / batch


def steps_of(epochs: Sequence[float], images: int, batch: int) -> Tuple[int, ...]:
    """The update at which each epoch begins: floor(epoch * images / batch), exactly."""
    return tuple(math.floor(updates_in(epoch, images, batch)) for epoch in epochs)
