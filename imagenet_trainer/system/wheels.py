"""Which engine can be installed on a machine, and by which extra of this package.

`python -m imagenet_trainer.system.wheels EXTRAS` completes the extras for tools/setup.sh. It runs
before anything is installed, so this module and those that it imports need only Python.
"""

import configparser
import os
import platform
import re
import sys
from pathlib import Path
from typing import List, NamedTuple, Optional, Sequence, Tuple

from imagenet_trainer.errors import InputError
from imagenet_trainer.system.gpus import Gpu, driver_version, nvidia_gpus

# mxnet-cu117 1.9.1 contains machine code for these and no PTX, so newer GPUs cannot run it. Code
# for x.y runs on every x.z with z >= y.
COMPUTE_CAPABILITIES = ((5, 0), (6, 0), (7, 0), (8, 0), (8, 6))
# The oldest drivers of CUDA 11.x and 13.x, of mxnet-cu117 and PyTorch's default build:
# https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html
OLDEST_DRIVERS = {"cu117": (450, 80), "torch": (580, 0)}
_TORCH_OLDEST = (7, 5)  # compute capability; PyTorch's default build has no code for older GPUs
_MXNET_PYTHONS = ((3, 9), (3, 12))
_MXNET_MACHINES = (("Linux", "x86_64"), ("Linux", "aarch64"), ("Darwin", "x86_64"))
_CUDA_MACHINES = (("Linux", "x86_64"),)  # of mxnet-cu117
_TORCH_MACHINES = (("Linux", "x86_64"), ("Linux", "aarch64"), ("Darwin", "arm64"))
_NAMES = {"Darwin": "macOS"}
ENGINES = {"mxnet": ("mxnet", "cpu", "cu117"), "torch": ("torch",)}  # extras that install them


class Machine(NamedTuple):
    """What decides which wheels fit."""

    python: Tuple[int, int]
    system: str  # Linux, Darwin
    processor: str  # x86_64, aarch64, arm64
    gpus: Tuple[Gpu, ...] = ()

    @property
    def kind(self) -> Tuple[str, str]:
        """System and processor."""
        return self.system, self.processor

    @property
    def description(self) -> str:
        """`macOS on arm64`."""
        return f"{_NAMES.get(self.system, self.system)} on {self.processor}"


def this_machine() -> Machine:
    """The machine and the Python on which this process runs."""
    system = platform.system()
    if system == "Linux" and not _has_glibc():
        system = "Linux without glibc"
    return Machine(sys.version_info[:2], system, platform.machine(), tuple(nvidia_gpus()))


def _has_glibc() -> bool:
    """Whether the C library is that of manylinux wheels; musl (Alpine) does not know the name."""
    try:
        return bool(os.confstr("CS_GNU_LIBC_VERSION"))
    except (OSError, ValueError):
        return False


def runs_on(capability: Optional[Tuple[int, int]]) -> bool:
    """Whether mxnet-cu117 has machine code for this compute capability; True if it is unknown."""
    return capability is None or any(
        capability[0] == major and capability[1] >= minor for major, minor in COMPUTE_CAPABILITIES
    )


def why_no_mxnet(machine: Machine) -> Optional[str]:
    """Why MXNet 1.9.1, its last release, cannot be installed; None if it can."""
    oldest, newest = (".".join(map(str, version)) for version in _MXNET_PYTHONS)
    if not _MXNET_PYTHONS[0] <= machine.python <= _MXNET_PYTHONS[1]:
        version = ".".join(map(str, machine.python))
        return f"MXNet works with Python {oldest} to {newest}, not with {version}"
    if machine.kind not in _MXNET_MACHINES:
        return f"MXNet has no build for {machine.description}"
    return None


def why_no_torch(machine: Machine) -> Optional[str]:
    """Why PyTorch cannot be installed; None if it can."""
    if machine.kind not in _TORCH_MACHINES:
        return f"PyTorch has no build for {machine.description}"
    return None


def cuda_extra_problem(machine: Machine) -> Optional[str]:
    """Why the extra cu117 cannot be installed; None if it can."""
    if machine.kind not in _CUDA_MACHINES:
        return f"MXNet has no build with CUDA for {machine.description}"
    return why_no_mxnet(machine)


def torch_drives_gpus(machine: Machine) -> bool:
    """Whether PyTorch's default build has code for one of the GPUs, and the driver is new enough.

    A driver that does not tell compute capabilities is older than that build's CUDA.
    """
    newer = (gpu.capability and gpu.capability >= _TORCH_OLDEST for gpu in machine.gpus)
    return why_no_torch(machine) is None and any(newer)


def driver_problem(extra: str, driver: str) -> Optional[str]:
    """Why a driver of this version cannot run what an extra installs; None if it can."""
    numbers = re.findall(r"\d+", driver)[:2]
    oldest = OLDEST_DRIVERS.get(extra)
    if not oldest or len(numbers) < 2 or tuple(map(int, numbers)) >= oldest:
        return None
    title = {"cu117": "mxnet-cu117", "torch": "PyTorch for CUDA 13"}[extra]
    needed = ".".join(map(str, oldest)) if oldest[1] else str(oldest[0])
    return f"the driver {driver} is too old for {title}, which needs {needed} or later; update it"


