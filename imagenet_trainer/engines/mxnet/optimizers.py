"""MXNet's update rules: options and state."""

import math
from typing import Any, Dict, Mapping, Sequence, Tuple

import numpy as np

from imagenet_trainer.engines import Optimizer
from imagenet_trainer.engines.update_rules import (
    STATES,
    WITH_MOMENTUM,
    initial_state,
    nadam_momentum,
)
from imagenet_trainer.system.arrays import Arrays
from imagenet_trainer.system.mxnet_import import mx

# Corrected rules and rules of our own, by the names of those that they replace.
_OURS = {
    "sgd": "sgdofoneweight",
    "nag": "nesterov",
    "lbsgd": "layerwisesgd",
    "adamax": "boundedadamax",
    "nadam": "nadamoneproduct",
    "adamw": "decoupledadam",
    "ftml": "ftmlofanyrate",
}


@mx.optimizer.Optimizer.register
class SGDOfOneWeight(mx.optimizer.SGD):
    """MXNet's SGD, which updates a single weight with momentum by the operator for one.

    MXNet takes the operator for several weights then, which is half as fast on a CPU (measured).
    Both compute the same bits; without momentum they would not.
    """

    def _update_impl(
        self, index: Any, weight: Any, grad: Any, state: Any, multi_precision: bool = False
    ) -> None:
        if state is None or multi_precision or isinstance(index, (tuple, list)):
            super()._update_impl(index, weight, grad, state, multi_precision)
            return
        self._update_count(index)
        mx.nd.sgd_mom_update(
            weight, grad, state, out=weight, momentum=self.momentum, lr=self._get_lr(index),
            wd=self._get_wd(index), rescale_grad=self.rescale_grad, **_clipping(self),
        )  # fmt: skip


@mx.optimizer.Optimizer.register
class Nesterov(mx.optimizer.NAG):
    """MXNet's NAG with the documented formula.

    MXNet's operator, writing the weight in place, applies weight decay with the weight that it has
    just written (measured). Here it writes to another array.
    """

    def _update_impl(
        self, index: int, weight: Any, grad: Any, state: Any, multi_precision: bool = False
    ) -> None:
        if state is None or multi_precision:
            super()._update_impl(index, weight, grad, state, multi_precision)
            return
        self._update_count(index)
        fresh = mx.nd.nag_mom_update(
            weight, grad, state, momentum=self.momentum, rescale_grad=self.rescale_grad,
            lr=self._get_lr(index), wd=self._get_wd(index), **_clipping(self),
        )  # fmt: skip
        fresh.copyto(weight)


@mx.optimizer.Optimizer.register
class LayerwiseSGD(mx.optimizer.LBSGD):
    """MXNet's LBSGD, reduced to its layer-wise adaptive rates and with a corrected ratio.

    MXNet compares a weight with the gradient summed over the batch, before rescale_grad, so its
    ratio shrinks as the batch grows (down to its lower limit of 0.01). Here the ratio uses the
    average gradient, as the update does. LBSGD's own warm-up, batch scale and accumulation stay
    off: the schedule and Training.accumulate provide these for every optimizer.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(warmup_strategy="lars", warmup_epochs=0, batch_scale=1, **options)

    def _get_lars(self, weight: "mx.nd.NDArray", g: "mx.nd.NDArray", wd: float) -> float:
        return super()._get_lars(weight, g * self.rescale_grad, wd)

    def _l2norm(self, v: "mx.nd.NDArray") -> float:
        # On the device; MXNet's own copies the whole array to the host.
        flat = v.reshape((-1,))
        return float(mx.nd.dot(flat, flat).asscalar())


@mx.optimizer.Optimizer.register
class BoundedAdamax(mx.optimizer.Adamax):
    """MXNet's AdaMax, without the division of zero by zero where no gradient was seen yet."""

    def update(self, index: int, weight: Any, grad: Any, state: Any) -> None:
        """Make one update of a parameter."""
        self._update_count(index)
        rate = self._get_lr(index) / (1 - self.beta1 ** self._index_update_count[index])
        grad = _decayed(self, index, weight, grad)
        mean, largest = state
        mean[:] = self.beta1 * mean + (1 - self.beta1) * grad
        largest[:] = mx.nd.maximum(self.beta2 * largest, mx.nd.abs(grad))
        weight[:] -= rate * mean / mx.nd.maximum(largest, float(np.finfo(np.float32).tiny))


