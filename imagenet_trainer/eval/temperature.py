"""Temperature scaling: dividing a network's logits."""

from typing import Dict, List

import numpy as np

from imagenet_trainer.errors import InputError
from imagenet_trainer.graph import Node, Symbol
from imagenet_trainer.system.arrays import Arrays

# Besides rectifiers, operators f with f(x / t) = f(x) / t, which may come between the layer of the
# logits and the softmax: SqueezeNet ends in a rectifier and a pooling.
_HOMOGENEOUS = ("Flatten", "Reshape", "Dropout", "Pooling", "_copy")
_WEIGHTED = ("FullyConnected", "Convolution")
_SOFTMAX = ("SoftmaxOutput", "softmax", "SoftmaxActivation")


def divide_logits(symbol: Symbol, arg: Arrays, temperature: float, path: str) -> Arrays:
    """The parameters of a network whose logits are divided by a temperature.

    Weights and bias of its last layer are divided, so that every engine and every form of export
    computes the calibrated probabilities without a new operator. Raises InputError, beginning with
    `path`, if something between this layer and the softmax is not homogeneous.
    """
    last = symbol.nodes[-1]
    if last.op not in _SOFTMAX:
        raise InputError(f"--calibrated: {path}: the network does not end in a softmax; omit it")
    node = last.inputs[0].node
    while node.op in _HOMOGENEOUS or node.is_rectifier:
        node = node.inputs[0].node
    names = [entry.node.name for entry in node.inputs[1:]]
    if node.op not in _WEIGHTED or any(_uses(symbol.nodes)[name] > 1 for name in names):
        raise InputError(
            f"--calibrated: {path}: {node.where} is between the last layer and the softmax, so its "
            "parameters cannot be divided by the temperature; omit the flag"
        )
    return {n: v / np.float32(temperature) if n in names else v for n, v in arg.items()}


def _uses(nodes: List[Node]) -> Dict[str, int]:
    """How many operators read each variable."""
    uses: Dict[str, int] = {}
    for node in nodes:
        for entry in node.inputs:
            uses[entry.node.name] = uses.get(entry.node.name, 0) + 1
    return uses
