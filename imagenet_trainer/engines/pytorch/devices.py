"""Which device of PyTorch's this process drives, in which numbers, and what it says when full."""

import os
from typing import List, Optional

import torch

from imagenet_trainer.engines import Devices
from imagenet_trainer.errors import InputError
from imagenet_trainer.system.machine import has_bfloat16


def devices_of(devices: Devices) -> List[torch.device]:
    """All that `devices` names; InputError for a GPU that PyTorch does not see."""
    if not devices.gpus:
        return [torch.device("cpu")]
    words = ",".join(map(str, devices.gpus))
    if not torch.cuda.is_available():
        built = torch.version.cuda
        why = (
            f"PyTorch {torch.__version__} is built for the CPU; install a CUDA build of it, or "
            "leave --gpus away"
            if built is None
            else f"PyTorch (CUDA {built}) finds no GPU: no driver answers, or it is too old for "
            "this CUDA; `nvidia-smi` tells"
        )
        raise InputError(f"--gpus {words}: {why}")
    count = torch.cuda.device_count()
    for gpu in devices.gpus:
        if gpu >= count:
            raise InputError(f"--gpus {words}: there is no GPU {gpu}, PyTorch sees {count}")
    return [torch.device("cuda", gpu) for gpu in devices.gpus]


def device_here(devices: Devices) -> torch.device:
    """The one that this process trains on: of torchrun's processes on a machine each its own."""
    found = devices_of(devices)
    place = int(os.environ.get("LOCAL_RANK", "0"))
    workers = int(os.environ.get("LOCAL_WORLD_SIZE", len(found)))
    if devices.gpus and (place >= len(found) or workers != len(found)):
        raise InputError(
            f"--gpus {','.join(map(str, devices.gpus))}: {max(workers, place + 1)} workers on this "
            f"machine do not make one for each; start them with --nproc-per-node {len(found)}"
        )
    device = found[place % len(found)]
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def autocast_type(dtype: str, device: torch.device) -> Optional[torch.dtype]:
    """What convolutions and dense layers compute in, None for float32.

    Raises InputError where the device has no instructions for it.
    """
    if dtype == "float32":
        return None
    if device.type == "cpu" and dtype == "float16":
        raise InputError("--dtype float16: is for GPUs; take bfloat16 on CPUs that have it")
    if device.type == "cpu" and not has_bfloat16():
        raise InputError(
            "--dtype bfloat16: this CPU has no instructions for it (avx512_bf16 or amx_bf16), it "
            "would be slower than float32; leave it away"
        )
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 0):
        if dtype == "float16":
            return torch.float16
        raise InputError(
            f"--dtype bfloat16: {torch.cuda.get_device_name(device)} has no instructions for it "
            "(compute capability 8.0 and above have); take float16"
        )
    return {"float16": torch.float16, "bfloat16": torch.bfloat16}[dtype]


def described(device: torch.device) -> str:
    """`GPU 0 (NVIDIA H100, 80 GiB)`, `the CPU`."""
    if device.type == "cpu":
        return "the CPU"
    there = torch.cuda.get_device_properties(device)
    return f"GPU {device.index} ({there.name}, {there.total_memory / 2**30:.0f} GiB)"
