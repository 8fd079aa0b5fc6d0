"""The servers' side of the kvstore dist_async: servers update after every single gradient.

Workers send commands to the servers as JSON, never as pickles. Gradients and parameters are
float32; a float64 array is a running total to which each pushed array is added.
"""

import json
from typing import Any, Dict, List

import numpy as np

from imagenet_trainer.system.mxnet_import import mx

# MXNet passes on commands with this number only, so the kind of a command is in its text.
NUMBER = 0
BEGIN, OPTIMIZER, RATE, ASSIGN, TRAIN = "begin", "optimizer", "rate", "assign", "train"
_PLAIN = (bool, int, float, str, type(None))


def serialise(optimizer: "mx.optimizer.Optimizer", names: Dict[int, str]) -> Dict[str, Any]:
    """An optimizer as plain values; `names` are the parameters by their keys on the servers."""
    values: Dict[str, Any] = {k: v for k, v in vars(optimizer).items() if isinstance(v, _PLAIN)}
    values.update(lr_mult=optimizer.lr_mult, wd_mult=optimizer.wd_mult)
    keys: List[Any] = [[key, name] for key, name in names.items()]
    return {"class": type(optimizer).__name__.lower(), "values": values, "names": keys}


def deserialise(data: Dict[str, Any]) -> "mx.optimizer.Optimizer":
    """The optimizer from `serialise`, with initial state."""
    optimizer = mx.optimizer.create(data["class"])
    for name, value in data["values"].items():
        setattr(optimizer, name, value)
    optimizer.idx2name = {int(key): name for key, name in data["names"]}
    return optimizer


class AsyncUpdates:
    """The handler of a server for commands and for each array that a worker pushes."""

    def __init__(self) -> None:
        self._assigns = False
        self._optimizer: Any = None
        self._updater: Any = None

    def command(self, text: str) -> None:
        """Run a worker's command: JSON with a kind and a value. ValueError for anything else."""
        kind, value = json.loads(text)
        if kind == OPTIMIZER:
            self._optimizer = deserialise(value)
            self._updater = mx.optimizer.get_updater(self._optimizer)
            self._updater.aggregate_updates = False
        elif kind == RATE:
            self._optimizer.lr = float(value)
        elif kind in (ASSIGN, TRAIN):
            self._assigns = kind == ASSIGN
        elif kind != BEGIN:
            raise ValueError(f"no such command: {kind}")

    def update(self, key: int, pushed: "mx.nd.NDArray", stored: "mx.nd.NDArray") -> None:
        """Apply an array that a worker pushed to the array that the server stores."""
        if stored.dtype == np.float64:
            stored += pushed
        elif self._assigns or self._updater is None:
            pushed.copyto(stored)
        else:
            self._updater(key, pushed, stored)
