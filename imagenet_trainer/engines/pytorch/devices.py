"""Devices of PyTorch's engine: the one of this process and its precision."""

import contextlib
import importlib.util
import os
from typing import Any, ContextManager, List, Optional, Sequence, Tuple

import torch

from imagenet_trainer.engines import Devices, Training
from imagenet_trainer.engines.choice import local_rank
from imagenet_trainer.engines.workers import variable
from imagenet_trainer.errors import ArgumentError
from imagenet_trainer.system.machine import builds_modules, check_bfloat16

_TRITON = (7, 0)  # the lowest compute capability for which it compiles


def check_options(devices: Devices, batch: int, workers: int, training: Optional[Training]) -> None:
    """Raise ArgumentError for options that this engine does not have."""
    if devices.compression_threshold is not None:
        raise ArgumentError("gc_type", "2bit", "only with MXNet's engine; omit it with PyTorch's")
    if devices.kv_store.startswith("dist"):
        raise ArgumentError(
            "kv_store",
            devices.kv_store,
            "only with MXNet's engine; omit it and start PyTorch's workers with torchrun",
        )
    if training and training.sync_batch_norm and devices.compile == "on":
        raise ArgumentError(
            "sync_batch_norm", "1", "cannot be compiled; omit it, or use compile auto"
        )
    parts = training.accumulate if training else 1
    if batch % (workers * parts):
        of_parts = f" in {parts} parts" if parts > 1 else ""
        raise ArgumentError(
            "batch_size",
            batch,
            f"cannot be split evenly over {workers} workers{of_parts}; use a multiple of "
            f"{workers * parts}",
        )


def is_cuda_build() -> bool:
    """Whether the installed PyTorch has code for NVIDIA GPUs."""
    return torch.version.cuda is not None


def is_mac() -> bool:
    """Whether the GPU is that of Apple silicon, which PyTorch drives by Metal (`mps`)."""
    return torch.backends.mps.is_available() and not torch.cuda.is_available()


def missing_gpus(gpus: Tuple[int, ...]) -> Optional[str]:
    """Why these GPUs are not there for PyTorch, in one line with the remedy; None if they are.

    It does not begin to use any of them.
    """
    if is_mac():
        others = [gpu for gpu in gpus if gpu]
        return f"there is no GPU {others[0]}, a Mac has GPU 0 only" if others else None
    if not torch.cuda.is_available():
        if not is_cuda_build():
            return (
                f"PyTorch {torch.__version__} is built for the CPU; install a CUDA build, or omit "
                "it to use the CPU"
            )
        return (
            f"PyTorch (CUDA {torch.version.cuda}) finds no GPU: there is no driver, or it is too "
            "old for this CUDA; check with `nvidia-smi`"
        )
    count = torch.cuda.device_count()
    absent = [gpu for gpu in gpus if gpu >= count]
    return f"there is no GPU {absent[0]}, PyTorch sees {count}" if absent else None


def gpu_problem(gpus: Tuple[int, ...]) -> Optional[str]:
    """Why PyTorch cannot use these GPUs, in one line with the remedy; None if it can."""
    problem = missing_gpus(gpus)
    if problem or is_mac():
        return problem
    for gpu in gpus:
        capability = torch.cuda.get_device_capability(gpu)
        if is_cuda_build() and not _has_code_for(capability, torch.cuda.get_arch_list()):
            return (
                f"GPU {gpu} ({torch.cuda.get_device_name(gpu)}) has compute capability "
                f"{capability[0]}.{capability[1]}, for which PyTorch {torch.__version__} has no "
                "code; install a build for another version of CUDA"
            )
    return None


def _has_code_for(capability: Tuple[int, int], architectures: Sequence[str]) -> bool:
    """Whether a build with these architectures (`sm_80`, `compute_90`) runs on a GPU.

    Machine code runs on later minor versions, PTX (`compute_`) on all later GPUs. An empty list is
    a build that does not tell.
    """
    major, minor = capability
    for name in architectures:
        kind, _, digits = name.partition("_")
        found = int("".join(filter(str.isdigit, digits)) or 0)
        if kind == "compute" and found <= 10 * major + minor:
            return True
        if kind == "sm" and found // 10 == major and found % 10 <= minor:
            return True
    return not architectures


