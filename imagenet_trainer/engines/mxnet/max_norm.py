"""Max-norm: rows of weights that must not be longer than the symbol says (`__max_norm__`).

A row is what goes into one unit: the constraint of Srivastava et al. 2014 ("Dropout", section
5.1), acted on after every update.
"""

from typing import Any, Dict, Iterable, Mapping

from imagenet_trainer.system.mxnet_import import mx

_SHORTEST = 1e-30  # a row of nought has a length of nought, and nothing to shorten


def max_norms(symbol: "mx.sym.Symbol") -> Dict[str, float]:
    """How long the rows of a weight may be, by its name."""
    attributes = symbol.attr_dict()
    return {
        name: float(attributes[name]["__max_norm__"])
        for name in symbol.list_arguments()
        if "__max_norm__" in attributes.get(name, {})
    }


def shorten(executors: Iterable[Any], longest: Mapping[str, float]) -> None:
    """Shorten the rows of these weights to that length, on every device."""
    for executor in executors:
        for name, most in longest.items():
            weight = executor.arg_dict[name]
            rows = weight.reshape((weight.shape[0], -1))
            length = mx.nd.norm(rows, axis=1, keepdims=True)
            rows[:] = rows * mx.nd.minimum(1, most / mx.nd.maximum(length, _SHORTEST))
