"""Loads the CUDA libraries of NVIDIA's wheels, so that MXNet finds them."""

import ctypes
import glob
import importlib.util
import os

# In the order of their dependencies.
_CUDA_WHEELS = (
    "cuda_runtime", "cuda_nvrtc", "cublas", "cufft", "curand", "cusparse", "cusolver", "cudnn",
    "nccl", "nvtx",
)  # fmt: skip


def load_cuda_wheels() -> None:
    """Load the libraries of NVIDIA's CUDA 11 wheels, if installed."""
    try:
        spec = importlib.util.find_spec("nvidia")
    except (ImportError, ValueError):
        spec = None
    for root in (spec.submodule_search_locations or []) if spec else []:
        for wheel in _CUDA_WHEELS:
            for library in sorted(glob.glob(os.path.join(root, wheel, "lib", "*.so.*"))):
                try:
                    ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
                except OSError:
                    continue  # MXNet's import reports what is missing