def devices_of(devices: Devices) -> List[torch.device]:
    """All devices in `devices`; ArgumentError for a GPU that PyTorch cannot use."""
    if not devices.gpus:
        return [torch.device("cpu")]
    reason = gpu_problem(tuple(devices.gpus))
    if reason:
        raise ArgumentError("gpus", devices.gpus, reason)
    return [torch.device("mps" if is_mac() else "cuda", gpu) for gpu in devices.gpus]


def device_here(devices: Devices) -> torch.device:
    """The device on which this process trains; torchrun's processes have one each."""
    available = devices_of(devices)
    rank = local_rank() or 0
    workers = len(available)
    if "LOCAL_WORLD_SIZE" in os.environ:
        workers = variable("LOCAL_WORLD_SIZE")
    if devices.gpus and (rank >= len(available) or workers != len(available)):
        raise ArgumentError(
            "gpus",
            devices.gpus,
            f"this machine has {max(workers, rank + 1)} workers, not one per GPU; start them with "
            f"torchrun --nproc-per-node {len(available)}",
        )
    device = available[rank % len(available)]
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def is_compiled(devices: Devices, device: torch.device) -> bool:
    """Whether the network is compiled for this device.

    Raises ArgumentError on a GPU if the machine lacks what torch.compile needs: Triton, which
    builds a module of Python that calls the driver; with `on` also if Triton has no code for it.
    """
    if not devices.is_compiled or device.type == "cpu":
        return devices.is_compiled
    if device.type == "mps":
        # The compiler for Metal is younger than the GPUs' others; `compile` on requests it.
        return devices.compile == "on"
    problem = None
    if torch.cuda.get_device_capability(device) < _TRITON:
        if devices.compile == "auto":
            return False
        problem = f"needs compute capability {_TRITON[0]}.{_TRITON[1]} or above; use off"
    elif importlib.util.find_spec("triton") is None:
        problem = "needs Triton, which comes with PyTorch for CUDA; or use off, which is slower"
    elif not builds_modules():
        problem = (
            "needs a C compiler and the headers of Python on GPUs; run: apt-get install gcc "
            "python3-dev, or use off, which is slower"
        )
    if problem:
        raise ArgumentError("compile", devices.compile, problem)
    return True


def autocast_type(dtype: str, device: torch.device) -> Optional[torch.dtype]:
    """The type in which convolutions and dense layers compute, None for float32 and TF32.

    Raises ArgumentError if the device has no instructions for it.
    """
    if dtype == "float32":
        return None
    if device.type != "cuda" and dtype == "tf32":
        raise ArgumentError(
            "dtype", dtype, "only on NVIDIA's GPUs; use float32, or bfloat16 where it is supported"
        )
    if device.type == "cpu" and dtype == "float16":
        raise ArgumentError("dtype", dtype, "only on GPUs; use bfloat16 on CPUs that support it")
    if device.type == "cpu":
        check_bfloat16()
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 0):
        if dtype == "float16":
            return torch.float16
        raise ArgumentError(
            "dtype",
            dtype,
            f"{torch.cuda.get_device_name(device)} has no instructions for it (compute capability "
            "8.0 or above is needed); use float16",
        )
    if dtype == "tf32":
        return None  # a setting of the libraries, not a type: see `algorithms`
    return {"float16": torch.float16, "bfloat16": torch.bfloat16}[dtype]


def autocast(device: torch.device, dtype: Optional[torch.dtype]) -> ContextManager[Any]:
    """A context in which convolutions and dense layers compute in this type, if there is one."""
    return torch.autocast(device.type, dtype) if dtype else contextlib.nullcontext()


def describe(device: torch.device) -> str:
    """`GPU 0 (NVIDIA H100, 80 GiB)`, `the GPU of this Mac`, `the CPU`."""
    if device.type != "cuda":
        return "the CPU" if device.type == "cpu" else "the GPU of this Mac"
    properties = torch.cuda.get_device_properties(device)
    return f"GPU {device.index} ({properties.name}, {properties.total_memory / 2**30:.0f} GiB)"
