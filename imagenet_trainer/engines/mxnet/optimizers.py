"""MXNet's update rules: options and state."""

from typing import Any, Dict, Mapping, Sequence, Tuple

import numpy as np

from imagenet_trainer.engines import Optimizer
from imagenet_trainer.system.arrays import Arrays
from imagenet_trainer.system.mxnet_import import mx

# State of each parameter in MXNet's optimizers, in the order of their state tuples.
_STATE_NAMES = {
    "sgd": ("momentum",),
    "nag": ("momentum",),
    "adam": ("mean", "variance"),
    "lbsgd": ("momentum",),
}


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
        clip = {"clip_gradient": self.clip_gradient} if self.clip_gradient else {}
        fresh = mx.nd.nag_mom_update(
            weight, grad, state, momentum=self.momentum, rescale_grad=self.rescale_grad,
            lr=self._get_lr(index), wd=self._get_wd(index), **clip,
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


def init_optimizer(module: "mx.mod.Module", kvstore: Any, optimizer: Optimizer, batch: int) -> None:
    """Set the update rule of a module; `batch` is the global batch size."""
    options: Dict[str, Any] = {"wd": optimizer.weight_decay, "learning_rate": 1.0}
    if optimizer.name != "adam":
        options["momentum"] = optimizer.momentum
    # The symbol's gradient is a sum over the batch.
    options["rescale_grad"] = 1.0 / batch
    options["clip_gradient"] = optimizer.clip_gradient
    ours = {"nag": "nesterov", "lbsgd": "layerwisesgd"}
    module.init_optimizer(kvstore, ours.get(optimizer.name, optimizer.name), options)
    rule = module._optimizer
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
    """`momentum:NAME` (or `mean:`, `variance:`) of every parameter that has been updated."""
    state: Arrays = {}
    devices = len(module._context)
    for index, name in enumerate(module._exec_group.param_names):
        # All devices have the same state; the key of the first one's is index * devices.
        own = module._updater.states.get(index * devices)
        for label, part in zip(_STATE_NAMES[optimizer.name], _parts(own)):
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
        values = [state.get(f"{label}:{name}") for label in _STATE_NAMES[optimizer.name]]
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
