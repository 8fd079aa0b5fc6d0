"""Graphs without label, for export."""

from typing import Any, Tuple

from imagenet_trainer.errors import InputError
from imagenet_trainer.graph import Symbol, as_graph, sym
from imagenet_trainer.system.arrays import Arrays

Model = Tuple[Symbol, Arrays, Arrays]  # graph, arguments and auxiliary states by MXNet's names


def without_label(symbol: Any, path: str) -> Symbol:
    """The network from `data` to probabilities `softmax_output`, with no input for labels.

    Raises InputError with the file for a network that does not end in a SoftmaxOutput or a
    softmax.
    """
    symbol = as_graph(symbol)
    last = symbol.entries[-1].node
    if last.op == "softmax":
        return symbol
    if last.op != "SoftmaxOutput" or len(symbol) != 1:
        raise InputError(f"{path}: ends in {last.op}, not in a softmax; it cannot be exported")
    return sym.softmax(Symbol(last.inputs[:1]), axis=-1, name=last.name)
