"""Graphs of the networks here, and graphs without label, for export."""

from functools import cache
from typing import Any, Tuple

from imagenet_trainer import symbols
from imagenet_trainer.engines.symbol import ends_in_sigmoid, parameter_shapes
from imagenet_trainer.errors import InputError
from imagenet_trainer.graph import Symbol, as_graph, sym
from imagenet_trainer.system.arrays import Arrays

Model = Tuple[Symbol, Arrays, Arrays]  # graph, arguments and auxiliary states by MXNet's names


@cache
def graph_of(network: str, classes: int) -> Symbol:
    """The graph of a network of `symbols`, for the image size that it was published for."""
    return symbols.get_symbol(network, classes, symbols.find(network).image_shape)


def last_layer(network: str) -> str:
    """The first parameter whose shape depends on the number of classes, which is its length."""
    shape = symbols.find(network).image_shape
    few, more = (parameter_shapes(graph_of(network, n), shape)[0] for n in (1000, 1001))
    return next(name for name in few if few[name] != more[name])


def without_label(symbol: Any, path: str) -> Symbol:
    """The network from `data` to probabilities `softmax_output`, with no input for labels.

    Raises InputError with the file for a network that does not end in a SoftmaxOutput, a
    softmax, or the sigmoid of --multi-label.
    """
    symbol = as_graph(symbol)
    last = symbol.entries[-1].node
    if last.op == "softmax":
        return symbol
    if ends_in_sigmoid(symbol):
        return sym.sigmoid(Symbol(last.inputs[:1]), name=last.name)
    if last.op != "SoftmaxOutput" or len(symbol) != 1:
        raise InputError(f"{path}: ends in {last.op}, not in a softmax; it cannot be exported")
    return sym.softmax(Symbol(last.inputs[:1]), axis=-1, name=last.name)
