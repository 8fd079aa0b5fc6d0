"""The report of `doctor`: installed packages, devices, and the engine that would train."""

import dataclasses
import os
import platform
from importlib import metadata
from typing import List, Optional, Tuple

from imagenet_trainer import __version__, symbols
from imagenet_trainer.config import FitSettings, plugins
from imagenet_trainer.data.images import jpeg_window
from imagenet_trainer.engines import Devices, choice
from imagenet_trainer.engines.mxnet import devices as mxnet_devices
from imagenet_trainer.errors import InputError
from imagenet_trainer.system import mxnet_import
from imagenet_trainer.system.gpus import Gpu, driver_version, split_gpus
from imagenet_trainer.system.machine import processors
from imagenet_trainer.system.wheels import (
    Machine,
    driver_problem,
    engine_extra,
    how_to_install,
    pip_install,
    this_machine,
    torch_drives_gpus,
)

_PACKAGES = (
    "numpy", "opencv-python-headless", "mxnet", "mxnet-cu117", "torch", "Pillow", "datashader",
    "tqdm", "nvidia-ml-py",
)  # fmt: skip


def print_environment() -> int:
    """Print the report; return 0 if an engine can train here, 1 if something must be installed."""
    print(
        f"imagenet-trainer {__version__}, Python {platform.python_version()}, {platform.platform()}"
    )
    for package in _PACKAGES:
        print(f"  {package:24}{installed(package) or 'not installed'}")
    print("\n".join(plugin_lines()))
    print(f"processors: {processors()}")
    print(f"OpenMP threads: {os.environ['OMP_NUM_THREADS']}")
    print(_jpeg_decoding())
    machine = this_machine()
    for number, gpu in enumerate(machine.gpus):
        print(f"GPU {number}: {gpu.name}, {_capability(gpu)}")
    for line in gpu_remarks(machine):
        print(line)
    if not machine.gpus:
        print("GPUs: none (nvidia-smi finds no NVIDIA driver)")
    lines = advice(machine)
    print("\n".join(lines))
    return 1 if lines[-1].startswith("to do: ") else 0


def advice(machine: Machine) -> List[str]:
    """Lines that say which engine and devices would be used, why, and what to install.

    Each engine is asked about each device, by the functions that `fit` calls. The last line begins
    with `to do: ` if no engine can train.
    """
    broken = {engine: _problem(engine) for engine in choice.TITLES}
    lines = [f"  {problem}" for engine, problem in broken.items() if problem and _found(engine)]
    working = [engine for engine, problem in broken.items() if problem is None]
    if not working:
        found = [problem for engine, problem in broken.items() if problem and _found(engine)]
        return ["engine: none", *(f"to do: {p}" for p in found or [_nothing_installed()])]
    if not machine.gpus:
        return [*lines, _engine_line(working[0], ()) + _other_engine(working)]
    numbers = range(len(machine.gpus))
    for engine in working:
        reasons = {number: _problem(engine, number) for number in numbers}
        lines += dict.fromkeys(f"  {r.split(';')[0]}" for r in reasons.values() if r)
        usable = tuple(number for number, reason in reasons.items() if reason is None)
        if usable:
            return [*lines, _engine_line(engine, usable)]
    return [*lines, *_for_the_gpus(machine), _engine_line(working[0], ())]


def gpu_remarks(machine: Machine) -> List[str]:
    """The driver, whether it is too old for an engine, and GPUs that are split into parts."""
    if not machine.gpus:
        return []
    driver = driver_version()
    lines = [f"driver: {driver}"] if driver else []
    extra = engine_extra(machine)
    problem = driver_problem(extra, driver)
    lines += [f"  {problem}"] if problem else []
    split = ", ".join(map(str, split_gpus()))
    if split:
        lines.append(
            f"  GPU {split}: split into parts by MIG, of which a process sees one as --gpus 0; "
            "choose it with CUDA_VISIBLE_DEVICES=MIG-..., which nvidia-smi -L lists"
        )
    return lines


