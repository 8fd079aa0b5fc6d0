"""MXNet's update rules in PyTorch, on all parameters at once, with MXNet's state.

The formulas are those of `engines.Optimizer`. Momentum is MXNet's: v is a step of the weight and
includes the rates of the past updates, v <- m v - r (g + d w), w <- w + v. `torch.optim.SGD` has
b <- m b + (g + d w), w <- w - r b, where b is -v / r as long as the rate is constant, but differs
once it changes. So the rules are implemented here, with the same multi-tensor operators that
torch.optim uses, and both engines have the same state.
"""

import math
from typing import Dict, List, Mapping, Tuple

import numpy as np
import torch

from imagenet_trainer.engines import Optimizer
from imagenet_trainer.engines.pytorch.graph import TorchNetwork, to_numpy, to_tensor
from imagenet_trainer.system.arrays import Arrays

_STATE_NAMES = {
    "sgd": ("momentum",),
    "nag": ("momentum",),
    "lbsgd": ("momentum",),
    "adam": ("mean", "variance"),
}
_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8
_Tensors = List[torch.Tensor]


class Update:
    """The update rule of a network's parameters, with its state.

    Frozen parameters (rate factor 0) lose `requires_grad`. Gammas that are fixed at one are set to
    one before every update and decay in it, as in MXNet, so that checkpoints are equal.
    """

    def __init__(self, optimizer: Optimizer, network: TorchNetwork) -> None:
        self._rule, self._network = optimizer, network
        self._groups: Dict[Tuple[float, float], List[str]] = {}  # by factor of rate, weight decay
        for name, value in network.arg.items():
            symbol_rate, symbol_decay = network.multipliers.get(name, (None, None))
            factor = optimizer.rate_factors.get(name, 1.0 if symbol_rate is None else symbol_rate)
            if not factor:
                value.requires_grad_(False)
                continue
            decays = float(name.endswith(("_weight", "_gamma")))
            decays = decays if symbol_decay is None else symbol_decay
            if name.endswith("_gamma") and not optimizer.decay_gammas:
                decays = 0.0
            self._groups.setdefault((factor, optimizer.weight_decay * decays), []).append(name)
        self._state: Dict[str, Dict[str, torch.Tensor]] = {}  # empty until the first update

    @torch.no_grad()
    def step(self, rate: float, scale: float, number: int) -> None:
        """Make update `number` (from 1) with the parameters' `grad` times `scale`."""
        if not self._state:
            for label in self._labels():
                learned = [name for group in self._groups.values() for name in group]
                self._state[label] = {n: torch.zeros_like(self._network.arg[n]) for n in learned}
        for (factor, decay), names in self._groups.items():
            weights = [self._network.arg[name] for name in names]
            gradients = [self._gradient(name) for name in names]
            torch._foreach_mul_(gradients, scale)
            state = [[values[name] for name in names] for values in self._state.values()]
            self._apply(weights, gradients, state, rate * factor, decay, number)
        for name, largest in self._network.max_norms.items():
            weight = self._network.arg[name]
            norms = weight.square().sum(tuple(range(1, weight.dim())), keepdim=True).sqrt()
            weight.mul_((largest / norms.clamp(min=1e-30)).clamp(max=1))

    def _gradient(self, name: str) -> torch.Tensor:
        weight = self._network.arg[name]
        if name in self._network.fixed:
            weight.fill_(1)
        return torch.zeros_like(weight) if weight.grad is None else weight.grad

    def _apply(
        self, weights: _Tensors, gradients: _Tensors, state: List[_Tensors], rate: float,
        decay: float, number: int,
    ) -> None:  # fmt: skip
        rule = self._rule
        if rule.name == "adam":
            self._adam(weights, gradients, state, rate, decay, number)
            return
        ratios = _ratios(weights, gradients, decay) if rule.name == "lbsgd" else None
        if rule.clip_gradient is not None:
            _clip(gradients, rule.clip_gradient)
        if decay:
            torch._foreach_add_(gradients, weights, alpha=decay)
        if ratios is not None:
            torch._foreach_mul_(gradients, ratios)
        if not state:
            torch._foreach_add_(weights, gradients, alpha=-rate)
            return
        (momenta,) = state
        torch._foreach_mul_(momenta, rule.momentum)
        torch._foreach_add_(momenta, gradients, alpha=-rate)
        if rule.name == "nag":
            torch._foreach_add_(weights, momenta, alpha=rule.momentum)
            torch._foreach_add_(weights, gradients, alpha=-rate)
        else:
            torch._foreach_add_(weights, momenta)

    def _adam(
        self, weights: _Tensors, gradients: _Tensors, state: List[_Tensors], rate: float,
        decay: float, number: int,
    ) -> None:  # fmt: skip
        means, variances = state
        if decay:
            torch._foreach_add_(gradients, weights, alpha=decay)
        if self._rule.clip_gradient is not None:
            _clip(gradients, self._rule.clip_gradient)
        torch._foreach_mul_(means, _BETA1)
        torch._foreach_add_(means, gradients, alpha=1 - _BETA1)
        torch._foreach_mul_(variances, _BETA2)
        torch._foreach_addcmul_(variances, gradients, gradients, value=1 - _BETA2)
        roots = torch._foreach_sqrt(variances)
        torch._foreach_add_(roots, _EPSILON)
        corrected = rate * math.sqrt(1 - _BETA2**number) / (1 - _BETA1**number)
        torch._foreach_addcdiv_(weights, means, roots, value=-corrected)

    def _labels(self) -> Tuple[str, ...]:
        labels = _STATE_NAMES[self._rule.name]
        return labels if self._rule.momentum or self._rule.name == "adam" else ()

    def state(self) -> Arrays:
        """`momentum:NAME`, or `mean:` and `variance:`, of every parameter that was updated."""
        return {
            f"{label}:{name}": to_numpy(value)
            for label, values in self._state.items()
            for name, value in values.items()
        }

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from a state; values that are not in it start at zero."""
        self._state = {}
        keys = [(f"{label}:{n}", label, n) for label in self._labels()
                for group in self._groups.values() for n in group]  # fmt: skip
        if not any(key in state for key, _, _ in keys):
            return
        for key, label, name in keys:
            value = torch.zeros_like(self._network.arg[name])
            if key in state:
                to_tensor(state[key], value)
            self._state.setdefault(label, {})[name] = value


def _clip(gradients: _Tensors, limit: float) -> None:
    torch._foreach_clamp_min_(gradients, -limit)
    torch._foreach_clamp_max_(gradients, limit)


def _ratios(weights: _Tensors, gradients: _Tensors, decay: float) -> _Tensors:
    """Layer-wise factors of the rate (You et al. 2017), a tensor () for each parameter."""
    of_weights = [norm.square() for norm in torch._foreach_norm(weights)]
    of_gradients = [norm.square() for norm in torch._foreach_norm(gradients)]
    return [
        (w / (g + decay * w + 1e-18)).sqrt().clamp(0.01, 100)
        for w, g in zip(of_weights, of_gradients)
    ]


class Average:
    """An exponential moving average of parameters and moving statistics, on their device."""

    def __init__(self, decay: float, network: TorchNetwork) -> None:
        self._decay = decay
        self._values: Dict[str, torch.Tensor] = {
            **{f"average:arg:{name}": value for name, value in network.arg.items()},
            **{f"average:aux:{name}": value for name, value in network.aux.items()},
        }
        self._averages: Dict[str, torch.Tensor] = {}  # empty until the first update

    @torch.no_grad()
    def update(self) -> None:
        """Add the values after an update to the average."""
        if not self._averages:
            self._averages = {name: value.detach().clone() for name, value in self._values.items()}
            return
        averages = list(self._averages.values())
        torch._foreach_mul_(averages, self._decay)
        torch._foreach_add_(averages, list(self._values.values()), alpha=1 - self._decay)

    def state(self) -> Arrays:
        """`average:arg:NAME` and `average:aux:NAME`."""
        return {name: to_numpy(value) for name, value in self._averages.items()}

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from a state, or start again if it has no average."""
        self._averages = {}
        if all(name in state for name in self._values):
            self._averages = {n: torch.empty_like(value) for n, value in self._values.items()}
            for name, value in self._averages.items():
                to_tensor(state[name], value)
