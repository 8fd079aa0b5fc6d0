"""MXNet's update rules in PyTorch, on all parameters at once, with MXNet's state.

The formulas are those of `engines.Optimizer`. Momentum is MXNet's: v is a step of the weight and
holds the rates of the updates that made it, v <- m v - r (g + d w), w <- w + v. `torch.optim.SGD`
keeps b <- m b + (g + d w), w <- w - r b, which is -v / r while the rate stays, and another thing
once it changes. So the rules are written out here, in the same multi-tensor operators that
torch.optim is made of; a state goes from engine to engine as it is.
"""

import math
from typing import Dict, List, Mapping, Tuple

import numpy as np
import torch

from imagenet_trainer.engines import Optimizer
from imagenet_trainer.engines.pytorch.graph import Network, to_numpy, to_tensor
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
    """Moves a network's parameters, and remembers what its rule remembers of each.

    Parameters that are frozen (rate factor 0) lose `requires_grad`. Gammas that are fixed at one
    are set to it before every update and decay in it, as in MXNet, so that checkpoints agree.
    """

    def __init__(self, optimizer: Optimizer, network: Network) -> None:
        self._rule, self._network = optimizer, network
        self._groups: Dict[Tuple[float, float], List[str]] = {}  # by factor of rate, weight decay
        for name, value in network.arg.items():
            said_rate, said_decay = network.multipliers.get(name, (None, None))
            factor = optimizer.rate_factors.get(name, 1.0 if said_rate is None else said_rate)
            if not factor:
                value.requires_grad_(False)
                continue
            decays = float(name.endswith(("_weight", "_gamma")))
            decays = decays if said_decay is None else said_decay
            if name.endswith("_gamma") and not optimizer.decay_gammas:
                decays = 0.0
            self._groups.setdefault((factor, optimizer.weight_decay * decays), []).append(name)
        self._held: Dict[str, Dict[str, torch.Tensor]] = {}  # empty until the first update

    @torch.no_grad()
    def step(self, rate: float, scale: float, number: int) -> None:
        """Make update `number` (from 1) with the parameters' `grad` times `scale`."""
        if not self._held:
            for label in self._labels():
                moved = [name for group in self._groups.values() for name in group]
                self._held[label] = {n: torch.zeros_like(self._network.arg[n]) for n in moved}
        for (factor, decay), names in self._groups.items():
            weights = [self._network.arg[name] for name in names]
            gradients = [self._gradient(name) for name in names]
            torch._foreach_mul_(gradients, scale)
            held = [[values[name] for name in names] for values in self._held.values()]
            self._move(weights, gradients, held, rate * factor, decay, number)
        for name, longest in self._network.max_norms.items():
            weight = self._network.arg[name]
            rows = weight.square().sum(tuple(range(1, weight.dim())), keepdim=True).sqrt()
            weight.mul_((longest / rows.clamp(min=1e-30)).clamp(max=1))

    def _gradient(self, name: str) -> torch.Tensor:
        weight = self._network.arg[name]
        if name in self._network.fixed:
            weight.fill_(1)
        return torch.zeros_like(weight) if weight.grad is None else weight.grad

    def _move(
        self, weights: _Tensors, gradients: _Tensors, held: List[_Tensors], rate: float,
        decay: float, number: int,
    ) -> None:  # fmt: skip
        rule = self._rule
        if rule.name == "adam":
            self._adam(weights, gradients, held, rate, decay, number)
            return
        ratios = _ratios(weights, gradients, decay) if rule.name == "lbsgd" else None
        if rule.clip_gradient is not None:
            _clip(gradients, rule.clip_gradient)
        if decay:
            torch._foreach_add_(gradients, weights, alpha=decay)
        if ratios is not None:
            torch._foreach_mul_(gradients, ratios)
        if not held:
            torch._foreach_add_(weights, gradients, alpha=-rate)
            return
        (speeds,) = held
        torch._foreach_mul_(speeds, rule.momentum)
        torch._foreach_add_(speeds, gradients, alpha=-rate)
        if rule.name == "nag":
            torch._foreach_add_(weights, speeds, alpha=rule.momentum)
            torch._foreach_add_(weights, gradients, alpha=-rate)
        else:
            torch._foreach_add_(weights, speeds)

    def _adam(
        self, weights: _Tensors, gradients: _Tensors, held: List[_Tensors], rate: float,
        decay: float, number: int,
    ) -> None:  # fmt: skip
        means, variances = held
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
        """`momentum:NAME`, or `mean:` and `variance:`, of every parameter that has moved."""
        return {
            f"{label}:{name}": to_numpy(value)
            for label, values in self._held.items()
            for name, value in values.items()
        }

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from it; what is not in it begins at nought."""
        self._held = {}
        wanted = [(f"{label}:{n}", label, n) for label in self._labels()
                  for group in self._groups.values() for n in group]  # fmt: skip
        if not any(key in state for key, _, _ in wanted):
            return
        for key, label, name in wanted:
            place = torch.zeros_like(self._network.arg[name])
            if key in state:
                to_tensor(state[key], place)
            self._held.setdefault(label, {})[name] = place


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
    """An exponential moving average of parameters and moving statistics, where they are."""

    def __init__(self, decay: float, network: Network) -> None:
        self._decay = decay
        self._of: Dict[str, torch.Tensor] = {
            **{f"average:arg:{name}": value for name, value in network.arg.items()},
            **{f"average:aux:{name}": value for name, value in network.aux.items()},
        }
        self._held: Dict[str, torch.Tensor] = {}  # empty until the first update

    @torch.no_grad()
    def update(self) -> None:
        """Take in what an update left."""
        if not self._held:
            self._held = {name: value.detach().clone() for name, value in self._of.items()}
            return
        held = list(self._held.values())
        torch._foreach_mul_(held, self._decay)
        torch._foreach_add_(held, list(self._of.values()), alpha=1 - self._decay)

    def state(self) -> Arrays:
        """`average:arg:NAME` and `average:aux:NAME`."""
        return {name: to_numpy(value) for name, value in self._held.items()}

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from it, or begin anew where it has none."""
        self._held = {}
        if all(name in state for name in self._of):
            self._held = {name: torch.empty_like(value) for name, value in self._of.items()}
            for name, value in self._held.items():
                to_tensor(state[name], value)
