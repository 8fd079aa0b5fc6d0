"""Gradients of single outputs of a network, with MXNet."""

import numpy as np

from imagenet_trainer.engines.mxnet.arrays import to_mxnet, to_symbol
from imagenet_trainer.graph import Symbol
from imagenet_trainer.system.arrays import Arrays
from imagenet_trainer.system.mxnet_import import mx

# What makes an operator compute the same in training as in inference.
_AS_IN_INFERENCE = {"BatchNorm": {"use_global_stats": "True"}, "Dropout": {"p": "0"}}


def output_gradients(
    symbol: Symbol, arg: Arrays, aux: Arrays, inputs: np.ndarray, outputs: np.ndarray
) -> np.ndarray:
    """As `factory.output_gradients`, on the CPU."""
    # MXNet's max pooling has no gradient on the CPU, but zeros, unless it runs as in training.
    network = to_symbol(symbol.with_attributes({
        node.name: _AS_IN_INFERENCE[node.op] for node in symbol.nodes
        if node.op in _AS_IN_INFERENCE
    }))  # fmt: skip
    values = {**arg, **aux, "data": inputs}
    arrays = to_mxnet({name: value.astype(np.float32) for name, value in values.items()})
    arrays["data"].attach_grad()
    compute = mx.nd.CachedOp(network)
    with mx.autograd.record():
        found = compute(*(arrays[name] for name in network.list_inputs()))
        chosen = mx.nd.pick(mx.nd.Flatten(found), mx.nd.array(outputs))
    chosen.backward()
    return arrays["data"].grad.asnumpy()
