"""Dynamic loss scaling, which keeps small gradients above float16's smallest number.

Micikevicius et al. 2018, "Mixed Precision Training", arXiv:1710.03740, section 3.2: the loss is
multiplied by a scale before backward, the gradient divided by it before the update. Where the
scaled gradient overflows, the update is skipped and the scale halved; after 2000 updates without
an overflow it is doubled. All scales are powers of two, so scaling alone changes no bit.
"""

import json
import logging
from typing import Dict, Mapping

import numpy as np

from imagenet_trainer.engines import NonFiniteLossError
from imagenet_trainer.errors import InputError
from imagenet_trainer.system.mxnet_import import mx

_LOG = logging.getLogger("imagenet_trainer")
_FIRST, _LARGEST, _SMALLEST = 2.0**16, 2.0**24, 1.0
_CALM = 2000  # updates without an overflow, after which the scale grows
LOSS_SCALE = "loss_scale"  # name of the input, and of the state


class LossScale:
    """The scale of the next update, and how often an update was skipped."""

    def __init__(self) -> None:
        self.value = _FIRST
        self.skipped = 0
        self._calm = 0

    def follow(self, overflowed: bool) -> None:
        """Take note of an update: whether its gradients overflowed."""
        if overflowed:
            self.value, self._calm = max(self.value / 2, _SMALLEST), 0
            self.skipped += 1
            return
        self._calm += 1
        if self._calm == _CALM:
            self.value, self._calm = min(self.value * 2, _LARGEST), 0

    def lets_pass(self, overflowed: bool, update: int, rank: int) -> bool:
        """Whether an update may be made; takes note of it, and worker 0 says that one is skipped.

        Raises NonFiniteLossError for an overflow that is not the scale's fault.
        """
        if overflowed and self.is_smallest:
            raise NonFiniteLossError(update)
        self.follow(overflowed)
        if overflowed and rank == 0:
            _LOG.info(
                "Update %d skipped, its gradients overflow float16 (%d skipped so far); the loss "
                "is scaled by %g now", update, self.skipped, self.value,
            )  # fmt: skip
        return not overflowed

    @property
    def is_smallest(self) -> bool:
        """Whether an overflow cannot be the scale's fault."""
        return self.value == _SMALLEST

    def state(self) -> Dict[str, np.ndarray]:
        """`loss_scale`: float64 (3,), the scale, updates since it changed, updates skipped."""
        return {LOSS_SCALE: np.array([self.value, self._calm, self.skipped])}

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from it; from the first scale where there is none."""
        value, calm, skipped = state.get(LOSS_SCALE, (_FIRST, 0, 0))
        self.value, self._calm, self.skipped = float(value), int(calm), int(skipped)


def scalable(symbol: "mx.sym.Symbol") -> "mx.sym.Symbol":
    """The network with the gradient of its loss multiplied by an input `loss_scale` (n,).

    SoftmaxOutput has an option for this, out_grad, which MXNet 1.9.1 does not act on (measured).
    So the logits x, with scale s, become x + (s x - s x) with constants for the first and the
    last: the same number to the last bit, with gradient s. Raises InputError for a network whose
    output is not a softmax.
    """
    graph = json.loads(symbol.tojson())
    heads = [graph["nodes"][node] for node, *_ in graph["heads"]]
    if [head["op"] for head in heads] != ["SoftmaxOutput"]:
        raise InputError("--dtype float16: is for networks that end in a softmax; leave it away")
    logits, label = symbol.get_children()  # n, classes; n
    factor = mx.sym.reshape(mx.sym.Variable(LOSS_SCALE), shape=(-1, 1))
    scaled = mx.sym.broadcast_mul(logits, factor)
    same = mx.sym.BlockGrad(logits) + (scaled - mx.sym.BlockGrad(scaled))
    return mx.sym.SoftmaxOutput(same, label, name=heads[0]["name"], **heads[0].get("attrs", {}))


def all_finite(module: "mx.mod.Module") -> bool:
    """Whether all gradients of all devices of a module are finite numbers; waits for them."""
    checks = []
    for device, context in enumerate(module._context):
        gradients = [
            of_parameter[device]
            for of_parameter in module._exec_group.grad_arrays
            if of_parameter[device] is not None
        ]
        checks.append(mx.nd.ones((1,), ctx=context))
        for first in range(0, len(gradients), 200):  # the operator's limit
            some = gradients[first : first + 200]
            mx.nd.multi_all_finite(*some, num_arrays=len(some), init_output=False, out=checks[-1])
    return all(check.asscalar() for check in checks)
