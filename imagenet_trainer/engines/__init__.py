"""Engines run a symbol on devices: MXNet's in `mxnet/`, PyTorch's in `pytorch/`.

This module defines what every engine offers and what it is built from. `factory` opens engines,
`choice` decides which engine runs on which devices, `symbol` reads and checks symbols, `memory`
recognises full memory.

Engines define no networks, read no files and do not know the command line: errors name the
argument that is wrong.
"""

import zlib
from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Optional, Protocol, Tuple

import numpy as np

from imagenet_trainer.system.arrays import Arrays


@dataclass(frozen=True)
class Devices:
    """Where a symbol runs, in which precision, and how gradients of several devices are summed."""

    gpus: Tuple[int, ...] = ()  # their numbers; empty for CPUs
    cpus: int = 1  # data-parallel CPU contexts
    dtype: str = "float32"  # of convolutions and dense layers
    kv_store: str = "device"
    compression_threshold: Optional[float] = None  # of 2-bit gradient compression
    engine: str = "auto"  # auto, mxnet, torch, or the name of a plug-in
    compile: str = "auto"  # torch.compile: on, off, auto (on GPUs only)
    # The same calls give the same bits on the same kind of device; with PyTorch on GPUs only
    # algorithms that guarantee it. MXNet on CPUs always does; on GPUs it refuses this.
    deterministic: bool = False
    compile_cache: str = ""  # folder of compiled kernels; empty: PyTorch's own, for all networks

    @property
    def description(self) -> str:
        """`GPU 0,1` or `the CPU`, for messages."""
        return f"GPU {','.join(map(str, self.gpus))}" if self.gpus else "the CPU"

    @property
    def is_compiled(self) -> bool:
        """Whether PyTorch's engine runs the network with torch.compile."""
        return self.compile == "on" or (self.compile == "auto" and bool(self.gpus))


@dataclass(frozen=True)
class Optimizer:
    """The update rule of the parameters, without the learning rate, which each update is given.

    With rate r, momentum m, weight decay d, and g the gradient averaged over the global batch and
    then clipped, first its norm and then its elements:

    sgd: v <- m v - r (g + d w), w <- w + v.
    nag: the same v, w <- w + m v - r (g + d w) (Nesterov's momentum, Sutskever et al. 2013).
    adam: h = g + d w, clipped only now; a <- .9 a + .1 h, b <- .999 b + .001 h^2,
    w <- w - r sqrt(1 - .999^t) / (1 - .9^t) a / (sqrt(b) + 1e-8) (Kingma and Ba 2014).
    lbsgd: sgd with r times |w| / sqrt(|g|^2 + d |w|^2), limited to [0.01, 100], for each parameter
    (layer-wise adaptive rates, You et al. 2017, arXiv:1708.03888), g before it is clipped.

    Weight decay applies to weights and gammas, never to biases and betas.
    """

    name: str  # of update_rules.STATES, which has the formulas of the other rules
    momentum: float
    weight_decay: float
    clip_gradient: Optional[float] = None  # each element of g is clipped to [-this, this]
    # All of g is multiplied by one factor, so that its L2 norm over all parameters is at most this
    # (Pascanu, Mikolov and Bengio 2013, arXiv:1211.5063).
    clip_norm: Optional[float] = None
    decay_gammas: bool = True  # False: weight decay applies to weights only
    # The rate r of a parameter is multiplied by its factor, by default 1. A factor of 0 freezes the
    # parameter: it has no gradient and does not change. A BatchNorm whose beta, and gamma if it
    # learns one, are frozen normalises with its moving statistics, which do not change either: the
    # frozen part of a network is a fixed function.
    rate_factors: Mapping[str, float] = field(default_factory=dict)

    @property
    def frozen(self) -> List[str]:
        """Parameters that do not change, sorted by name."""
        return sorted(name for name, factor in self.rate_factors.items() if factor == 0)


@dataclass(frozen=True)
class Training:
    """What an engine needs in addition to the symbol to train it.

    The target of an image is a distribution over the k classes: its label, or with mixup the two
    labels of `Mix`. Label smoothing e (Szegedy et al. 2015, arXiv:1512.00567, section 7) then
    makes it (1 - e) target + e / k.
    """

    optimizer: Optimizer
    seed: int = 0  # of the random numbers inside the network (dropout)
    monitor: int = 0  # compute statistics of all tensors every `monitor` updates; 0: never
    top_k: int = 5  # read_counts also counts the labels among the `top_k` most probable classes
    label_smoothing: float = 0.0  # [0, 1)
    mixup: bool = False  # every train_batch has a Mix
    # Every train_batch has a teacher's probabilities, which get this share of the target; 0: none.
    # They are not smoothed.
    teacher_weight: float = 0.0
    # The loss of an image is the mean over the classes of the binary cross-entropies between the
    # sigmoid of its logits and its target, instead of the cross-entropy of the softmax ("ResNet
    # strikes back", Wightman, Touvron and Jegou 2021, arXiv:2110.00476). read_counts has the latter
    # in any case.
    bce: bool = False
    # Images have several classes: labels and targets are uint8 (n, classes), 0 or 1, which mixup
    # mixes. The network ends in a sigmoid (`symbol.with_sigmoid`), whose loss is the mean over the
    # classes of the binary cross-entropies.
    multi_label: bool = False
    # One for each class, with which its term of the cross-entropy is multiplied; (): all are 1. Not
    # with bce. read_counts has the loss without weights in any case.
    class_weights: Tuple[float, ...] = ()
    bce_threshold: float = 0.0  # above 0: with bce, targets become 1 above it and 0 below
    # Number of parts in which a batch is computed, one after the other, to save memory. The
    # gradients of the parts are summed: the update is that of the whole batch, except that
    # BatchNorm normalises each part separately and updates its moving statistics once per part.
    accumulate: int = 1
    # Of an exponential moving average of parameters and moving statistics, kept on the device: a
    # copy of them after the first update; after each later one, this times the average plus
    # (1 - this) times the values (Polyak and Juditsky 1992). 0: none. get_state returns it as
    # `average:arg:NAME` and `average:aux:NAME`; get_params returns the trained parameters.
    average_decay: float = 0.0
    average_warmup: bool = False  # update t has the decay of `average_decay_of` instead
    # BatchNorm normalises with the moments of the batches of all workers, not of its own alone;
    # with PyTorch only.
    sync_batch_norm: bool = False
    # Compute activations again in backward instead of keeping them: less memory, more time, the
    # same gradients; with PyTorch only.
    checkpoint_activations: bool = False


