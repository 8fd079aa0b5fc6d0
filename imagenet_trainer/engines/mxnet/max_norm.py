"""Max-norm constraint: limits the norm of the rows of weights with a `__max_norm__` in the symbol.

A row holds the incoming weights of one unit. The constraint is that of Srivastava et al. 2014
("Dropout", section 5.1), applied after every update.
"""

from typing import Any, Dict, Iterable, Mapping, Sequence

from imagenet_trainer.graph import Symbol
from imagenet_trainer.system.mxnet_import import mx

_SMALLEST = 1e-30  # avoids a division by zero for rows of zeros


def max_norms(symbol: Symbol, frozen: Sequence[str]) -> Dict[str, float]:
    """The largest norm of a weight's rows, by its name; without frozen weights."""
    learned = set(symbol.list_arguments()) - set(frozen)
    return {
        name: float(attributes["__max_norm__"])
        for name, attributes in symbol.attr_dict().items()
        if name in learned and "__max_norm__" in attributes
    }


def clip_norms(executors: Iterable[Any], largest: Mapping[str, float]) -> None:
    """Scale rows of these weights down to the largest norm, on every device."""
    for executor in executors:
        for name, limit in largest.items():
            weight = executor.arg_dict[name]
            rows = weight.reshape((weight.shape[0], -1))
            norms = mx.nd.norm(rows, axis=1, keepdims=True)
            rows[:] = rows * mx.nd.minimum(1, limit / mx.nd.maximum(norms, _SMALLEST))
