"""What is installed, which devices there are, which engine runs and why."""

import os
import platform
import sys
from dataclasses import dataclass
from importlib import metadata
from typing import Callable, List, Optional, Sequence, Tuple

from imagenet_trainer import __version__
from imagenet_trainer.config import flags
from imagenet_trainer.errors import InputError, run_command
from imagenet_trainer.system.machine import processors

_PACKAGES = (
    "numpy", "opencv-python-headless", "mxnet", "mxnet-cu117", "torch", "Pillow", "datashader",
    "tqdm", "tensorboardX", "nvidia-ml-py",
)  # fmt: skip


def examine() -> int:
    """Print the findings; 0 when training can run somewhere, 1 when something has to be done."""
    print(
        f"imagenet-trainer {__version__}, Python {platform.python_version()}, {platform.platform()}"
    )
    for package in _PACKAGES:
        print(f"  {package:24}{installed(package) or 'not installed'}")
    try:
        from imagenet_trainer.system import mxnet_import
    except InputError as error:
        print(f"engine: none\nto do: {error}")
        return 1
    print(f"processors: {processors()}")
    print(f"OpenMP threads: {os.environ['OMP_NUM_THREADS']}")
    gpus = mxnet_import.nvidia_gpus()
    for number, (name, (major, minor)) in enumerate(gpus):
        print(f"GPU {number}: {name}, compute capability {major}.{minor}")
    for sentence in advice(gpus, mxnet_import.check_gpus, installed("torch") is not None):
        print(sentence)
    return 0


def advice(
    gpus: Sequence[Tuple[str, Tuple[int, int]]],
    check_gpus: Callable[[Tuple[int, ...]], Optional[str]],
    has_torch: bool,
) -> List[str]:
    """Which engine and devices would be used, why, and what to install."""
    other = "; PyTorch is there too: --engine torch" if has_torch else ""
    if not gpus:
        return [
            "GPUs: none (nvidia-smi finds no NVIDIA driver)", f"engine: MXNet on the CPU{other}"
        ]  # fmt: skip
    reasons = [check_gpus((number,)) for number in range(len(gpus))]
    usable = [str(number) for number, reason in enumerate(reasons) if reason is None]
    told = [f"  {reason}" for reason in reasons if reason]
    if usable:
        return [*told, f"engine: MXNet on GPUs; add --gpus {','.join(usable)}"]
    if has_torch:
        every = ",".join(map(str, range(len(gpus))))
        return [*told, f"engine: PyTorch on GPUs, which MXNet cannot drive; add --gpus {every}"]
    return [
        *told, "engine: MXNet on the CPU; PyTorch drives GPUs that MXNet cannot: pip install -e "
        "'.[torch]'",
    ]  # fmt: skip


def installed(package: str) -> Optional[str]:
    """Version of an installed distribution."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


@dataclass(frozen=True)
class Settings:
    """What `doctor` takes."""

    measure: bool = flags.option(
        False,
        "then train ResNet-18 for a few seconds with each engine on this CPU, and recommend",
    )


def main(argv: Optional[Sequence[str]] = None) -> int:
    """The command line."""
    about = "Print what is installed, which devices there are, what to install."
    wanted = flags.parse(Settings, argv, "doctor", about)

    def body() -> int:
        code = examine()
        if code == 0 and wanted.measure:
            from imagenet_trainer.benchmarks.engine_speed import measure

            measure()
        return code

    return run_command("doctor", body)


if __name__ == "__main__":
    sys.exit(main())
