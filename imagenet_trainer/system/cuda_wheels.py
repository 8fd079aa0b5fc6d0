"""The CUDA libraries that NVIDIA's wheels bring, loaded before MXNet looks for them."""

import ctypes
import glob
import importlib.util
import os

# In the order in which they need each other.
_CUDA_WHEELS = (
    "cuda_runtime", "cuda_nvrtc", "cublas", "cufft", "curand", "cusparse", "cusolver", "cudnn",
    "nccl", "nvtx",
)  # fmt: skip


def load_cuda_wheels() -> None:
    """Load the libraries of NVIDIA's CUDA 11 wheels where they are installed."""
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
                    continue  # MXNet's own import says what it misses
