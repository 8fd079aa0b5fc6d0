"""Batches on their way from the loader's memory to the device."""

from typing import Any, Dict, List, Mapping, Tuple

import numpy as np
import torch

Tensors = Dict[str, torch.Tensor]


class Feed:
    """Takes arrays to a device; on GPUs through two pinned buffers, on a stream of their own.

    While the GPU computes one batch the next one is copied. The caller's arrays are free again when
    `take` returns on a GPU; on the CPU they are what is computed with. What is on the GPU already
    comes as an object of DLPack's protocol (https://dmlc.github.io/dlpack) and is copied there.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._slots: List[_Slot] = []
        self._kind: Tuple[Any, ...] = ()
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def take(self, arrays: Mapping[str, Any]) -> Tensors:
        """The arrays on the device; good until the call after the next."""
        tensors = {name: _tensor(value) for name, value in arrays.items()}
        if self._stream is None:
            return tensors
        kind = tuple((name, v.shape, v.dtype, v.is_cuda) for name, v in tensors.items())
        if kind != self._kind:
            self._kind = kind
            self._slots = [_Slot(tensors, self._device) for _ in range(2)]
        before, now = self._slots
        self._slots = [now, before]
        # All that computes with the last batch is in this stream by now.
        before.used.record(torch.cuda.current_stream(self._device))
        return now.take(tensors, self._stream)


class _Slot:
    """Pinned memory and memory of the GPU, and when each is free again."""

    def __init__(self, like: Tensors, device: torch.device) -> None:
        self._pinned = {
            name: torch.empty_like(v, pin_memory=True) for name, v in like.items() if not v.is_cuda
        }
        self._there = {name: torch.empty_like(v, device=device) for name, v in like.items()}
        self._copied, self.used = torch.cuda.Event(), torch.cuda.Event()

    def take(self, tensors: Tensors, stream: Any) -> Tensors:
        self._copied.synchronize()  # the copy of two batches ago: done long since
        for name, pinned in self._pinned.items():
            pinned.copy_(tensors[name])
        with torch.cuda.stream(stream):
            stream.wait_event(self.used)
            for name, there in self._there.items():
                there.copy_(self._pinned.get(name, tensors[name]), non_blocking=True)
            self._copied.record(stream)
        if len(self._pinned) < len(tensors):
            self._copied.synchronize()  # its owner may write there again; microseconds
        torch.cuda.current_stream(stream.device).wait_event(self._copied)
        return self._there


def _tensor(value: Any) -> torch.Tensor:
    if not isinstance(value, np.ndarray):
        return torch.from_dlpack(value)
    # PyTorch warns of arrays that it may not write, and never writes these; it cannot read mirror
    # images (NumPy's views with negative strides).
    fits = value.flags.writeable and min(value.strides, default=0) >= 0
    return torch.from_numpy(value if fits else value.copy())
