"""Batches that do not fit into memory: errors of MXNet and PyTorch as one class, least sizes."""

import contextlib
import math
from typing import Any, Iterator, List, Optional, Sequence

from imagenet_trainer.engines import Devices, Training
from imagenet_trainer.errors import ArgumentError
from imagenet_trainer.graph import as_graph
from imagenet_trainer.system.machine import ENGINES_NEED, address_space

_MEMORY = "the memory of"
# What is too small for a batch, by parts of messages: of MXNet 1.x (`cudaMalloc retry failed: out
# of memory`, `Failed to allocate CPU Memory`), of CUDA's libraries, of PyTorch, and of C++.
_LIMITS = {
    "2^31 elements": "MXNet, whose arrays have fewer than 2^31 elements, on",
    "out of memory": _MEMORY,
    "failed to allocate": _MEMORY,
    "alloc_failed": _MEMORY,
    "can't allocate memory": _MEMORY,
    "bad_alloc": _MEMORY,
    "resource temporarily unavailable": _MEMORY,
    # All that PyTorch says if every algorithm of cuDNN fails, be it for lack of memory.
    "unable to find an engine": "cuDNN, which lacks memory or does not fit the driver, on",
}
_ERRORS = 8  # of a chain that are read
_KEPT = frozenset({"BatchNorm", "Convolution", "FullyConnected"})  # outputs that backward needs


class DeviceMemoryError(ArgumentError):
    """A batch that is too large for the memory of its device, or for an array of the engine."""

    def __init__(self, batch: int, device: str, limit: str = _MEMORY) -> None:
        super().__init__(
            "batch_size",
            "",
            f"{batch} images at a time are too many for {limit} {device}; use a smaller batch",
        )


@contextlib.contextmanager
def memory_errors(batch: int, device: str) -> Iterator[None]:
    """Raise DeviceMemoryError if the engine has no memory for this batch on this device."""
    try:
        yield
    except MemoryError as error:
        raise DeviceMemoryError(batch, device) from error
    except RuntimeError as error:  # MXNet's and PyTorch's errors are RuntimeErrors
        message = _messages(error).lower()
        for part, limit in _LIMITS.items():
            if part in message:
                raise DeviceMemoryError(batch, device, limit) from error
        raise


def _messages(error: Optional[BaseException]) -> str:
    """What an error says, and those before it: of a full memory while CUDA graphs are recorded only
    the first one speaks of memory.
    """
    seen: List[str] = []
    while error is not None and len(seen) < _ERRORS:
        seen.append(str(error))
        error = error.__cause__ or error.__context__
    return "\n".join(seen)


def least_bytes(
    symbol: Any, batch_shape: Sequence[int], devices: Devices, training: Optional[Training]
) -> int:
    """A lower bound of the memory that a network needs on CPUs, in bytes.

    `batch_shape` is (images, height, width, channels) of what one process computes at a time. It
    counts the parameters, in a training also their gradients, one state of the optimizer, and the
    outputs of layers that backward needs.
    """
    images, *sides, channels = batch_shape
    inner = as_graph(symbol).get_internals()
    arguments, outputs, _ = inner.infer_shape(data=(images, channels, *sides))
    if arguments is None or outputs is None:
        return 0
    named = zip(inner.list_arguments(), arguments)
    held = 4 * sum(math.prod(s) for n, s in named if n not in ("data", "softmax_label"))
    if training is None:
        return held
    kept = 0
    if not training.checkpoint_activations:
        pairs = zip(inner.entries, outputs)
        kept = sum(math.prod(s) for e, s in pairs if e.node.op in _KEPT and e.output == 0)
    return 3 * held + kept * (4 if devices.dtype == "float32" else 2)


def check_address_space(
    symbol: Any, batch_shape: Sequence[int], devices: Devices, training: Optional[Training]
) -> None:
    """Raise DeviceMemoryError if a limit (ulimit -v) is too low for the network and this batch.

    A library in C that reaches the limit while it computes may end the process.
    """
    limit = address_space()
    if devices.gpus or limit is None:
        return
    if limit < ENGINES_NEED + least_bytes(symbol, batch_shape, devices, training):
        under = f"{devices.description} with ulimit -v {limit >> 10}"
        raise DeviceMemoryError(batch_shape[0], under)
