"""The import of MXNet for all modules: `from imagenet_trainer.system.mxnet_import import mx`.

`mx` imports MXNet when one of its attributes is first used. That takes two seconds, which a
command that needs no network, or that refuses its input, does not spend.

MXNet 1.9.1 is its last release. For its import this module

- restores NumPy's old aliases (`numpy.bool` etc.), which MXNet uses and NumPy 1.24 removed;
- makes OpenMP use every processor of this process, unless OMP_NUM_THREADS is set: MXNet's default,
  half of them, trains at half the speed;
- makes the workers update the parameters and the kvstore only sum gradients
  (MXNET_UPDATE_ON_KVSTORE=0), so that every worker has the optimizer's state and can save it;
- loads the CUDA libraries of NVIDIA's wheels, so that no system-wide CUDA is needed;
- hides optional packages that MXNet would import, which halves the time;
- reports a failure in one line with its remedy.
"""

import os
import subprocess
import sys
import warnings
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any, Iterator, List, Optional, Tuple

import numpy as np

from imagenet_trainer.errors import InputError
from imagenet_trainer.system.cuda_wheels import load_cuda_wheels
from imagenet_trainer.system.machine import processors

# mxnet-cu117 1.9.1 contains machine code for these and no PTX, so newer GPUs cannot run it. Code
# for x.y runs on every x.z with z >= y.
COMPUTE_CAPABILITIES = ((5, 0), (6, 0), (7, 0), (8, 0), (8, 6))
_ALIASES = {
    "bool": bool, "int": int, "float": float, "complex": complex, "object": object, "str": str,
}  # fmt: skip
# MXNet imports them where they are installed, for functions that are not used here.
_HIDDEN = ("scipy.stats", "sklearn")


def runs_on(capability: Tuple[int, int]) -> bool:
    """Whether mxnet-cu117 has machine code for a GPU of this compute capability."""
    return any(capability[0] == major and capability[1] >= minor
               for major, minor in COMPUTE_CAPABILITIES)  # fmt: skip


def nvidia_gpus() -> List[Tuple[str, Tuple[int, int]]]:
    """Name and compute capability of every NVIDIA GPU, from nvidia-smi; [] without it."""
    command = ["nvidia-smi", "--query-gpu=name,compute_cap", "--format=csv,noheader"]
    try:
        text = subprocess.run(
            command, capture_output=True, text=True, timeout=20, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    gpus = []
    for line in text.splitlines():
        name, _, capability = line.rpartition(",")
        major, _, minor = capability.strip().partition(".")
        if major.isdigit() and minor.isdigit():
            gpus.append((name.strip(), (int(major), int(minor))))
    return gpus


def _restore_numpy_aliases() -> None:
    if np.__version__.startswith("2"):
        raise InputError(
            f"NumPy {np.__version__} cannot work with MXNet 1.9.1; run: pip install 'numpy<2'"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy 1.20-1.23 warns about these names
        for name, builtin in _ALIASES.items():
            if not hasattr(np, name):
                setattr(np, name, builtin)


def import_remedy(error: BaseException) -> str:
    """One line with the remedy for a failed `import mxnet`."""
    text = str(error)
    if isinstance(error, ModuleNotFoundError) and error.name == "mxnet":
        return (
            "MXNet is not installed; in the checkout run: pip install -e '.[cpu]' "
            "('.[cu117]' for NVIDIA GPUs from Maxwell to Ada)"
        )
    if isinstance(error, ModuleNotFoundError) and error.name == "distutils":
        return "MXNet needs distutils, which Python 3.12 removed; run: pip install 'setuptools<81'"
    for library, package in (("libquadmath", "libquadmath0"), ("libgomp", "libgomp1")):
        if library in text:
            return f"MXNet needs {library}; run: apt-get install {package}"
    if "libcuda.so" in text:
        return (
            "mxnet-cu117 needs NVIDIA's driver (libcuda.so.1), which is not installed; install it, "
            "or for the CPU run: pip uninstall -y mxnet-cu117; pip install mxnet==1.9.1"
        )
    if ".so" in text:
        return (
            f"MXNet lacks a library ({text}); in the checkout run: pip install -e '.[cu117]', "
            "which installs the CUDA 11 libraries, or '.[cpu]' on a machine without GPUs"
        )
    return f"MXNet cannot be imported: {text}; run python -m imagenet_trainer.doctor for details"


class _Hider:
    """A finder of modules that says of some that they are not installed."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> None:
        if name in _HIDDEN:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)


@contextmanager
def _hidden() -> Iterator[None]:
    sys.meta_path.insert(0, _Hider)
    try:
        yield
    finally:
        sys.meta_path.remove(_Hider)


def _import() -> ModuleType:
    if "mxnet" not in sys.modules:
        _restore_numpy_aliases()
        load_cuda_wheels()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with _hidden():
                import mxnet
    except (ImportError, OSError) as error:
        raise InputError(import_remedy(error)) from error
    return mxnet


def mixed_precision() -> ModuleType:
    """`mxnet.contrib.amp`, which `import mxnet` does not import."""
    import mxnet.contrib.amp

    return mxnet.contrib.amp


def quantization() -> ModuleType:
    """`mxnet.contrib.quantization`, with the `scipy.stats` that its entropy mode needs."""
    import scipy.stats

    mx.contrib.quantization.stats = scipy.stats
    return mx.contrib.quantization


def gpu_problem(gpus: Tuple[int, ...]) -> Optional[str]:
    """Why MXNet cannot use these GPUs, in one line with the remedy; None if it can."""
    installed = nvidia_gpus()
    for gpu in gpus:
        if gpu < len(installed) and not runs_on(installed[gpu][1]):
            name, (major, minor) = installed[gpu]
            return (
                f"GPU {gpu} ({name}) has compute capability {major}.{minor}, but mxnet-cu117 "
                "supports 5.0 to 8.9 only; use the CPU"
            )
    if not mx.runtime.Features().is_enabled("CUDA"):
        if not installed:
            return "this MXNet is a build for CPUs, and there is no NVIDIA driver; use the CPU"
        return (
            "this MXNet is a build for CPUs; in the checkout run: "
            "pip uninstall -y mxnet; pip install -e '.[cu117]'"
        )
    count = mx.context.num_gpus()
    for gpu in gpus:
        if gpu >= count:
            return f"there is no GPU {gpu}; MXNet finds {count}"
    return None


class _MXNet(ModuleType):
    """Stands for the module MXNet and imports it at the first use; InputError if that fails."""

    def __getattr__(self, name: str) -> Any:
        value = getattr(_import(), name)
        setattr(self, name, value)  # found without this function the next time
        return value


# Read by OpenMP and MXNet when they are loaded.
os.environ.setdefault("OMP_NUM_THREADS", str(processors()))
os.environ.setdefault("MXNET_UPDATE_ON_KVSTORE", "0")
os.environ.setdefault("MXNET_SUBGRAPH_VERBOSE", "0")  # otherwise every bind prints a line
if TYPE_CHECKING:
    import mxnet as mx
else:
    mx = _MXNet("mxnet")