@mx.optimizer.Optimizer.register
class NadamOneProduct(mx.optimizer.Nadam):
    """MXNet's Nadam with one product of momenta for all parameters; see `nadam_momentum`."""

    def update(self, index: int, weight: Any, grad: Any, state: Any) -> None:
        """Make one update of a parameter."""
        self._update_count(index)
        number = self._index_update_count[index]
        now, following, product = nadam_momentum(number)
        grad = _decayed(self, index, weight, grad)
        mean, variance = state
        mean[:] = self.beta1 * mean + (1 - self.beta1) * grad
        variance[:] = self.beta2 * variance + (1 - self.beta2) * grad * grad
        ahead = (1 - now) / (1 - product) * grad + following / (1 - product * following) * mean
        scale = mx.nd.sqrt(variance / (1 - self.beta2**number)) + self.epsilon
        weight[:] -= self._get_lr(index) * ahead / scale


@mx.optimizer.Optimizer.register
class FTMLOfAnyRate(mx.optimizer.FTML):
    """MXNet's FTML, without an update at a rate of zero, by which it divides."""

    def update(self, index: int, weight: Any, grad: Any, state: Any) -> None:
        """Make one update of a parameter."""
        if self._get_lr(index):
            super().update(index, weight, grad, state)
        else:
            self._update_count(index)


@mx.optimizer.Optimizer.register
class DecoupledAdam(mx.optimizer.Adam):
    """AdamW, as in torch.optim.AdamW."""

    def update(self, index: int, weight: Any, grad: Any, state: Any) -> None:
        """Make one update of a parameter."""
        self._update_count(index)
        number, rate = self._index_update_count[index], self._get_lr(index)
        # Not MXNet's adamw_update, which scales the gradient in place (measured).
        weight *= 1 - rate * self._get_wd(index)
        # The operator does not correct the bias of the moments; its epsilon is added to the root
        # of the uncorrected variance.
        root = math.sqrt(1 - self.beta2**number)
        mx.nd.adam_update(
            weight, grad, *state, rescale_grad=self.rescale_grad, out=weight, wd=0.0,
            lr=rate * root / (1 - self.beta1**number), epsilon=self.epsilon * root,
            beta1=self.beta1, beta2=self.beta2, **_clipping(self),
        )  # fmt: skip


@mx.optimizer.Optimizer.register
class Lion(mx.optimizer.Optimizer):
    """Chen et al. 2023, algorithm 2; MXNet has no such rule."""

    def create_state(self, index: int, weight: Any) -> Any:
        """The moving average of gradients."""
        return mx.nd.zeros(weight.shape, weight.context, dtype=weight.dtype)

    def update(self, index: int, weight: Any, grad: Any, state: Any) -> None:
        """Make one update of a parameter."""
        self._update_count(index)
        rate = self._get_lr(index)
        grad = grad * self.rescale_grad
        if self.clip_gradient:
            grad = mx.nd.clip(grad, -self.clip_gradient, self.clip_gradient)
        move = mx.nd.sign(0.9 * state + 0.1 * grad)
        state[:] = 0.99 * state + 0.01 * grad
        weight[:] -= rate * (move + self._get_wd(index) * weight)


class _RMSPropWithMomentum(mx.optimizer.Optimizer):
    """RMSProp with momentum; see `update_rules`. MXNet's has momentum in its centred form only."""

    def __init__(self, momentum: float = 0.0, **options: Any) -> None:
        super().__init__(**options)
        self.momentum = momentum

    def create_state(self, index: int, weight: Any) -> Any:
        """The moving average of squares, and the momentum."""
        rule = type(self).__name__.lower()
        first = (initial_state(rule, label) for label in STATES[rule])
        return tuple(mx.nd.full(weight.shape, v, weight.context, weight.dtype) for v in first)

    def update(self, index: int, weight: Any, grad: Any, state: Any) -> None:
        """Make one update of a parameter."""
        self._update_count(index)
        grad, (variance, momentum) = _decayed(self, index, weight, grad), state
        variance[:] = 0.9 * variance + 0.1 * mx.nd.square(grad)
        self._move(self._get_lr(index), weight, grad, variance, momentum)

    def _move(self, rate: float, weight: Any, grad: Any, variance: Any, momentum: Any) -> None:
        raise NotImplementedError


@mx.optimizer.Optimizer.register
class RMSPropTF(_RMSPropWithMomentum):
    """As TensorFlow: epsilon inside of the root, the rate inside of the momentum."""

    def _move(self, rate: float, weight: Any, grad: Any, variance: Any, momentum: Any) -> None:
        momentum[:] = self.momentum * momentum + rate * grad / mx.nd.sqrt(variance + 1e-3)
        weight[:] -= momentum


@mx.optimizer.Optimizer.register
class RMSPropTorch(_RMSPropWithMomentum):
    """As torch.optim.RMSprop with alpha .9 and eps .0316."""

    def _move(self, rate: float, weight: Any, grad: Any, variance: Any, momentum: Any) -> None:
        momentum[:] = self.momentum * momentum + grad / (mx.nd.sqrt(variance) + 0.0316)
        weight[:] -= rate * momentum


