"""Chooses the engine for the devices."""

import importlib.util
import os
from importlib import metadata
from typing import NamedTuple, Optional, Tuple

from imagenet_trainer.engines import Devices
from imagenet_trainer.errors import ArgumentError
from imagenet_trainer.system.mxnet_import import gpu_problem

_INSTALL = "in the checkout run: pip install -e '.[torch]'"

# Environment variables that torchrun sets for its processes.
TORCHRUN = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class Choice(NamedTuple):
    """An engine's name, mxnet or torch, and the reason for the log."""

    engine: str
    why: str


def choose_engine(devices: Devices) -> Choice:
    """The engine that `devices.engine` names; for `auto`, one that supports the devices.

    `auto` prefers MXNet if its wheel has code for the devices, then PyTorch if it is installed.
    Raises ArgumentError if neither supports them, and if the requested engine is not installed.
    """
    if devices.engine == "torch":
        check_torch()
        return Choice("torch", "requested")
    if devices.engine == "mxnet":
        return Choice("mxnet", "requested")
    reason = why_not_mxnet(devices.gpus)
    if is_torch_worker() and has_torch() and not reason:
        return Choice("torch", "torchrun started this worker")
    if reason is None:
        return Choice("mxnet", f"the default for {'these GPUs' if devices.gpus else 'CPUs'}")
    if has_torch():
        return Choice("torch", f"MXNet cannot: {reason.split(';')[0]}")
    raise ArgumentError(
        "gpus",
        devices.gpus,
        f"{reason}; PyTorch may support them, but is not installed: {_INSTALL}",
    )


def check_torch() -> None:
    """Raise ArgumentError if PyTorch is not installed."""
    if not has_torch():
        raise ArgumentError("engine", "torch", f"PyTorch is not installed; {_INSTALL}")


def is_torch_worker() -> bool:
    """Whether torchrun, or a launcher with the same variables, started this process."""
    return all(os.environ.get(name) for name in TORCHRUN)


def why_not_mxnet(gpus: Tuple[int, ...]) -> Optional[str]:
    """Why MXNet cannot use these GPUs; None if it can. It supports all CPUs."""
    return gpu_problem(gpus) if gpus else None


def has_torch() -> bool:
    """Whether PyTorch is installed, without importing it."""
    return importlib.util.find_spec("torch") is not None


def torch_version() -> str:
    """PyTorch's version, without importing it."""
    try:
        return metadata.version("torch")
    except metadata.PackageNotFoundError:
        return "without a version"  # for example a folder on sys.path
