"""Process-wide settings of PyTorch: which algorithms it may choose, and in which precision."""

import contextlib
import os
import re
import warnings
from typing import Iterator, Set

import torch

from imagenet_trainer.engines import Devices
from imagenet_trainer.errors import ArgumentError
from imagenet_trainer.system.machine import keep_freed_tensors

# cuBLAS repeats its sums only with a workspace of fixed size. PyTorch looks once whether it is set,
# at the first product of matrices of the process, so engines that need not repeat set it too.
_WORKSPACE = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
_WORKERS = ("NCCL_ALGO", "Ring")  # NCCL repeats its sums only with a fixed order of the workers
# Large pages for tensors of 2 MiB and more, where the kernel gives them to programs that ask.
_LARGE_PAGES = "THP_MEM_ALLOC_ENABLE"
_CACHE = "TORCHINDUCTOR_CACHE_DIR"  # which torch.compile reads whenever it compiles
_OUR_FOLDERS: Set[str] = set()  # its values that are not the user's
_NOT_REPEATABLE = re.compile(r"(\w+) does not have a deterministic implementation")


def set_algorithms(devices: Devices) -> None:
    """Allow only deterministic algorithms, or let cuDNN measure and choose the fastest.

    It has to be called before the first use of a GPU, and before workers connect to each other.
    Environment variables that the user has set are kept.
    """
    if devices.is_compiled and devices.compile_cache:
        _keep_kernels(devices.compile_cache)
    if not devices.gpus:
        os.environ.setdefault(_LARGE_PAGES, "1")  # PyTorch reads it when it first allocates
        keep_freed_tensors()
    if devices.gpus or devices.deterministic:
        os.environ.setdefault(*_WORKSPACE)
    if devices.deterministic:
        os.environ.setdefault(*_WORKERS)
    if devices.deterministic != torch.are_deterministic_algorithms_enabled():
        # It imports PyTorch's compiler, which takes a second.
        torch.use_deterministic_algorithms(devices.deterministic)
    # PyTorch would otherwise fill new arrays, which costs time; no operator here reads them before
    # they are written.
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.backends.cudnn.deterministic = devices.deterministic
    torch.backends.cudnn.benchmark = not devices.deterministic
    # float32 is not TF32; `dtype` selects types with fewer bits. The newer `fp32_precision` is not
    # set, because torch.compile still reads these, which then is an error.
    allowed = devices.dtype == "tf32"
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = allowed
    warnings.filterwarnings("ignore", "TensorFloat32 tensor cores")


def _keep_kernels(folder: str) -> None:
    """Keep compiled kernels in this folder, unless the user has chosen one."""
    if os.environ.get(_CACHE) in (None, *_OUR_FOLDERS):
        _OUR_FOLDERS.add(os.path.abspath(folder))
        os.environ[_CACHE] = os.path.abspath(folder)


@contextlib.contextmanager
def deterministic_errors() -> Iterator[None]:
    """Raise ArgumentError for an operator that has no deterministic algorithm on its device."""
    try:
        yield
    except RuntimeError as error:
        operator = _NOT_REPEATABLE.search(str(error))
        if not operator:
            raise
        raise ArgumentError(
            "deterministic",
            "1",
            f"PyTorch has no deterministic algorithm for {operator[1]} on this device; omit it, "
            "or use another network",
        ) from error
