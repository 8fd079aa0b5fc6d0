"""The update rules that PyTorch does not fuse: new weight and state of one parameter.

`engines.update_rules` has the formulas. These rules are rare, so they are not fused.
"""

import math
from typing import Callable, Dict, NamedTuple, Optional, Tuple

import torch
from torch import Tensor

from imagenet_trainer.engines.update_rules import SMALLEST_RATE, nadam_momentum


class Step(NamedTuple):
    """The numbers of an update."""

    rate: float
    decay: float
    momentum: float
    number: int  # of the update, from 1
    clip: Optional[float]

    def clipped(self, gradient: Tensor) -> Tensor:
        """The gradient with every element in [-clip, clip]."""
        return gradient if self.clip is None else gradient.clamp(-self.clip, self.clip)

    def decayed(self, gradient: Tensor, weight: Tensor) -> Tensor:
        """The gradient with weight decay, then clipped."""
        return self.clipped(gradient + self.decay * weight)


# (step, weight, mean gradient, state) to the new weight, followed by the new state.
Rule = Callable[..., Tuple[Tensor, ...]]


def rmsprop(step: Step, weight: Tensor, gradient: Tensor, variance: Tensor) -> Tuple[Tensor, ...]:
    """Tieleman and Hinton 2012."""
    gradient = step.decayed(gradient, weight)
    variance = 0.9 * variance + 0.1 * gradient.square()
    return weight - step.rate * gradient / (variance + 1e-8).sqrt(), variance


def rmsproptf(
    step: Step, weight: Tensor, gradient: Tensor, variance: Tensor, momentum: Tensor
) -> Tuple[Tensor, ...]:
    """RMSProp of TensorFlow: epsilon inside of the root, the rate inside of the momentum."""
    gradient = step.decayed(gradient, weight)
    variance = 0.9 * variance + 0.1 * gradient.square()
    momentum = step.momentum * momentum + step.rate * gradient / (variance + 1e-3).sqrt()
    return weight - momentum, variance, momentum


def rmsproptorch(
    step: Step, weight: Tensor, gradient: Tensor, variance: Tensor, momentum: Tensor
) -> Tuple[Tensor, ...]:
    """torch.optim.RMSprop with alpha .9 and eps .0316."""
    gradient = step.decayed(gradient, weight)
    variance = 0.9 * variance + 0.1 * gradient.square()
    momentum = step.momentum * momentum + gradient / (variance.sqrt() + 0.0316)
    return weight - step.rate * momentum, variance, momentum


def adagrad(step: Step, weight: Tensor, gradient: Tensor, squares: Tensor) -> Tuple[Tensor, ...]:
    """Duchi et al. 2011."""
    gradient = step.clipped(gradient)
    squares = squares + gradient.square()
    move = gradient / (squares + 1e-7).sqrt() + step.decay * weight
    return weight - step.rate * move, squares


def adadelta(
    step: Step, weight: Tensor, gradient: Tensor, variance: Tensor, steps: Tensor
) -> Tuple[Tensor, ...]:
    """Zeiler 2012; it has no rate."""
    gradient = step.clipped(gradient)
    variance = 0.9 * variance + 0.1 * gradient.square()
    move = (steps + 1e-5).sqrt() / (variance + 1e-5).sqrt() * gradient
    steps = 0.9 * steps + 0.1 * move.square()
    return weight - move - step.decay * weight, variance, steps


def adamax(
    step: Step, weight: Tensor, gradient: Tensor, mean: Tensor, largest: Tensor
) -> Tuple[Tensor, ...]:
    """Kingma and Ba 2014, section 7; without a gradient so far there is no step."""
    gradient = step.decayed(gradient, weight)
    mean = 0.9 * mean + 0.1 * gradient
    largest = torch.maximum(0.999 * largest, gradient.abs())
    rate = step.rate / (1 - 0.9**step.number)
    return weight - rate * mean / largest.clamp(min=torch.finfo().tiny), mean, largest


def nadam(
    step: Step, weight: Tensor, gradient: Tensor, mean: Tensor, variance: Tensor
) -> Tuple[Tensor, ...]:
    """Dozat 2016."""
    gradient = step.decayed(gradient, weight)
    now, following, product = nadam_momentum(step.number)
    mean = 0.9 * mean + 0.1 * gradient
    variance = 0.999 * variance + 0.001 * gradient.square()
    ahead = (1 - now) / (1 - product) * gradient + following / (1 - product * following) * mean
    scale = (variance / (1 - 0.999**step.number)).sqrt() + 1e-8
    return weight - step.rate * ahead / scale, mean, variance


def ftml(
    step: Step, weight: Tensor, gradient: Tensor, scale: Tensor, variance: Tensor, leader: Tensor
) -> Tuple[Tensor, ...]:
    """Zheng and Kwok 2017; it divides by the rate."""
    if step.rate < SMALLEST_RATE:
        return weight, scale, variance, leader
    gradient = step.decayed(gradient, weight)
    variance = 0.999 * variance + 0.001 * gradient.square()
    root = (variance / (1 - 0.999**step.number)).sqrt() + 1e-8
    new = (1 - 0.6**step.number) / step.rate * root
    leader = 0.6 * leader + 0.4 * gradient - (new - 0.6 * scale) * weight
    return -leader / new, new, variance, leader


def signum(step: Step, weight: Tensor, gradient: Tensor, *momentum: Tensor) -> Tuple[Tensor, ...]:
    """Bernstein et al. 2018; without momentum weight decay is apart from the sign."""
    if not momentum:
        return (weight - step.rate * (gradient.sign() + step.decay * weight),)
    whole = step.clipped(gradient) + step.decay * weight
    speed = step.momentum * momentum[0] - (1 - step.momentum) * whole
    return weight + step.rate * speed.sign(), speed


def lamb(
    step: Step, weight: Tensor, gradient: Tensor, mean: Tensor, variance: Tensor
) -> Tuple[Tensor, ...]:
    """You et al. 2019."""
    gradient = step.clipped(gradient)
    mean = 0.9 * mean + 0.1 * gradient
    variance = 0.999 * variance + 0.001 * gradient.square()
    root = variance.sqrt() / math.sqrt(1 - 0.999**step.number)
    move = mean / (1 - 0.9**step.number) / (root + 1e-6) + step.decay * weight
    norms = weight.norm(), move.norm()
    ratio = torch.where((norms[0] > 0) & (norms[1] > 0), norms[0] / norms[1], 1.0)
    return weight - step.rate * ratio * move, mean, variance


def lion(step: Step, weight: Tensor, gradient: Tensor, mean: Tensor) -> Tuple[Tensor, ...]:
    """Chen et al. 2023, algorithm 2."""
    gradient = step.clipped(gradient)
    move = (0.9 * mean + 0.1 * gradient).sign() + step.decay * weight
    return weight - step.rate * move, 0.99 * mean + 0.01 * gradient


_UNFUSED = (
    rmsprop, rmsproptf, rmsproptorch, adagrad, adadelta, adamax, nadam, ftml, signum, lamb, lion,
)  # fmt: skip
RULES: Dict[str, Rule] = {rule.__name__: rule for rule in _UNFUSED}