def engine_extra(machine: Machine) -> str:
    """The extra that installs the engine for this machine: mxnet, cu117 or torch.

    MXNet wherever it can use the devices, else PyTorch. Raises InputError if neither can be
    installed.
    """
    no_mxnet, no_torch = why_no_mxnet(machine), why_no_torch(machine)
    if no_mxnet and no_torch:
        raise InputError(f"no engine can be installed here: {no_mxnet}, and {no_torch}")
    if no_mxnet:
        return "torch"
    supported = any(runs_on(gpu.capability) for gpu in machine.gpus)
    if supported and cuda_extra_problem(machine) is None:
        return "cu117"
    return "torch" if torch_drives_gpus(machine) else "mxnet"


_NAME = "imagenet-trainer"
_IS_CHECKOUT = Path(__file__).resolve().parents[2].joinpath("setup.cfg").is_file()


def pip_command(extra: str) -> str:
    """`pip install -e '.[torch]'`; where a wheel is installed, pip knows the extras from it."""
    return f"pip install -e '.[{extra}]'" if _IS_CHECKOUT else f"pip install '{_NAME}[{extra}]'"


def pip_install(extra: str, first: str = "") -> str:
    """`in the checkout run: pip install -e '.[torch]'`, after another command."""
    place = "in the checkout run" if _IS_CHECKOUT else "run"
    return f"{place}: {first and first + '; '}{pip_command(extra)}"


def how_to_install_mxnet(machine: Optional[Machine] = None) -> str:
    """The command that installs MXNet here; why there is none, and what else to do."""
    machine = machine or this_machine()
    problem = why_no_mxnet(machine)
    if problem is None:
        return pip_install("cu117" if engine_extra(machine) == "cu117" else "mxnet")
    if why_no_torch(machine) is None:
        return f"{problem}; for PyTorch {pip_install('torch')}"
    return f"{problem}; use another Python, or another machine"


def how_to_install(machine: Optional[Machine] = None) -> str:
    """How to install an engine where there is none: the commands that work here."""
    machine = machine or this_machine()
    mxnet = how_to_install_mxnet(machine)
    if why_no_mxnet(machine) or why_no_torch(machine):
        return mxnet
    return f"{mxnet} (MXNet) or {pip_command('torch')} (PyTorch)"


def complete(extras: Sequence[str], engine: str, machine: Machine, known: Sequence[str]) -> str:
    """Extras for pip: those asked for, and an engine.

    `engine` is mxnet, torch, or empty: the one that fits the machine, unless an extra installs
    MXNet anyway. Raises InputError for an unknown extra or engine, and if MXNet is asked for and
    cannot be installed.
    """
    for extra in extras:
        if extra not in known:
            raise InputError(f"no extra {extra}; there are {', '.join(known)}")
    if engine not in ("", *ENGINES):
        raise InputError(f"ENGINE={engine}: must be {' or '.join(ENGINES)}")
    chosen: List[str] = []
    if engine == "torch":
        chosen = ["torch"]
    elif not set(extras) & set(ENGINES["mxnet"]):
        best = engine_extra(machine)
        chosen = ["mxnet" if engine == "mxnet" and best == "torch" else best]
    found = list(dict.fromkeys([*chosen, *extras]))
    _check(found, machine)
    return ",".join(found)


def _check(extras: Sequence[str], machine: Machine) -> None:
    """InputError if one of the extras is an engine that cannot be installed."""
    no_mxnet, no_torch = why_no_mxnet(machine), why_no_torch(machine)
    if no_mxnet and set(extras) & set(ENGINES["mxnet"]):
        way_out = "name another interpreter: PYTHON=python3.12"
        raise InputError(f"{no_mxnet}; " + (way_out if no_torch else f"{way_out}, or omit it"))
    no_cuda = cuda_extra_problem(machine)
    if no_cuda and "cu117" in extras:
        raise InputError(f"{no_cuda}; omit cu117")
    if no_torch and "torch" in extras:
        raise InputError(f"{no_torch}; omit torch")


def _remarks(machine: Machine, extras: Sequence[str]) -> List[str]:
    """What a user with GPUs has to know before minutes of downloading."""
    if not machine.gpus:
        return []
    if not {"cu117", "torch"} & set(extras):
        name = machine.gpus[0].name
        return [f"no engine that can be installed here has code for the {name}; it uses the CPU"]
    problems = (driver_problem(extra, driver_version()) for extra in extras)
    return [problem for problem in problems if problem]


def main(argv: Sequence[str]) -> int:
    """Print the completed extras; exit code 2 and one line if there is no engine."""
    settings = configparser.ConfigParser()
    settings.read("setup.cfg")
    known = list(settings["options.extras_require"])
    machine = this_machine()
    try:
        extras = [word for word in argv[0].split(",") if word]
        completed = complete(extras, os.environ.get("ENGINE", ""), machine, known)
    except InputError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 2
    missing = why_no_mxnet(machine)
    if missing and not os.environ.get("ENGINE"):
        print(f"setup: {missing}; the engine is PyTorch", file=sys.stderr)
    for remark in _remarks(machine, completed.split(",")):
        print(f"setup: {remark}", file=sys.stderr)
    print(completed)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