class NormLimit(mx.optimizer.Updater):
    """Updates with a smaller `rescale_grad` where the norm of the mean gradient is above a limit.

    MXNet calls it for each device with all of its gradients, which are the sums over all devices.
    It waits for their norm.
    """

    def __init__(self, rule: "mx.optimizer.Optimizer", limit: float) -> None:
        super().__init__(rule)
        self._limit = limit

    def __call__(self, index: Any, grad: Any, weight: Any) -> None:
        """Make one update of these parameters."""
        squares = mx.nd.concat(
            *[mx.nd.square(mx.nd.norm(one)).reshape((1,)) for one in grad], dim=0
        )
        scale = self.optimizer.rescale_grad
        norm = math.sqrt(float(squares.sum().asscalar())) * scale
        self.optimizer.rescale_grad = scale * self._limit / max(norm, self._limit)
        super().__call__(index, grad, weight)
        self.optimizer.rescale_grad = scale


def _clipping(rule: "mx.optimizer.Optimizer") -> Dict[str, float]:
    """The option of MXNet's operators that clips gradients, if they are to be clipped."""
    return {"clip_gradient": rule.clip_gradient} if rule.clip_gradient else {}


def _decayed(rule: "mx.optimizer.Optimizer", index: int, weight: Any, grad: Any) -> Any:
    """The mean gradient with weight decay, clipped."""
    grad = grad * rule.rescale_grad + rule._get_wd(index) * weight
    limit = rule.clip_gradient
    return grad if limit is None else mx.nd.clip(grad, -limit, limit)


def init_optimizer(module: "mx.mod.Module", kvstore: Any, optimizer: Optimizer, batch: int) -> None:
    """Set the update rule of a module; `batch` is the global batch size."""
    options: Dict[str, Any] = {"wd": optimizer.weight_decay, "learning_rate": 1.0}
    if optimizer.name in WITH_MOMENTUM:
        options["momentum"] = optimizer.momentum
    # The symbol's gradient is a sum over the batch.
    options["rescale_grad"] = 1.0 / batch
    options["clip_gradient"] = optimizer.clip_gradient
    module.init_optimizer(kvstore, _OURS.get(optimizer.name, optimizer.name), options)
    rule = module._optimizer
    if optimizer.clip_norm is not None:
        module._updater = NormLimit(rule, optimizer.clip_norm)
    names = module._exec_group.param_names
    if not optimizer.decay_gammas:
        rule.set_wd_mult({name: 0.0 for name in names if name.endswith("_gamma")})
    rule.set_lr_mult(dict(optimizer.rate_factors))
    if module._context[0].device_type == "cpu":
        # One operator for several weights saves kernel launches on a GPU. On a CPU the operator's
        # inner loop over the weights costs more than it saves (a tenth of ResNet-18's update,
        # measured).
        module._updater.aggregate_updates = False
        rule.aggregate_num = 0


def optimizer_state(module: "mx.mod.Module", optimizer: Optimizer) -> Arrays:
    """`momentum:NAME`, or what `STATES` lists, of every parameter that has been updated."""
    state: Arrays = {}
    devices = len(module._context)
    for index, name in enumerate(module._exec_group.param_names):
        # All devices have the same state; the key of the first one's is index * devices.
        own = module._updater.states.get(index * devices)
        for label, part in zip(STATES[optimizer.name], _parts(own)):
            if part is not None:
                state[f"{label}:{name}"] = part.asnumpy()
    return state


def set_optimizer_state(
    module: "mx.mod.Module", optimizer: Optimizer, state: Mapping[str, np.ndarray], updates: int
) -> None:
    """Continue after `updates` updates from the result of `optimizer_state`."""
    rule, updater = module._optimizer, module._updater
    rule.begin_num_update = rule.num_update = updates
    for counts in rule._all_index_update_counts.values():
        counts.clear()
    updater.states.clear()
    updater.states_synced.clear()
    executors: Sequence[Any] = module._exec_group.execs
    for index, name in enumerate(module._exec_group.param_names):
        values = [state.get(f"{label}:{name}") for label in STATES[optimizer.name]]
        if any(value is None for value in values):
            continue
        for device, executor in enumerate(executors):
            key = index * len(executors) + device
            own = rule.create_state_multi_precision(key, executor.arg_dict[name])
            for part, value in zip(_parts(own), values):
                if part is not None:
                    part[:] = value
            updater.states[key] = own
            updater.states_synced[key] = True


def _parts(state: Any) -> Tuple[Any, ...]:
    return state if isinstance(state, tuple) else (state,)
