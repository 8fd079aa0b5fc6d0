"""Engines execute a symbol on devices; they never define networks.

This room's door: what an engine offers, and which one runs on which devices. An engine is built
from a symbol, devices, an optimizer description and a batch shape.
"""

import os
import zlib
from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Optional, Protocol, Sequence, Tuple

import numpy as np

from imagenet_trainer.engines.memory import memory_errors
from imagenet_trainer.engines.workers import ALONE, Workers
from imagenet_trainer.errors import InputError
from imagenet_trainer.system.arrays import Arrays

Shapes = Dict[str, Tuple[int, ...]]


@dataclass(frozen=True)
class Devices:
    """Where a symbol runs, in what numbers, and how gradients of several devices are added up."""

    gpus: Tuple[int, ...] = ()  # their numbers; without any, CPUs
    cpus: int = 1  # data-parallel CPU contexts
    dtype: str = "float32"  # of convolutions and dense layers
    kv_store: str = "device"
    compression_threshold: Optional[float] = None  # of 2-bit gradient compression
    engine: str = "auto"  # auto, mxnet, torch
    compile: str = "auto"  # torch.compile: on, off, auto (where it helps: on GPUs)

    @property
    def is_compiled(self) -> bool:
        """Whether PyTorch's engine trains with what torch.compile makes of the network."""
        return self.compile == "on" or (self.compile == "auto" and bool(self.gpus))


@dataclass(frozen=True)
class Optimizer:
    """How parameters move, apart from the learning rate, which every update is told.

    With rate r, momentum m, weight decay d, and g the gradient averaged over the global batch and
    then clipped:

    sgd: v <- m v - r (g + d w), w <- w + v.
    nag: the same v, w <- w + m v - r (g + d w) (Nesterov's momentum, Sutskever et al. 2013).
    adam: h = g + d w, clipped only now; a <- .9 a + .1 h, b <- .999 b + .001 h^2,
    w <- w - r sqrt(1 - .999^t) / (1 - .9^t) a / (sqrt(b) + 1e-8) (Kingma and Ba 2014).
    lbsgd: sgd with r times |w| / sqrt(|g|^2 + d |w|^2), kept in [0.01, 100], for each parameter
    (layer-wise adaptive rates, You et al. 2017, arXiv:1708.03888), g before it is clipped.

    Weight decay acts on weights and gammas, on biases and betas never.
    """

    name: str  # sgd, nag, adam, lbsgd
    momentum: float
    weight_decay: float
    clip_gradient: Optional[float] = None  # each element of g is kept in [-this, this]
    decay_gammas: bool = True  # False: weight decay acts on weights only
    # r of a parameter is multiplied by its factor, 1 if it has none. 0 freezes it: it gets no
    # gradient and stays what it is. A BatchNorm whose beta, and gamma if it learns one, are frozen
    # normalises with its moving statistics, which stay too: what is frozen is a fixed function.
    rate_factors: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Training:
    """What an engine needs beside the symbol to train it.

    The target of an image is a distribution over the k classes: its label, or with mixup `Mix`'s
    two labels; then label smoothing e (Szegedy et al. 2015, arXiv:1512.00567, section 7) makes
    (1 - e) target + e / k of it.
    """

    optimizer: Optimizer
    seed: int = 0  # of the random numbers inside the network (dropout)
    monitor: int = 0  # every so many updates, look at every tensor; 0: never
    label_smoothing: float = 0.0  # [0, 1)
    mixup: bool = False  # every train_batch brings a Mix
    # Parts in which a batch is computed, one after the other, to need less memory. Gradients are
    # added up: the update is that of the whole batch, except that BatchNorm normalises each part
    # by itself, and its moving statistics move once for each part.
    accumulate: int = 1
    # Of an exponential moving average of parameters and moving statistics, kept on the device:
    # after the first update a copy of them, after each later one this times itself plus the rest
    # of them (Polyak and Juditsky 1992). 0: none. It is in get_state as `average:arg:NAME` and
    # `average:aux:NAME`; get_params gives what is trained.
    average_decay: float = 0.0


@dataclass(frozen=True)
class Mix:
    """What the images of a batch are mixed of (mixup, Zhang et al. 2017, arXiv:1710.09412).

    Image i is to `shares[i]` of its own label and to 1 - shares[i] of `labels[i]`.
    """

    labels: np.ndarray  # int64 (n,)
    shares: np.ndarray  # float32 (n,), in [0, 1]


class NonFiniteLossError(ArithmeticError):
    """The loss of an update is infinite or not a number; the update was not made."""

    def __init__(self, update: int) -> None:
        super().__init__(f"the loss of update {update} is not finite")
        self.update = update


