"""The report of `doctor`: installed packages, devices, and the engine that would train."""

import dataclasses
import os
from typing import List, Optional, Tuple

from imagenet_trainer import symbols
from imagenet_trainer.benchmarks.packages import installed
from imagenet_trainer.config import FitSettings, plugins
from imagenet_trainer.config.measured import DoctorResult, FoundGpu, FoundPlugin
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


def print_environment() -> DoctorResult:
    """Print the report below the packages; return what was found."""
    plugins_ = found_plugins()
    print("\n".join(plugin_lines(plugins_)))
    print(f"processors: {processors()}")
    threads = os.environ["OMP_NUM_THREADS"]
    print(f"OpenMP threads: {threads}")
    print(_jpeg_decoding())
    machine = this_machine()
    for number, gpu in enumerate(machine.gpus):
        print(f"GPU {number}: {gpu.name}, {_capability(gpu)}")
    driver = driver_version() if machine.gpus else ""
    remarks = gpu_remarks(machine, driver)
    if driver:
        print(f"driver: {driver}")
    print("".join(f"  {line}\n" for line in remarks), end="")
    if not machine.gpus:
        print("GPUs: none (nvidia-smi finds no NVIDIA driver)")
    found = advice(machine)
    print("\n".join([*found.remarks, *(f"to do: {one}" for one in found.to_do)]))
    return dataclasses.replace(
        found,
        remarks=[*remarks, *(one.strip() for one in found.remarks)],
        plugins=plugins_,
        processors=processors(),
        openmp_threads=int(threads) if threads.isdecimal() else 0,
        jpeg_library=jpeg_window.LIBRARY or "",
        gpus=[FoundGpu(*gpu) for gpu in machine.gpus],
        driver=driver,
    )


def advice(machine: Machine) -> DoctorResult:
    """Which engine and devices would be used, why (the remarks), and what to install.

    Each engine is asked about each device, by the functions that `fit` calls.
    """
    broken = {engine: _problem(engine) for engine in choice.TITLES}
    lines = [f"  {problem}" for engine, problem in broken.items() if problem and _found(engine)]
    working = [engine for engine, problem in broken.items() if problem is None]
    if not working:
        found = [problem for engine, problem in broken.items() if problem and _found(engine)]
        to_do = found or [f"no engine is installed; {how_to_install()}"]
        return DoctorResult(remarks=["engine: none"], to_do=to_do)
    if not machine.gpus:
        other = "; PyTorch is also installed: --engine torch" if len(working) > 1 else ""
        lines.append(_engine_line(working[0], ()) + other)
        return DoctorResult(working[0], remarks=lines)
    numbers = range(len(machine.gpus))
    for engine in working:
        reasons = {number: _problem(engine, number) for number in numbers}
        lines += dict.fromkeys(f"  {r.split(';')[0]}" for r in reasons.values() if r)
        usable = tuple(number for number, reason in reasons.items() if reason is None)
        if usable:
            lines.append(_engine_line(engine, usable))
            return DoctorResult(engine, usable, remarks=lines)
    lines += [*_for_the_gpus(machine), _engine_line(working[0], ())]
    return DoctorResult(working[0], remarks=lines)


def gpu_remarks(machine: Machine, driver: str) -> List[str]:
    """Whether the driver is too old for an engine, and GPUs that are split into parts."""
    if not machine.gpus:
        return []
    problem = driver_problem(engine_extra(machine), driver)
    lines = [problem] if problem else []
    split = ", ".join(map(str, split_gpus()))
    if split:
        lines.append(
            f"GPU {split}: split into parts by MIG, of which a process sees one as --gpus 0; "
            "choose it with CUDA_VISIBLE_DEVICES=MIG-..., which nvidia-smi -L lists"
        )
    return lines


def found_plugins() -> List[FoundPlugin]:
    """The plug-ins of other packages, each with the reason if it cannot be used."""
    return [
        FoundPlugin(
            kind[:-1],
            one.name,
            one.entry_point.value,
            one.package,
            one.version,
            plugins.problem_of(one, _own_names(kind)),
        )
        for kind in plugins.ARGUMENTS
        for one in plugins.installed(kind)
    ]


def plugin_lines(found: List[FoundPlugin]) -> List[str]:
    """The lines about them."""
    lines = []
    for one in found:
        point = plugins.describe(one.name, one.entry_point, one.package, one.version)
        lines.append(f"  {one.kind} {one.name}, {point}{f': {one.problem}' if one.problem else ''}")
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
