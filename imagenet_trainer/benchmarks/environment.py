"""The report of `doctor`: installed packages, devices, and the engine that would train."""

import os
import platform
from importlib import metadata
from typing import Callable, List, Optional, Sequence, Tuple

from imagenet_trainer import __version__
from imagenet_trainer.errors import InputError
from imagenet_trainer.system import mxnet_import
from imagenet_trainer.system.machine import processors

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
    try:
        mxnet_import.mx.runtime.Features()  # imports MXNet
    except InputError as error:
        print(f"engine: none\nto do: {error}")
        return 1
    print(f"processors: {processors()}")
    print(f"OpenMP threads: {os.environ['OMP_NUM_THREADS']}")
    gpus = mxnet_import.nvidia_gpus()
    for number, (name, (major, minor)) in enumerate(gpus):
        print(f"GPU {number}: {name}, compute capability {major}.{minor}")
    for line in advice(gpus, mxnet_import.gpu_problem, installed("torch") is not None):
        print(line)
    return 0


def advice(
    gpus: Sequence[Tuple[str, Tuple[int, int]]],
    gpu_problem: Callable[[Tuple[int, ...]], Optional[str]],
    has_torch: bool,
) -> List[str]:
    """Lines that say which engine and devices would be used, why, and what to install."""
    if not gpus:
        hint = "; PyTorch is also installed: --engine torch" if has_torch else ""
        return [
            "GPUs: none (nvidia-smi finds no NVIDIA driver)", f"engine: MXNet on the CPU{hint}"
        ]  # fmt: skip
    problems = [gpu_problem((number,)) for number in range(len(gpus))]
    usable = [str(number) for number, problem in enumerate(problems) if problem is None]
    lines = [f"  {problem}" for problem in problems if problem]
    if usable:
        return [*lines, f"engine: MXNet on GPUs; add --gpus {','.join(usable)}"]
    if has_torch:
        numbers = ",".join(map(str, range(len(gpus))))
        return [
            *lines, f"engine: PyTorch on GPUs, which MXNet does not support; add --gpus {numbers}"
        ]  # fmt: skip
    return [
        *lines, "engine: MXNet on the CPU; PyTorch supports GPUs that MXNet does not: "
        "pip install -e '.[torch]'",
    ]  # fmt: skip


def installed(package: str) -> Optional[str]:
    """Version of an installed package; None without it."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
