"""Reads numbers of a GPU while it goes on computing."""

from typing import Any

import numpy as np
import torch
from torch import Tensor


class HostCopy:
    """A float32 tensor on its way to the host, in the current stream of its GPU.

    On other devices it is copied when it is read.
    """

    def __init__(self, tensor: Tensor) -> None:
        self._values = tensor
        self._copied: Any = None
        if tensor.is_cuda:
            self._values = torch.empty(tensor.shape, pin_memory=True)
            self._values.copy_(tensor, non_blocking=True)
            self._copied = torch.cuda.Event()
            self._copied.record(torch.cuda.current_stream(tensor.device))

    def read(self) -> np.ndarray:
        """The values; waits for the copy, but not for what was launched after it."""
        if self._copied is not None:
            self._copied.synchronize()
        return self._values.cpu().numpy()
