"""Which engine drives which devices, and why."""

import importlib.util
import os
from importlib import metadata
from typing import NamedTuple, Optional, Tuple

from imagenet_trainer.engines import Devices
from imagenet_trainer.errors import ArgumentError, InputError
from imagenet_trainer.system.mxnet_import import gpu_problem

_INSTALL = "in the checkout run: pip install -e '.[torch]'"

# What torchrun tells its processes.
TORCHRUN = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class Choice(NamedTuple):
    """An engine's name, mxnet or torch, and the reason in words."""

    engine: str
    why: str


def choose_engine(devices: Devices) -> Choice:
    """The engine that `devices` asks for, or with `auto` the one that can drive them.

    MXNet where its wheel has code for the devices, else PyTorch where it is installed. Raises
    InputError where neither can, and for an engine that was asked for and is not installed.
    """
    if devices.engine == "torch":
        check_torch()
        return Choice("torch", "--engine torch")
    if devices.engine == "mxnet":
        return Choice("mxnet", "--engine mxnet")
    reason = mxnet_cannot(devices.gpus)
    if is_torch_worker() and has_torch() and not reason:
        return Choice("torch", "torchrun started this worker")
    if reason is None:
        what = "these GPUs" if devices.gpus else "CPUs"
        return Choice("mxnet", f"it is the first choice and drives {what}")
    if has_torch():
        return Choice("torch", f"MXNet cannot: {reason.split(';')[0]}")
    raise ArgumentError(
        "gpus",
        devices.gpus,
        f"{reason}; PyTorch may support them, but is not installed: {_INSTALL}",
    )


def check_torch() -> None:
    """InputError unless PyTorch is installed."""
    if not has_torch():
        raise InputError(f"--engine torch: PyTorch is not installed; {_INSTALL}")


def is_torch_worker() -> bool:
    """Whether torchrun, or a launcher that speaks as it does, started this process."""
    return all(os.environ.get(name) for name in TORCHRUN)


def mxnet_cannot(gpus: Tuple[int, ...]) -> Optional[str]:
    """Why MXNet cannot drive these GPUs, None where it can; CPUs it always can."""
    return gpu_problem(gpus) if gpus else None


def has_torch() -> bool:
    """Whether PyTorch is installed; it is not imported for the answer."""
    return importlib.util.find_spec("torch") is not None


def torch_version() -> str:
    """PyTorch's version; it is not imported for the answer."""
    try:
        return metadata.version("torch")
    except metadata.PackageNotFoundError:
        return "without a version"  # such as one that lies in a folder of sys.path
