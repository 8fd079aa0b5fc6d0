"""Engines execute a symbol on devices; they never define networks.

This room's door: what an engine offers, and which one runs on which devices. An engine is built
from a symbol, devices, an optimizer description and a batch shape.
"""

from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Protocol, Sequence, Tuple

import numpy as np

from imagenet_trainer.errors import InputError

Arrays = Dict[str, np.ndarray]
Shapes = Dict[str, Tuple[int, ...]]


@dataclass(frozen=True)
class Devices:
    """Where a symbol runs, in what numbers, and how gradients of several devices are added up."""

    gpus: Tuple[int, ...] = ()  # their numbers; without any, CPUs
    cpus: int = 1  # data-parallel CPU contexts
    dtype: str = "float32"  # of convolutions and dense layers
    kv_store: str = "device"
    compression_threshold: Optional[float] = None  # of 2-bit gradient compression


@dataclass(frozen=True)
class Optimizer:
    """How parameters move, apart from the learning rate, which every update is told.

    sgd (momentum m, weight decay d, rate r, gradient g averaged over the global batch):
    v <- m v - r (g + d w), w <- w + v. nag and adam as in MXNet's documentation of them. Weight
    decay acts on weights and gammas, on biases and betas never.
    """

    name: str  # sgd, nag, adam
    momentum: float
    weight_decay: float


@dataclass(frozen=True)
class Training:
    """What an engine needs beside the symbol to train it."""

    optimizer: Optimizer
    seed: int = 0  # of the random numbers inside the network (dropout)
    monitor: int = 0  # every so many updates, look at every tensor; 0: never


class NonFiniteLossError(ArithmeticError):
    """The loss of an update is infinite or not a number; the update was not made."""

    def __init__(self, update: int) -> None:
        super().__init__(f"the loss of update {update} is not finite")
        self.update = update


class Engine(Protocol):
    """The seam: everything that training and evaluation may ask of an engine."""

    batch_size: int  # images that one call takes at most
    rank: int
    world_size: int
    # A dictionary set here makes each update add the seconds of its stages to it: copy, compute
    # (forward and backward), metric, update. Each stage then waits for the one before: for
    # measurements only.
    stage_seconds: Optional[Dict[str, float]]

    def train_batch(self, images: np.ndarray, labels: np.ndarray, learning_rate: float) -> None:
        """One update; NonFiniteLossError before it if the loss is not finite."""

    def read_counts(self) -> Tuple[int, int, int, float]:
        """Images, rank-1 hits, rank-5 hits, summed loss since the last call."""

    def read_statistics(self) -> List[Tuple[int, Dict[str, float]]]:
        """What Training.monitor asked for, since the last call: updates made, root mean squares
        of tensors by name. Also of an update that was refused for its loss.
        """

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Probabilities float32 (n, classes)."""

    def get_params(self) -> Tuple[Arrays, Arrays]:
        """Arguments and auxiliary states by MXNet's names."""

    def set_params(self, arg: Mapping[str, np.ndarray], aux: Mapping[str, np.ndarray]) -> None:
        """Set them on every device."""

    def get_state(self) -> Arrays:
        """What else the next update depends on, as arrays."""

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from it."""


def open_engine(
    symbol: Any,
    devices: Devices,
    batch_shape: Tuple[int, int, int, int],
    mean: Sequence[float],
    std: Sequence[float],
    training: Optional[Training] = None,
) -> Engine:
    """The engine for these devices; parameters as in MXNetEngine, the only one so far."""
    from imagenet_trainer.engines.mxnet_engine import MXNetEngine

    return MXNetEngine(symbol, devices, batch_shape, mean, std, training)


def load_symbol(text: str, path: str) -> Any:
    """An MXNet symbol from its JSON; InputError naming the file when it is none."""
    from imagenet_trainer.mxnet_import import mx

    try:
        return mx.sym.load_json(text)
    except (mx.base.MXNetError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is not a network that MXNet can read; copy it again") from error


def parameter_shapes(symbol: Any, image_shape: Sequence[int]) -> Tuple[Shapes, Shapes]:
    """Shapes of a symbol's arguments (without data and label) and auxiliary states by name."""
    arguments, _, auxiliary = symbol.infer_shape(data=(1, *image_shape))
    inputs = ("data", "softmax_label")
    arg = {n: s for n, s in zip(symbol.list_arguments(), arguments) if n not in inputs}
    return arg, dict(zip(symbol.list_auxiliary_states(), auxiliary))


def check_parameters(
    symbol: Any, image_shape: Sequence[int], arg: Arrays, aux: Arrays, path: str
) -> None:
    """InputError, naming the file and the first difference, unless they are the symbol's."""
    for wanted, found in zip(parameter_shapes(symbol, image_shape), (arg, aux)):
        for name, shape in wanted.items():
            if name not in found:
                raise InputError(f"{path}: has no {name}: it is of another network")
            if tuple(found[name].shape) != tuple(shape):
                raise InputError(
                    f"{path}: {name} is {tuple(found[name].shape)} where this network has {shape}: "
                    "it is of another network, number of classes or picture size"
                )
        for name in found:
            if name not in wanted:
                raise InputError(f"{path}: {name} is not in this network: it is of another one")
