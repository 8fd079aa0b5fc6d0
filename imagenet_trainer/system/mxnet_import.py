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

import importlib.util
import os
import sys
import warnings
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any, Iterator, Optional

import numpy as np

from imagenet_trainer.errors import InputError
from imagenet_trainer.system.cuda_wheels import load_cuda_wheels
from imagenet_trainer.system.machine import address_space_problem, use_all_processors
from imagenet_trainer.system.wheels import how_to_install_mxnet, pip_command, pip_install

_ALIASES = {
    "bool": bool, "int": int, "float": float, "complex": complex, "object": object, "str": str,
}  # fmt: skip
# MXNet imports them where they are installed, for functions that are not used here.
_HIDDEN = ("scipy.stats", "sklearn", "onnx")


def is_installed() -> bool:
    """Whether there is a package mxnet, without importing it."""
    return importlib.util.find_spec("mxnet") is not None


def numpy_2() -> bool:
    """Whether the installed NumPy is one with which MXNet fails."""
    return int(np.__version__.split(".")[0]) >= 2


def installation_problem() -> Optional[str]:
    """Why MXNet cannot be imported, found without trying; None if no reason is known."""
    if not is_installed():
        return "MXNet is not installed"
    if numpy_2():
        return f"MXNet needs NumPy 1, and NumPy {np.__version__} is installed"
    return None


def environment_problem() -> Optional[str]:
    """What in the environment MXNet's import does not survive, with the remedy; None if nothing."""
    if sys.flags.optimize >= 2:
        return "PYTHONOPTIMIZE=2 (python -OO): MXNet needs its docstrings; unset it"
    threads = os.environ.get("OMP_NUM_THREADS", "1").strip()
    if not threads.isdecimal() or not int(threads):
        return f"OMP_NUM_THREADS={threads}: MXNet takes one number above 0; correct or unset it"
    return address_space_problem() or None


def _restore_numpy_aliases() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy 1.20-1.23 warns about these names
        for name, builtin in _ALIASES.items():
            if not hasattr(np, name):
                setattr(np, name, builtin)


def import_remedy(error: BaseException) -> str:
    """One line with the remedy for a failed `import mxnet`."""
    text = str(error)
    if isinstance(error, ModuleNotFoundError) and error.name == "distutils":
        return "MXNet needs distutils, which Python 3.12 removed; run: pip install 'setuptools<81'"
    for library, package in (("libquadmath", "libquadmath0"), ("libgomp", "libgomp1")):
        if library in text:
            return f"MXNet needs {library}; run: apt-get install {package}"
    if "libcuda.so" in text:
        return (
            "mxnet-cu117 needs NVIDIA's driver (libcuda.so.1), which is not here; install it, "
            "start a container with --gpus all, or for the CPU run: pip uninstall -y mxnet-cu117; "
            f"{pip_command('mxnet')}"
        )
    if ".so" in text:
        return (
            f"MXNet lacks a library ({text}); {pip_install('cu117')}, "
            "which installs the CUDA 11 libraries, or '.[mxnet]' on a machine without GPUs"
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
    problem = installation_problem()
    if problem:
        raise InputError(f"{problem}; {how_to_install_mxnet()}")
    problem = environment_problem()
    if problem:
        raise InputError(problem)
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
    # Its functions use names that NumPy and SciPy have deprecated since.
    warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"mxnet\b")
    return mxnet


def import_problem() -> Optional[str]:
    """Why MXNet cannot be imported, in one line with the remedy; None if it is imported now."""
    try:
        _import()
    except InputError as error:
        return str(error)
    return None


def mixed_precision() -> ModuleType:
    """`mxnet.contrib.amp`, which `import mxnet` does not import."""
    import mxnet.contrib.amp

    return mxnet.contrib.amp


def quantization() -> ModuleType:
    """`mxnet.contrib.quantization`, with the `scipy.stats` that its entropy mode needs."""
    import scipy.stats

    mx.contrib.quantization.stats = scipy.stats
    return mx.contrib.quantization


class _MXNet(ModuleType):
    """Stands for the module MXNet and imports it at the first use; InputError if that fails."""

    def __getattr__(self, name: str) -> Any:
        value = getattr(_import(), name)
        setattr(self, name, value)  # found without this function the next time
        return value


# Read by OpenMP and MXNet when they are loaded.
use_all_processors()
os.environ.setdefault("MXNET_UPDATE_ON_KVSTORE", "0")
os.environ.setdefault("MXNET_SUBGRAPH_VERBOSE", "0")  # otherwise every bind prints a line
if TYPE_CHECKING:
    import mxnet as mx
else:
    mx = _MXNet("mxnet")
