"""Utilisation of processors, memory and GPUs during a run, sampled by a thread.

NVIDIA GPUs are sampled through NVML (package nvidia-ml-py), which only GPU runs need.
"""

import importlib
import math
import os
import threading
import time
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from imagenet_trainer.system.machine import resident_memory

PERIOD = 2.0  # seconds between samples
# Percent of the time with a kernel running, bytes used by all processes, degrees Celsius, watts.
GpuSample = Tuple[float, float, float, float]


@dataclass(frozen=True)
class GpuLoad:
    """One GPU over an interval; nan for what it does not report."""

    samples: int
    percent: float  # mean
    memory_mb: float  # maximum, 10^6 bytes
    celsius: float  # maximum
    watts: float  # mean

    def __add__(self, other: "GpuLoad") -> "GpuLoad":
        samples = self.samples + other.samples

        def mean(first: float, second: float) -> float:
            if math.isnan(first) or math.isnan(second):
                return second if math.isnan(first) else first
            return (first * self.samples + second * other.samples) / samples

        return GpuLoad(
            samples,
            mean(self.percent, other.percent),
            _max((self.memory_mb, other.memory_mb)),
            _max((self.celsius, other.celsius)),
            mean(self.watts, other.watts),
        )


@dataclass(frozen=True)
class Load:
    """A process and its GPUs over an interval; `+` joins two intervals."""

    seconds: float
    cpu_seconds: float  # of all threads
    memory_mb: float  # maximum resident, 10^6 bytes
    gpus: Tuple[GpuLoad, ...] = ()

    def __add__(self, other: "Load") -> "Load":
        return Load(
            self.seconds + other.seconds,
            self.cpu_seconds + other.cpu_seconds,
            _max((self.memory_mb, other.memory_mb)),
            tuple(first + second for first, second in zip(self.gpus, other.gpus)),
        )

    @property
    def cpu_percent(self) -> float:
        """Processor time per time; 100 is one busy processor."""
        return 100 * self.cpu_seconds / max(self.seconds, 1e-9)

    def row(self) -> Dict[str, float]:
        """The columns of history.csv. Several GPUs give the mean percentage, the maximum of memory
        and temperature, and the sum of watts. Without GPUs or NVML those columns are missing.
        """
        row = {"cpu_percent": self.cpu_percent, "memory_mb": self.memory_mb}
        if self.gpus:
            row["gpu_percent"] = sum(gpu.percent for gpu in self.gpus) / len(self.gpus)
            row["gpu_memory_mb"] = max(gpu.memory_mb for gpu in self.gpus)
            row["gpu_celsius"] = max(gpu.celsius for gpu in self.gpus)
            row["gpu_watts"] = sum(gpu.watts for gpu in self.gpus)
        return row

    def scalars(self, numbers: Sequence[int]) -> Dict[str, float]:
        """The same for TensorBoard, one scalar for each GPU number."""
        scalars = {"machine/cpu_percent": self.cpu_percent, "machine/memory_mb": self.memory_mb}
        for number, gpu in zip(numbers, self.gpus):
            for name in ("percent", "memory_mb", "celsius", "watts"):
                scalars[f"gpu{number}/{name}"] = getattr(gpu, name)
        return scalars


class Sampler:
    """A context manager whose thread samples this process and some GPUs.

    Parameters
    ----------
    gpus
        numbers as in --gpus.
    warn
        called with a one-line reason if the GPUs cannot be sampled.

    """

    def __init__(self, gpus: Sequence[int], warn: Callable[[str], None]) -> None:
        self._read_gpus = _gpu_reader(gpus, warn) if gpus else None
        self._lock = threading.Lock()
        self._memory: List[float] = []
        self._gpus: List[List[GpuSample]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self._start, self._cpu = time.perf_counter(), time.process_time()

    def __enter__(self) -> "Sampler":
        self.sample()
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(PERIOD):
            self.sample()

    def sample(self) -> None:
        """Take one sample."""
        gpus = self._read_gpus() if self._read_gpus else []
        memory = float(resident_memory())
        with self._lock:
            self._memory.append(memory)
            self._gpus.append(gpus)

    def read(self) -> Load:
        """The load since the last call, from at least the newest sample."""
        now, cpu = time.perf_counter(), time.process_time()
        with self._lock:
            memory, gpus = self._memory, self._gpus
            self._memory, self._gpus = memory[-1:], gpus[-1:]
        load = Load(
            now - self._start,
            cpu - self._cpu,
            _max(memory) / 1e6,
            tuple(_load_of(samples) for samples in zip(*gpus)),
        )
        self._start, self._cpu = now, cpu
        return load


def _gpu_reader(
    gpus: Sequence[int], warn: Callable[[str], None]
) -> Optional[Callable[[], List[GpuSample]]]:
    """A function that samples each of these GPUs; None, after a warning, if NVML cannot."""
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        warn(
            "GPU utilisation is not recorded: nvidia-ml-py is not installed; "
            "run: pip install nvidia-ml-py"
        )
        return None
    try:
        nvml.nvmlInit()
        handles = [_handle(nvml, gpu) for gpu in gpus]
    except (nvml.NVMLError, IndexError) as error:
        warn(f"GPU utilisation is not recorded: NVML reports: {error}")
        return None
    return lambda: [_sample(nvml, handle) for handle in handles]


def _handle(nvml: Any, gpu: int) -> Any:
    """NVML's handle of what CUDA calls GPU number `gpu`, under CUDA_VISIBLE_DEVICES."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    name = str(gpu) if visible is None else visible.split(",")[gpu].strip()
    if name.isdigit():
        return nvml.nvmlDeviceGetHandleByIndex(int(name))
    for index in range(nvml.nvmlDeviceGetCount()):
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        if _text(nvml.nvmlDeviceGetUUID(handle)).startswith(name):  # CUDA accepts a prefix
            return handle
    return nvml.nvmlDeviceGetHandleByUUID(name)  # part of a GPU (MIG)


def _sample(nvml: Any, handle: Any) -> GpuSample:
    def read(query: Callable[[], float]) -> float:
        try:
            return float(query())
        except nvml.NVMLError:  # not every GPU supports every query, and one may fail
            return math.nan

    return (
        read(lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu),
        read(lambda: nvml.nvmlDeviceGetMemoryInfo(handle).used),
        read(lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)),
        read(lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1000),  # milliwatts
    )


def _load_of(samples: Sequence[GpuSample]) -> GpuLoad:
    percent, memory, celsius, watts = zip(*samples)
    return GpuLoad(len(samples), _mean(percent), _max(memory) / 1e6, _max(celsius), _mean(watts))


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def _max(values: Sequence[float]) -> float:
    return max((value for value in values if not math.isnan(value)), default=math.nan)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)  # bytes before 11.5
