"""Copies batches from the loader's memory to the device."""

from typing import Any, Dict, List, Mapping, Tuple

import numpy as np
import torch

Tensors = Dict[str, torch.Tensor]


class Feed:
    """Copies arrays to a device; on GPUs through two pinned buffers and a separate stream.

    The next batch is copied while the GPU computes one. Arrays in pinned memory are copied directly
    and may be reused after `wait`, others when `to_device` returns. Arrays that are on the GPU
    already support DLPack (https://dmlc.github.io/dlpack) and are copied there. On the CPU the
    tensors share the memory of the arrays, and for a Mac's GPU they are copied at once.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._slots: List[_Slot] = []
        self._layout: Tuple[Any, ...] = ()
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def to_device(self, arrays: Mapping[str, Any]) -> Tensors:
        """The arrays on the device; valid until the call after the next."""
        tensors = {name: _tensor(value) for name, value in arrays.items()}
        if self._stream is None:
            return {name: tensor.to(self._device) for name, tensor in tensors.items()}
        layout = tuple((name, v.shape, v.dtype, _is_direct(v)) for name, v in tensors.items())
        if layout != self._layout:
            self._layout = layout
            self._slots = [_Slot(tensors, self._device) for _ in range(2)]
        before, now = self._slots
        self._slots = [now, before]
        # All computations with the last batch are in this stream at this point.
        before.used.record(torch.cuda.current_stream(self._device))
        return now.copy(tensors, self._stream)

    def wait(self) -> None:
        """Wait until the arrays of the last call are copied, so that they may be overwritten."""
        if self._slots:
            self._slots[0].copied.synchronize()


class _Slot:
    """Pinned memory and GPU memory for a batch, with the events after which each is free."""

    def __init__(self, like: Tensors, device: torch.device) -> None:
        self._pinned = {
            name: torch.empty_like(v, pin_memory=True)
            for name, v in like.items()
            if not _is_direct(v)
        }
        self._on_device = {name: torch.empty_like(v, device=device) for name, v in like.items()}
        self.copied, self.used = torch.cuda.Event(), torch.cuda.Event()
        # The memory may have been that of tensors with which this stream has not finished yet.
        self.used.record(torch.cuda.current_stream(device))

    def copy(self, tensors: Tensors, stream: Any) -> Tensors:
        self.copied.synchronize()  # the copy of two batches ago, which has ended long before
        for name, pinned in self._pinned.items():
            pinned.copy_(tensors[name])
        with torch.cuda.stream(stream):
            stream.wait_event(self.used)
            for name, tensor in self._on_device.items():
                tensor.copy_(self._pinned.get(name, tensors[name]), non_blocking=True)
            self.copied.record(stream)
        if any(tensor.is_cuda for tensor in tensors.values()):
            # The caller may overwrite its GPU memory after this; takes microseconds.
            self.copied.synchronize()
        torch.cuda.current_stream(stream.device).wait_event(self.copied)
        return self._on_device


def _is_direct(tensor: torch.Tensor) -> bool:
    """Whether the GPU can read the tensor itself, without a copy in pinned memory."""
    return tensor.is_cuda or tensor.is_pinned()


def _tensor(value: Any) -> torch.Tensor:
    if not isinstance(value, np.ndarray):
        return torch.from_dlpack(value)
    # PyTorch warns about read-only arrays, although these are never written, and cannot read views
    # with negative strides (mirrored images).
    is_shareable = value.flags.writeable and min(value.strides, default=0) >= 0
    return torch.from_numpy(value if is_shareable else value.copy())
