"""The servers' side of --kv-store dist_async: they make the updates, each gradient by itself.

A worker's words to the servers are JSON, never pickles. Gradients and parameters are float32; a
float64 array is a running total to which whatever comes is added.
"""

import json
from typing import Any, Dict, List

import numpy as np

from imagenet_trainer.system.mxnet_import import mx

# What workers say. MXNet hands on commands of one number only, so the word is in the text.
NUMBER = 0
BEGIN, OPTIMIZER, RATE, ASSIGN, TRAIN = "begin", "optimizer", "rate", "assign", "train"
_PLAIN = (bool, int, float, str, type(None))


def described(optimizer: "mx.optimizer.Optimizer", names: Dict[int, str]) -> Dict[str, Any]:
    """An optimizer in plain values; `names` are the parameters by their keys at the servers."""
    words: Dict[str, Any] = {k: v for k, v in vars(optimizer).items() if isinstance(v, _PLAIN)}
    words.update(lr_mult=optimizer.lr_mult, wd_mult=optimizer.wd_mult)
    keys: List[Any] = [[key, name] for key, name in names.items()]
    return {"class": type(optimizer).__name__.lower(), "words": words, "names": keys}


def built(told: Dict[str, Any]) -> "mx.optimizer.Optimizer":
    """The optimizer that `described` described, with fresh state."""
    optimizer = mx.optimizer.create(told["class"])
    for name, value in told["words"].items():
        setattr(optimizer, name, value)
    optimizer.idx2name = {int(key): name for key, name in told["names"]}
    return optimizer


class AsyncUpdates:
    """What a server does with each array that a worker pushes."""

    def __init__(self) -> None:
        self._assigns = False
        self._optimizer: Any = None
        self._updater: Any = None

    def command(self, text: str) -> None:
        """Do what a worker says: JSON, a word and a value. ValueError for anything else."""
        word, value = json.loads(text)
        if word == OPTIMIZER:
            self._optimizer = built(value)
            self._updater = mx.optimizer.get_updater(self._optimizer)
            self._updater.aggregate_updates = False
        elif word == RATE:
            self._optimizer.lr = float(value)
        elif word in (ASSIGN, TRAIN):
            self._assigns = word == ASSIGN
        elif word != BEGIN:
            raise ValueError(f"no such command: {word}")

    def update(self, key: int, pushed: "mx.nd.NDArray", held: "mx.nd.NDArray") -> None:
        """Take what a worker pushed into what the server holds."""
        if held.dtype == np.float64:
            held += pushed
        elif self._assigns or self._updater is None:
            pushed.copyto(held)
        else:
            self._updater(key, pushed, held)