def plugin_lines() -> List[str]:
    """The plug-ins of other packages, each with the reason if it cannot be used."""
    lines = []
    for kind in plugins.ARGUMENTS:
        own = _own_names(kind)
        for one in plugins.installed(kind):
            problem = plugins.problem_of(one, own)
            reason = f": {problem}" if problem else ""
            lines.append(f"  {kind[:-1]} {one.name}, {one.description}{reason}")
    return ["plug-ins:", *lines] if lines else ["plug-ins: none"]


def _own_names(kind: str) -> List[str]:
    """The names of a kind that are no plug-ins."""
    if kind == "networks":
        return [*symbols.names(), "list"]
    fields = {field.name: field for field in dataclasses.fields(FitSettings)}
    return list(fields[plugins.ARGUMENTS[kind]].metadata["choices"])


def _jpeg_decoding() -> str:
    if jpeg_window.LIBRARY:
        return f"JPEGs: decoded as far as a crop needs them, by {jpeg_window.LIBRARY}"
    return f"JPEGs: decoded whole, so the loader is slower; {jpeg_window.HOW_TO_BUILD}"


def _problem(engine: str, gpu: Optional[int] = None) -> Optional[str]:
    """Why an engine cannot use this GPU, or (None) be used at all; None if it can."""
    if engine == "mxnet":
        return mxnet_import.import_problem() if gpu is None else mxnet_devices.gpu_problem((gpu,))
    if not choice.has_torch():
        return "PyTorch is not installed"
    try:
        # Takes seconds, and fails where PyTorch is damaged.
        from imagenet_trainer.engines.pytorch import devices as torch_devices
    except (ImportError, OSError) as error:
        return f"PyTorch cannot be imported: {error}; install it again"
    return None if gpu is None else torch_devices.gpu_problem((gpu,))


def _found(engine: str) -> bool:
    return mxnet_import.is_installed() if engine == "mxnet" else choice.has_torch()


def _nothing_installed() -> str:
    return f"no engine is installed; {how_to_install()}"


def _engine_line(engine: str, gpus: Tuple[int, ...]) -> str:
    """The engine that trains, with the flags to add."""
    flags = [f"--gpus {','.join(map(str, gpus))}"] if gpus else []
    try:
        default = choice.choose_engine(Devices(gpus)).engine
    except InputError:
        default = ""
    if default != engine:
        flags.append(f"--engine {engine}")
    where = "GPUs" if gpus else "the CPU"
    added = "; add " + " ".join(flags) if flags else ""
    return f"engine: {choice.TITLES[engine]} on {where}{added}"


def _other_engine(working: List[str]) -> str:
    return "; PyTorch is also installed: --engine torch" if len(working) > 1 else ""


def _for_the_gpus(machine: Machine) -> List[str]:
    """A line with the command that installs an engine for GPUs that no installed one can use."""
    extra = engine_extra(machine)
    if extra == "cu117":
        package, is_enough = "mxnet", installed("mxnet-cu117") is not None
    elif extra == "torch" and torch_drives_gpus(machine):
        package, is_enough = "torch", _torch_has_cuda()
    else:
        return ["  no engine that can be installed here has code for these GPUs and their driver"]
    if is_enough:
        return []  # its own line says what is wrong
    first = f"pip uninstall -y {package}" if installed(package) else ""
    return [f"for the GPUs {pip_install(extra, first)}"]


def _torch_has_cuda() -> bool:
    if _problem("torch"):
        return False
    from imagenet_trainer.engines.pytorch.devices import is_cuda_build  # takes seconds

    return is_cuda_build()


def _capability(gpu: Gpu) -> str:
    if gpu.capability is None:
        return "of unknown compute capability (nvidia-smi is older than driver 510)"
    return "compute capability {}.{}".format(*gpu.capability)


def installed(package: str) -> Optional[str]:
    """Version of an installed package; None without it."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