@dataclass(frozen=True)
class Mix:
    """How the images of a batch are mixed (mixup, Zhang et al. 2017, arXiv:1710.09412).

    Image i has weight `shares[i]` on its own label and 1 - shares[i] on `labels[i]`.
    """

    labels: np.ndarray  # as those of train_batch
    shares: np.ndarray  # float32 (n,), in [0, 1]


def mixed_vectors(vectors: np.ndarray, mix: Optional[Mix]) -> np.ndarray:
    """The targets of images with several classes, float32 (n, classes)."""
    targets = vectors.astype(np.float32)
    if mix is None:
        return targets
    share = mix.shares[:, None]
    return share * targets + (1 - share) * mix.labels.astype(np.float32)


class NonFiniteLossError(ArithmeticError):
    """The loss of an update is infinite or not a number; the update was not made."""

    def __init__(self, update: int) -> None:
        super().__init__(f"the loss of update {update} is not finite")
        self.update = update


class Engine(Protocol):
    """Everything that training and evaluation may ask of an engine.

    With several workers, all of them make the same calls in the same order (except `predict`):
    updates, counts, parameters and state are about all workers together.
    """

    batch_size: int  # the most images that one call accepts: this worker's part of a global batch
    rank: int
    world_size: int
    stage_seconds: Optional[Dict[str, float]]  # copy, compute, metric, update: see StageTimer
    in_step: bool  # every update uses the gradients of all workers

    def sum_over_workers(self, values: np.ndarray) -> np.ndarray:
        """Sum float64 (k,) over all workers, element by element; with one worker the values."""

    def train_batch(
        self,
        images: Any,
        labels: np.ndarray,
        learning_rate: float,
        mix: Optional[Mix] = None,
        teacher: Optional[np.ndarray] = None,
    ) -> None:
        """Make one update; raise NonFiniteLossError before it if the loss is not finite.

        Images are uint8 (n, h, w, 3), labels int64 (n,), or with Training.multi_label uint8
        (n, classes). Other heights and widths than those of the batch shape are bound or compiled
        once; the network must be independent of them. `mix` is given if and only if Training.mixup
        is set, and `teacher`, float32 (n, classes), if and only if Training.teacher_weight is.
        PyTorch's engine also accepts images on its device, by DLPack.
        """

    def read_counts(self) -> Tuple[int, int, int, float, int]:
        """Images, rank-1 hits, rank-5 hits, summed loss, rank-`top_k` hits since the last call.

        They are those of all workers. The loss is the cross-entropy with the training targets. A
        hit is one of the label with the larger share, or of an image's own label if both have one
        half. With Training.multi_label the loss is the binary cross-entropy, and a hit is one of a
        class whose target is at least one half.
        """

    def read_statistics(self) -> List[Tuple[int, Dict[str, float]]]:
        """Results of Training.monitor since the last call: update, root mean squares by tensor.

        Includes updates that were refused because of their loss.
        """

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Probabilities float32 (n, classes)."""

    def host_memory(self, shape: Tuple[int, ...]) -> np.ndarray:
        """Uint8 memory for images, from which this engine copies fastest to its devices."""

    def get_params(self) -> Tuple[Arrays, Arrays]:
        """Arguments and auxiliary states by MXNet's names, averaged over the devices."""

    def set_params(self, arg: Mapping[str, np.ndarray], aux: Mapping[str, np.ndarray]) -> None:
        """Set them on every device."""

    def get_state(self) -> Arrays:
        """Everything else that the next update depends on, as arrays."""

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from such a state."""


def average_decay_of(training: Training, update: int) -> float:
    """The decay of the moving average in an update, counted from 1.

    With the warm-up it is (1 + t) / (10 + t) while that is smaller, as in TensorFlow's
    ExponentialMovingAverage: early averages forget the first parameters soon.
    """
    decay = training.average_decay
    return min(decay, (1 + update) / (10 + update)) if training.average_warmup else decay


def seed_of(seed: int, update: int, rank: int, part: int) -> int:
    """32 bits that seed the random numbers inside a network for one part of one worker's batch."""
    where = f"{seed}/{update}" + (f"/{rank}/{part}" if rank or part else "")
    return zlib.crc32(where.encode())


def wait_for(engine: Engine) -> None:
    """Wait for all pending work of an engine that computes while the program goes on.

    Such an engine has a method `wait`, which is no part of the protocol.
    """
    wait = getattr(engine, "wait", None)
    if wait is not None:
        wait()
