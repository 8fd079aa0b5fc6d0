"""Errors of MXNet and PyTorch for batches that do not fit into memory, as one class."""

import contextlib
from typing import Iterator

from imagenet_trainer.errors import ArgumentError

# Parts of the messages of MXNet 1.x (`cudaMalloc retry failed: out of memory`, `Failed to allocate
# CPU Memory`), of CUDA's libraries, of PyTorch, and of C++.
_OUT_OF_MEMORY = ("out of memory", "failed to allocate", "alloc_failed", "can't allocate memory",
                  "bad_alloc", "resource temporarily unavailable")  # fmt: skip
_TOO_LARGE = "2^31 elements"  # MXNet's largest array


class DeviceMemoryError(ArgumentError):
    """A batch that is too large for the memory of its device, or for an array of the engine."""

    def __init__(self, batch: int, device: str, limit: str = "the memory of") -> None:
        super().__init__(
            "batch_size",
            "",
            f"{batch} images at a time are too many for {limit} {device}; use a smaller batch",
        )
        self.batch = batch


@contextlib.contextmanager
def memory_errors(batch: int, device: str) -> Iterator[None]:
    """Raise DeviceMemoryError if the engine has no memory for this batch on this device."""
    try:
        yield
    except MemoryError as error:
        raise DeviceMemoryError(batch, device) from error
    except RuntimeError as error:  # MXNet's and PyTorch's errors are RuntimeErrors
        message = str(error).lower()
        if _TOO_LARGE in message:
            limit = "MXNet, whose arrays have fewer than 2^31 elements, on"
            raise DeviceMemoryError(batch, device, limit) from error
        if any(part in message for part in _OUT_OF_MEMORY):
            raise DeviceMemoryError(batch, device) from error
        raise
