"""The update rules in PyTorch, on all parameters at once, with MXNet's state.

The formulas are those of `engines.Optimizer`. Momentum is MXNet's: v is a step of the weight and
includes the rates of the past updates, v <- m v - r (g + d w), w <- w + v. `torch.optim.SGD` has
b <- m b + (g + d w), w <- w - r b, where b is -v / r as long as the rate is constant, but differs
once it changes. So the rules are here, on top of the fused operators of torch.optim, which read and
write every tensor once, and both engines have the same state.
"""

import math
from typing import Dict, List, Mapping, Optional, Tuple

import numpy as np
import torch

from imagenet_trainer.engines import Optimizer
from imagenet_trainer.engines.pytorch.graph import TorchNetwork, to_numpy, to_tensor
from imagenet_trainer.engines.pytorch.loss_scale import Overflow
from imagenet_trainer.engines.pytorch.update_rules import RULES, Rule, Step
from imagenet_trainer.engines.update_rules import initial_state, state_names
from imagenet_trainer.system.arrays import Arrays

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
    def step(
        self, rate: float, images: int, number: int, overflow: Optional[Overflow] = None
    ) -> None:
        """Make update `number` (from 1) with the parameters' `grad`, a sum over `images`.

        With `overflow` the gradients are also divided by its scale, and nothing changes if they
        overflowed.
        """
        if not self._state:
            for label in self._labels():
                learned = [name for group in self._groups.values() for name in group]
                self._state[label] = {n: self._initial(label, n) for n in learned}
        shrink = self._shrink(images, overflow)
        for (factor, decay), names in self._groups.items():
            weights = [self._network.arg[name] for name in names]
            gradients = [self._gradient(name, overflow) for name in names]
            state = [[values[name] for name in names] for values in self._state.values()]
            sums = _Gradients(gradients, images, overflow, shrink)
            if self._rule.name in RULES:
                step = Step(
                    rate * factor, decay, self._rule.momentum, number, self._rule.clip_gradient
                )
                _follow(RULES[self._rule.name], step, weights, sums.mean(), state, overflow)
            else:
                self._apply(weights, sums, state, rate * factor, decay, number)
        for name, largest in self._network.max_norms.items():
            weight = self._network.arg[name]
            if not weight.requires_grad:  # frozen
                continue
            norms = weight.square().sum(tuple(range(1, weight.dim())), keepdim=True).sqrt()
            _unless(overflow, weight, weight * (largest / norms.clamp(min=1e-30)).clamp(max=1))

    def _initial(self, label: str, name: str) -> torch.Tensor:
        """A part of the state of a parameter before its first update."""
        return torch.full_like(
            self._network.arg[name], initial_state(self._rule.name, label), requires_grad=False
        )

    def _shrink(self, images: int, overflow: Optional[Overflow]) -> Optional[torch.Tensor]:
        """The factor that limits the mean gradient's norm, float32 (); None without a limit."""
        limit = self._rule.clip_norm
        if limit is None:
            return None
        names = [name for group in self._groups.values() for name in group]
        gradients = [self._network.arg[name].grad for name in names]
        gradients = [gradient for gradient in gradients if gradient is not None]
        if not gradients:
            return None
        norm = torch.stack(torch._foreach_norm(gradients)).norm() / images
        return limit / (norm if overflow is None else norm / overflow.scale).clamp(min=limit)

    def _gradient(self, name: str, overflow: Optional[Overflow]) -> torch.Tensor:
        weight = self._network.arg[name]
        if name in self._network.fixed:
            _unless(overflow, weight, torch.ones_like(weight))
        if weight.grad is None:
            return torch.zeros_like(weight)
        return _as_laid_out(weight.grad, weight)

    def _apply(
        self, weights: _Tensors, sums: "_Gradients", state: List[_Tensors], rate: float,
        decay: float, number: int,
    ) -> None:  # fmt: skip
        rule = self._rule
        if rule.name in ("adam", "adamw"):
            self._adam(weights, sums, state, rate, decay, number)
            return
        if rule.name == "lbsgd" or rule.clip_gradient is not None:
            gradients = sums.mean()
            ratios = _ratios(weights, gradients, decay) if rule.name == "lbsgd" else None
            if rule.clip_gradient is not None:
                _clip(gradients, rule.clip_gradient)
            if ratios is not None:
                if decay:
                    torch._foreach_add_(gradients, weights, alpha=decay)
                    decay = 0.0
                torch._foreach_mul_(gradients, ratios)
        # PyTorch's rule is b <- m b + (g + d w), w <- w - r b. Gradients and decay that contain the
        # factor -r, and -1 instead of r, make it MXNet's.
        torch._fused_sgd_(
            weights, sums.values, state[0] if state else [], weight_decay=-rate * decay,
            momentum=rule.momentum, lr=-1.0, dampening=0.0, nesterov=rule.name == "nag",
            maximize=False, is_first_step=False, grad_scale=sums.divisor(-rate),
            found_inf=sums.found,
        )  # fmt: skip

    def _adam(
        self, weights: _Tensors, sums: "_Gradients", state: List[_Tensors], rate: float,
        decay: float, number: int,
    ) -> None:  # fmt: skip
        decoupled = self._rule.name == "adamw"
        if self._rule.clip_gradient is not None:
            gradients = sums.mean()
            if decay and not decoupled:
                torch._foreach_add_(gradients, weights, alpha=decay)
                decay = 0.0
            _clip(gradients, self._rule.clip_gradient)
        # PyTorch, like AdamW, adds epsilon to the root of the variance after correcting its bias,
        # MXNet's Adam before.
        epsilon = _EPSILON if decoupled else _EPSILON / math.sqrt(1 - _BETA2**number)
        steps = [torch.full((), float(number), device=weights[0].device)] * len(weights)
        fused = torch._fused_adamw_ if decoupled else torch._fused_adam_
        fused(
            weights, sums.values, *state, [], steps, lr=rate, beta1=_BETA1, beta2=_BETA2,
            weight_decay=decay, eps=epsilon, amsgrad=False, maximize=False,
            grad_scale=sums.divisor(1.0), found_inf=sums.found,
        )  # fmt: skip

    def _labels(self) -> Tuple[str, ...]:
        return state_names(self._rule.name, self._rule.momentum)

    def state(self) -> Arrays:
        """`momentum:NAME`, or what `update_rules.STATES` lists, of every parameter with state."""
        return {
            f"{label}:{name}": to_numpy(value)
            for label, values in self._state.items()
            for name, value in values.items()
        }

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from a state; values that are not in it start as in a new one."""
        self._state = {}
        keys = [(f"{label}:{n}", label, n) for label in self._labels()
                for group in self._groups.values() for n in group]  # fmt: skip
        if not any(key in state for key, _, _ in keys):
            return
        for key, label, name in keys:
            value = self._initial(label, name)
            if key in state:
                to_tensor(state[key], value)
            self._state.setdefault(label, {})[name] = value


class _Gradients:
    """Gradients that are still sums over a batch; the fused update divides them as it reads."""

    def __init__(
        self, values: _Tensors, images: int, overflow: Optional[Overflow],
        shrink: Optional[torch.Tensor],
    ) -> None:  # fmt: skip
        self.values, self._images, self._shrink = values, float(images), shrink
        self._scale = overflow.scale if overflow else None
        self.found = overflow.found if overflow else None

    def mean(self) -> _Tensors:
        """The same tensors, divided in place: means, from now on with the divisor 1."""
        factor = self._on_device(1 / self._images)
        if self._shrink is not None:
            factor = factor * self._shrink
        torch._foreach_mul_(self.values, factor if self._scale is None else factor / self._scale)
        self._images, self._scale, self._shrink = 1.0, None, None
        return self.values

    def divisor(self, factor: float) -> torch.Tensor:
        """What the sums are divided by to become means times a factor, float32 ()."""
        divisor = self._on_device(self._images / factor if factor else math.inf)
        if self._shrink is not None:
            divisor = divisor / self._shrink
        return divisor if self._scale is None else divisor * self._scale

    def _on_device(self, value: float) -> torch.Tensor:
        # Not torch.tensor, whose copy from the host would wait for the device.
        return torch.full((), value, device=self.values[0].device)


def _as_laid_out(gradient: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The gradient with the strides of its weight, which fused updates require.

    Sides of length one may have any stride: a 1 x 1 kernel has two descriptions of one layout.
    """
    ours, theirs = gradient.stride(), weight.stride()
    if ours == theirs:
        return gradient
    if all(one == two for one, two, size in zip(ours, theirs, weight.shape) if size > 1):
        return gradient.as_strided(weight.shape, theirs, gradient.storage_offset())
    return torch.empty_like(weight).copy_(gradient)


def _unless(overflow: Optional[Overflow], tensor: torch.Tensor, value: torch.Tensor) -> None:
    """Set a tensor to a value, unless the update overflowed."""
    tensor.copy_(value if overflow is None else torch.where(overflow.found > 0, tensor, value))


def _follow(
    rule: Rule, step: Step, weights: _Tensors, gradients: _Tensors, state: List[_Tensors],
    overflow: Optional[Overflow],
) -> None:  # fmt: skip
    """Update parameters one after the other by a rule that is not fused."""
    for weight, gradient, *own in zip(weights, gradients, *state):
        for tensor, value in zip((weight, *own), rule(step, weight, gradient, *own)):
            _unless(overflow, tensor, value)


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
