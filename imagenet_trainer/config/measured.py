"""What `benchmark` and `doctor` return when they are called as functions."""

from dataclasses import dataclass, field
from typing import Dict, Iterator, Mapping, Optional, Sequence, Tuple


@dataclass(frozen=True)
class BenchmarkResult(Mapping[str, float]):
    """What `benchmark` measured: numbers by the names that they have in the file of `json`.

    Attributes
    ----------
    kind
        what was measured.
    figures
        the numbers, in the order of the measurement; medians of the rounds.

    """

    kind: str
    figures: Mapping[str, float]

    def __getitem__(self, name: str) -> float:
        return self.figures[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.figures)

    def __len__(self) -> int:
        return len(self.figures)


@dataclass(frozen=True)
class TrainingProfile:
    """The speed of each stage of a training alone, and of all together.

    Attributes
    ----------
    processors, threads
        processors of the machine; threads that decode during training.
    gpus
        number of GPUs; 0: the training is on the CPU.
    batch_size, dtype
        those of the training.
    faster_dtypes
        values of `dtype` for which this device has instructions; they would be faster.
    read, decode, augment
        seconds per image in one thread, with nothing else running.
    short_side, crop_side
        median short side of the packed images, and side of the network's input, in pixels.
    copy, compute, metric, update
        seconds of the stages of an update, each waiting for the one before.
    half_batch
        seconds of an update with half the batch; None: not measured.
    data_rate
        images per second of all decoding threads, without training.
    network_rate
        images per second of training on one batch that stays in memory.
    together_rate, wait_share
        images per second of training with data, and the share of that time spent waiting for data.
    can_decode
        whether the GPUs can decode (`decode="gpu"`).

    """

    processors: int
    threads: int
    gpus: int
    batch_size: int
    dtype: str
    faster_dtypes: str
    read: float
    decode: float
    augment: float
    short_side: float
    crop_side: int
    copy: float
    compute: float
    metric: float
    update: float
    half_batch: Optional[float]
    data_rate: float
    network_rate: float
    together_rate: float
    wait_share: float
    can_decode: bool = False

    @property
    def stages(self) -> Dict[str, float]:
        """Seconds of the stages of an update."""
        return {
            "copy": self.copy,
            "compute": self.compute,
            "metric": self.metric,
            "update": self.update,
        }


@dataclass(frozen=True)
class BottleneckResult:
    """Where the time of a training goes.

    Attributes
    ----------
    profile
        what was measured.
    verdict
        what limits the speed, in a sentence.
    advice
        what to change, the most useful first.

    """

    profile: TrainingProfile
    verdict: str
    advice: Sequence[str]


@dataclass(frozen=True)
class FoundGpu:
    """A GPU that NVIDIA's driver reports; None for an unknown compute capability."""

    name: str
    capability: Optional[Tuple[int, int]]


@dataclass(frozen=True)
class FoundPlugin:
    """A plug-in of another package, and why it cannot be used; None if it can.

    `kind` is network, augmentation, observer or engine.
    """

    kind: str
    name: str
    entry_point: str
    package: str
    version: str
    problem: Optional[str]


@dataclass(frozen=True)
class TrainingPlan:
    """A training on ImageNet with one kind of hardware.

    Attributes
    ----------
    hardware, precision
        such as `4 x A100`, `mixed`.
    images_per_second, hours
        rate and duration.
    epochs_per_hour
        epochs of ImageNet.
    source
        where the rate was published or measured.
    is_estimate
        whether the rate is estimated from another network's.
    usd, instance
        price, and the machines that are rented; None and empty where none is known.

    """

    hardware: str
    precision: str
    images_per_second: float
    source: str
    hours: float
    is_estimate: bool
    usd: Optional[float]
    instance: str
    epochs_per_hour: float


@dataclass(frozen=True)
class DoctorResult:
    """What `doctor` found. With `plan` it has `plans` only.

    Attributes
    ----------
    engine, engine_gpus
        the engine that would train, mxnet or torch, and the GPUs that it can use, () for the CPU;
        empty if none can train.
    to_do
        what must be installed before an engine can train; empty if one can.
    remarks
        other sentences: why an installed engine or a GPU cannot be used, and what to do.
    packages
        installed version of each package; None where it is not installed.
    plugins
        plug-ins of other packages.
    processors, openmp_threads
        logical processors that this process may use, and threads of MXNet on the CPU; 0 where
        OMP_NUM_THREADS is no number.
    jpeg_library
        what decodes parts of JPEGs; empty if they are decoded whole.
    gpus, driver
        the GPUs that NVIDIA's driver reports, and its version.
    speeds
        with `measure`: updates per second by network, then by engine and dtype.
    plans
        with `plan`: hours and money by hardware.

    """

    engine: str = ""
    engine_gpus: Sequence[int] = ()
    to_do: Sequence[str] = ()
    remarks: Sequence[str] = ()
    packages: Mapping[str, Optional[str]] = field(default_factory=dict)
    plugins: Sequence[FoundPlugin] = ()
    processors: int = 0
    openmp_threads: int = 0
    jpeg_library: str = ""
    gpus: Sequence[FoundGpu] = ()
    driver: str = ""
    speeds: Mapping[str, Mapping[Tuple[str, str], float]] = field(default_factory=dict)
    plans: Sequence[TrainingPlan] = ()
