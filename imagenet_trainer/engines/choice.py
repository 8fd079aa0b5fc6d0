"""Chooses the engine for the devices, and says what is installed without importing it."""

import importlib.util
import os
from importlib import metadata
from typing import NamedTuple, Optional, Tuple

from imagenet_trainer.config import plugins
from imagenet_trainer.engines import Devices
from imagenet_trainer.engines.mxnet.devices import gpu_problem
from imagenet_trainer.engines.workers import variable
from imagenet_trainer.errors import ArgumentError, InputError
from imagenet_trainer.system.machine import address_space_problem, use_all_processors
from imagenet_trainer.system.mxnet_import import installation_problem
from imagenet_trainer.system.wheels import (
    how_to_install,
    how_to_install_mxnet,
    pip_install,
    this_machine,
    why_no_mxnet,
    why_no_torch,
)

# Environment variables that torchrun sets for its processes.
TORCHRUN = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
TITLES = {"mxnet": "MXNet", "torch": "PyTorch"}  # of the engines, for messages
# Packages that provide an engine's module.
_PACKAGES = {"mxnet": ("mxnet", "mxnet-cu117"), "torch": ("torch",)}

use_all_processors()  # both engines read it when they are imported


class Choice(NamedTuple):
    """An engine's name, mxnet, torch or that of a plug-in, and the reason for the log."""

    engine: str
    why: str


def choose_engine(devices: Devices) -> Choice:
    """The engine that `devices.engine` names; for `auto`, one that supports the devices.

    Another name than mxnet and torch is that of a plug-in, which is imported. `auto` prefers MXNet
    if it is installed and has code for the devices, then PyTorch if it is installed. Raises
    ArgumentError if neither supports them, and if the requested engine is not installed; InputError
    if there is no engine, and if `ulimit -v` leaves an engine too little address space.
    """
    choice = _choose(devices)
    problem = address_space_problem()
    if problem:
        raise InputError(problem)
    return choice


def _choose(devices: Devices) -> Choice:
    if devices.engine == "torch":
        check_torch()
        return Choice("torch", "requested")
    if devices.engine == "mxnet":
        check_mxnet()
        return Choice("mxnet", "requested")
    if devices.engine != "auto":
        plugins.load("engines", devices.engine)
        return Choice(devices.engine, "requested")
    reason = why_not_mxnet(devices.gpus)
    if is_torch_worker() and has_torch() and not reason:
        return Choice("torch", "a launcher started this worker")
    if reason is None:
        return Choice("mxnet", f"the default for {'these GPUs' if devices.gpus else 'CPUs'}")
    if has_torch():
        missing = installation_problem()
        return Choice("torch", missing or f"MXNet cannot: {reason.split(';')[0]}")
    if installation_problem():
        raise InputError(f"no engine: {reason}, PyTorch is not installed; {how_to_install()}")
    more = why_no_torch(this_machine()) or (
        f"PyTorch may support them, but is not installed: {pip_install('torch')}"
    )
    raise ArgumentError("gpus", devices.gpus, f"{reason}; {more}")


def check_torch() -> None:
    """Raise ArgumentError if PyTorch is not installed."""
    if not has_torch():
        way_out = why_no_torch(this_machine()) or pip_install("torch")
        raise ArgumentError("engine", "torch", f"PyTorch is not installed; {way_out}")


def check_mxnet() -> None:
    """Raise ArgumentError if MXNet is not installed, or not beside a NumPy that it needs."""
    problem = installation_problem()
    if problem:
        way_out = how_to_install_mxnet()
        if has_torch():
            no_build = why_no_mxnet(this_machine())
            other = f" ({no_build})" if no_build else f", or {way_out}"
            way_out = f"use --engine torch, which is installed{other}"
        raise ArgumentError("engine", "mxnet", f"{problem}; {way_out}")


def is_torch_worker() -> bool:
    """Whether torchrun, or a launcher with the same variables, started this process."""
    return all(os.environ.get(name) for name in TORCHRUN)


def local_rank() -> Optional[int]:
    """The number of this process among those that torchrun started here; None without it."""
    return variable("LOCAL_RANK") if "LOCAL_RANK" in os.environ else None


def why_not_mxnet(gpus: Tuple[int, ...]) -> Optional[str]:
    """Why MXNet cannot be used, or cannot use these GPUs; None if it can."""
    return installation_problem() or (gpu_problem(gpus) if gpus else None)


def has_engine() -> bool:
    """Whether an engine for CPUs is installed."""
    return why_not_mxnet(()) is None or has_torch()


def has_torch() -> bool:
    """Whether PyTorch is installed, without importing it."""
    return importlib.util.find_spec("torch") is not None


def version_of(engine: str) -> str:
    """The version of an installed engine, without importing it."""
    plugin = None if engine in _PACKAGES else plugins.find("engines", engine)
    if plugin is not None:
        return f"of {plugin.package} {plugin.version}"
    for package in _PACKAGES[engine]:
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return "without a version"  # for example a folder on sys.path
