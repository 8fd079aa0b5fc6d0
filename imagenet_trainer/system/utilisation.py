"""How busy processors, memory and GPUs are while a run goes on, sampled by a thread.

The process by the system's own counters; NVIDIA GPUs through NVML (package nvidia-ml-py), which
is needed only where GPUs are used.
"""

import contextlib
import importlib
import math
import os
import threading
import time
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

PERIOD = 2.0  # seconds between samples
# Percent of the time in which a kernel ran, bytes in use by all processes, Celsius, watts.
GpuSample = Tuple[float, float, float, float]


@dataclass(frozen=True)
class GpuLoad:
    """One GPU over a stretch of time; nan where it does not tell."""

    samples: int
    percent: float  # mean
    memory_mb: float  # most, 10^6 bytes
    celsius: float  # most
    watts: float  # mean

    def __add__(self, other: "GpuLoad") -> "GpuLoad":
        both = self.samples + other.samples

        def mean(ours: float, theirs: float) -> float:
            if math.isnan(ours) or math.isnan(theirs):
                return theirs if math.isnan(ours) else ours
            return (ours * self.samples + theirs * other.samples) / both

        return GpuLoad(
            both,
            mean(self.percent, other.percent),
            _most((self.memory_mb, other.memory_mb)),
            _most((self.celsius, other.celsius)),
            mean(self.watts, other.watts),
        )


@dataclass(frozen=True)
class Load:
    """A process and its GPUs over a stretch of time; two stretches add up with `+`."""

    seconds: float
    cpu_seconds: float  # of all threads
    memory_mb: float  # most that was resident, 10^6 bytes; nan where the system does not tell
    gpus: Tuple[GpuLoad, ...] = ()

    def __add__(self, other: "Load") -> "Load":
        return Load(
            self.seconds + other.seconds,
            self.cpu_seconds + other.cpu_seconds,
            _most((self.memory_mb, other.memory_mb)),
            tuple(ours + theirs for ours, theirs in zip(self.gpus, other.gpus)),
        )

    @property
    def cpu_percent(self) -> float:
        """Processor time; 100 is one processor."""
        return 100 * self.cpu_seconds / max(self.seconds, 1e-9)

    def row(self) -> Dict[str, float]:
        """The columns of history.csv: of several GPUs mean percent, most memory and heat, all
        watts. Without GPUs, or without NVML, those columns are not in it.
        """
        found = {"cpu_percent": self.cpu_percent, "memory_mb": self.memory_mb}
        if self.gpus:
            found["gpu_percent"] = sum(gpu.percent for gpu in self.gpus) / len(self.gpus)
            found["gpu_memory_mb"] = max(gpu.memory_mb for gpu in self.gpus)
            found["gpu_celsius"] = max(gpu.celsius for gpu in self.gpus)
            found["gpu_watts"] = sum(gpu.watts for gpu in self.gpus)
        return found

    def scalars(self, numbers: Sequence[int]) -> Dict[str, float]:
        """The same for TensorBoard, each GPU by its number."""
        found = {"machine/cpu_percent": self.cpu_percent, "machine/memory_mb": self.memory_mb}
        for number, gpu in zip(numbers, self.gpus):
            for name in ("percent", "memory_mb", "celsius", "watts"):
                found[f"gpu{number}/{name}"] = getattr(gpu, name)
        return found


class Sampler:
    """A context in which a thread samples this process and some GPUs.

    Parameters
    ----------
    gpus
        their numbers as --gpus gives them.
    warn
        is told, in one line, why GPUs cannot be watched; the process always is.

    """

    def __init__(self, gpus: Sequence[int], warn: Callable[[str], None]) -> None:
        self._read_gpus = _gpu_reader(gpus, warn) if gpus else None
        self._lock = threading.Lock()
        self._memory: List[float] = []
        self._gpus: List[List[GpuSample]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self._began, self._cpu = time.perf_counter(), time.process_time()

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
        """Look once."""
        gpus = self._read_gpus() if self._read_gpus else []
        memory = resident_bytes()
        with self._lock:
            self._memory.append(memory)
            self._gpus.append(gpus)

    def read(self) -> Load:
        """What was seen since the last call, or at least the newest sample."""
        now, cpu = time.perf_counter(), time.process_time()
        with self._lock:
            memory, gpus = self._memory, self._gpus
            self._memory, self._gpus = memory[-1:], gpus[-1:]
        load = Load(
            now - self._began,
            cpu - self._cpu,
            _most(memory) / 1e6,
            tuple(_over_time(samples) for samples in zip(*gpus)),
        )
        self._began, self._cpu = now, cpu
        return load


def resident_bytes() -> float:
    """Memory that this process holds now; nan where the system does not tell (not Linux)."""
    with contextlib.suppress(OSError, ValueError), open("/proc/self/statm") as file:
        return float(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return math.nan


def _gpu_reader(
    gpus: Sequence[int], warn: Callable[[str], None]
) -> Optional[Callable[[], List[GpuSample]]]:
    """What looks once at each of these GPUs; None, after a word, where that cannot be."""
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        warn(
            "GPU utilisation is not recorded: NVML's package is not installed; "
            "run: pip install nvidia-ml-py"
        )
        return None
    try:
        nvml.nvmlInit()
        handles = [_handle(nvml, gpu) for gpu in gpus]
    except (nvml.NVMLError, IndexError) as error:
        warn(f"GPU utilisation is not recorded: NVML says {error}")
        return None
    return lambda: [_look(nvml, handle) for handle in handles]


def _handle(nvml: Any, gpu: int) -> Any:
    """NVML's handle of what CUDA calls GPU number `gpu`, under CUDA_VISIBLE_DEVICES."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    name = str(gpu) if visible is None else visible.split(",")[gpu].strip()
    if name.isdigit():
        return nvml.nvmlDeviceGetHandleByIndex(int(name))
    for index in range(nvml.nvmlDeviceGetCount()):
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        if _text(nvml.nvmlDeviceGetUUID(handle)).startswith(name):  # CUDA allows a beginning
            return handle
    return nvml.nvmlDeviceGetHandleByUUID(name)  # part of a GPU (MIG)


def _look(nvml: Any, handle: Any) -> GpuSample:
    def ask(question: Callable[[], float]) -> float:
        try:
            return float(question())
        except nvml.NVMLError:  # not every GPU answers everything, and one may fall off its bus
            return math.nan

    return (
        ask(lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu),
        ask(lambda: nvml.nvmlDeviceGetMemoryInfo(handle).used),
        ask(lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)),
        ask(lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1000),  # it tells milliwatts
    )


def _over_time(samples: Sequence[GpuSample]) -> GpuLoad:
    percent, memory, celsius, watts = zip(*samples)
    return GpuLoad(len(samples), _mean(percent), _most(memory) / 1e6, _most(celsius), _mean(watts))


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def _most(values: Sequence[float]) -> float:
    return max((value for value in values if not math.isnan(value)), default=math.nan)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)  # bytes before 11.5