class Engine(Protocol):
    """The seam: everything that training and evaluation may ask of an engine.

    With several workers all of them make the same calls in the same order (`predict` excepted):
    updates, counts, parameters and state are about all of them together.
    """

    batch_size: int  # images that one call takes at most: this worker's part of the global batch
    rank: int
    world_size: int
    stage_seconds: Optional[Dict[str, float]]  # copy, compute, metric, update: see Staged
    in_step: bool  # every update is made of the gradients of all workers

    def sum_over_workers(self, values: np.ndarray) -> np.ndarray:
        """Add float64 (k,) of all workers, element by element; what one worker gives is itself."""

    def train_batch(
        self,
        images: Any,
        labels: np.ndarray,
        learning_rate: float,
        mix: Optional[Mix] = None,
    ) -> None:
        """One update; NonFiniteLossError before it if the loss is not finite.

        uint8 (n, h, w, 3), int64 (n,); `mix` where Training says mixup, and only there. PyTorch's
        engine also takes images that are on its device already, by DLPack.
        """

    def read_counts(self) -> Tuple[int, int, int, float]:
        """Images, rank-1 hits, rank-5 hits, summed loss of all workers since the last call.

        The loss is the cross-entropy with the targets that are trained on; a hit is one of the
        label with the larger share, of an image's own where both have a half.
        """

    def read_statistics(self) -> List[Tuple[int, Dict[str, float]]]:
        """What Training.monitor asked for, since the last call: updates made, root mean squares
        of tensors by name. Also of an update that was refused for its loss.
        """

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Probabilities float32 (n, classes)."""

    def get_params(self) -> Tuple[Arrays, Arrays]:
        """Arguments and auxiliary states by MXNet's names; of all devices the average."""

    def set_params(self, arg: Mapping[str, np.ndarray], aux: Mapping[str, np.ndarray]) -> None:
        """Set them on every device."""

    def get_state(self) -> Arrays:
        """What else the next update depends on, as arrays."""

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from it."""


def seed_of(seed: int, update: int, rank: int, part: int) -> int:
    """32 bits for the random numbers inside a network: of one part of one worker's batch."""
    where = f"{seed}/{update}" + (f"/{rank}/{part}" if rank or part else "")
    return zlib.crc32(where.encode())


def join_workers(devices: Devices) -> Workers:
    """The workers that train together with this process; waits until all of them are there.

    Raises InputError for a kvstore of several machines outside a launcher, and for one of a
    single machine inside it.
    """
    from imagenet_trainer.engines.choice import choose_engine

    if choose_engine(devices).engine == "torch":
        from imagenet_trainer.engines.pytorch.workers import join_torchrun

        return join_torchrun(devices)
    if devices.kv_store.startswith("dist"):
        from imagenet_trainer.engines.mxnet.workers import join

        return join(devices.kv_store)
    if os.environ.get("DMLC_ROLE") == "worker" and os.environ.get("DMLC_NUM_WORKER", "1") != "1":
        raise InputError(
            f"--kv-store {devices.kv_store}: leaves each of the launcher's "
            f"{os.environ['DMLC_NUM_WORKER']} workers to itself; use --kv-store dist_sync"
        )
    return ALONE


def open_engine(
    symbol: Any,
    devices: Devices,
    batch_shape: Tuple[int, int, int, int],
    mean: Sequence[float],
    std: Sequence[float],
    training: Optional[Training] = None,
    workers: Workers = ALONE,
) -> Engine:
    """The engine for these devices: MXNetEngine or TorchEngine, as `choose_engine` says.

    `batch_shape` is that of the batch over all devices of all workers.
    """
    from imagenet_trainer.engines.choice import choose_engine

    with memory_errors(batch_shape[0], described(devices)):
        if choose_engine(devices).engine == "torch":
            from imagenet_trainer.engines.pytorch.engine import TorchEngine

            return TorchEngine(symbol, devices, batch_shape, mean, std, training, workers)
        from imagenet_trainer.engines.mxnet.engine import MXNetEngine

        return MXNetEngine(symbol, devices, batch_shape, mean, std, training, workers)


def described(devices: Devices) -> str:
    """`GPU 0,1`, `the CPU`."""
    return f"GPU {','.join(map(str, devices.gpus))}" if devices.gpus else "the CPU"


def load_symbol(text: str, path: str) -> Any:
    """An MXNet symbol from its JSON; InputError naming the file when it is none."""
    from imagenet_trainer.system.mxnet_import import mx

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
                    "it is of another network, number of classes or image size"
                )
        for name in found:
            if name not in wanted:
                raise InputError(f"{path}: {name} is not in this network: it is of another one")
