"""Devices of PyTorch's engine: the one of this process and its precision."""

import os
from typing import List, Optional

import torch

from imagenet_trainer.engines import Devices, Training
from imagenet_trainer.errors import ArgumentError
from imagenet_trainer.system.machine import has_bfloat16


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
    parts = training.accumulate if training else 1
    if batch % (workers * parts):
        of_parts = f" in {parts} parts" if parts > 1 else ""
        raise ArgumentError(
            "batch_size",
            batch,
            f"cannot be split evenly over {workers} workers{of_parts}; use a multiple of "
            f"{workers * parts}",
        )


def devices_of(devices: Devices) -> List[torch.device]:
    """All devices in `devices`; ArgumentError for a GPU that PyTorch does not see."""
    if not devices.gpus:
        return [torch.device("cpu")]
    if not torch.cuda.is_available():
        cuda = torch.version.cuda
        raise ArgumentError(
            "gpus",
            devices.gpus,
            f"PyTorch {torch.__version__} is built for the CPU; install a CUDA build, or omit it "
            "to use the CPU"
            if cuda is None
            else f"PyTorch (CUDA {cuda}) finds no GPU: there is no driver, or it is too old for "
            "this CUDA; check with `nvidia-smi`",
        )
    count = torch.cuda.device_count()
    for gpu in devices.gpus:
        if gpu >= count:
            raise ArgumentError(
                "gpus", devices.gpus, f"there is no GPU {gpu}, PyTorch sees {count}"
            )
    return [torch.device("cuda", gpu) for gpu in devices.gpus]


def device_here(devices: Devices) -> torch.device:
    """The device on which this process trains; torchrun's processes have one each."""
    available = devices_of(devices)
    rank = int(os.environ.get("LOCAL_RANK", "0"))
    workers = int(os.environ.get("LOCAL_WORLD_SIZE", len(available)))
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


def autocast_type(dtype: str, device: torch.device) -> Optional[torch.dtype]:
    """The type in which convolutions and dense layers compute, None for float32.

    Raises ArgumentError if the device has no instructions for it.
    """
    if dtype == "float32":
        return None
    if device.type == "cpu" and dtype == "float16":
        raise ArgumentError("dtype", dtype, "only on GPUs; use bfloat16 on CPUs that support it")
    if device.type == "cpu" and not has_bfloat16():
        raise ArgumentError(
            "dtype",
            dtype,
            "this CPU has no instructions for it (avx512_bf16 or amx_bf16) and would be slower "
            "than with float32; omit it",
        )
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 0):
        if dtype == "float16":
            return torch.float16
        raise ArgumentError(
            "dtype",
            dtype,
            f"{torch.cuda.get_device_name(device)} has no instructions for it (compute capability "
            "8.0 or above is needed); use float16",
        )
    return {"float16": torch.float16, "bfloat16": torch.bfloat16}[dtype]


def describe(device: torch.device) -> str:
    """`GPU 0 (NVIDIA H100, 80 GiB)`, `the CPU`."""
    if device.type == "cpu":
        return "the CPU"
    properties = torch.cuda.get_device_properties(device)
    return f"GPU {device.index} ({properties.name}, {properties.total_memory / 2**30:.0f} GiB)"
