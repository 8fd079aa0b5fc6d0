"""Inference on one device: bytes to probabilities."""

from typing import Any, Optional

import numpy as np
import torch
from torch import Tensor, fx, nn

from imagenet_trainer.engines.pytorch.devices import autocast
from imagenet_trainer.engines.pytorch.feed import Feed
from imagenet_trainer.engines.pytorch.step import Head, compiled


class Inference:
    """A network on a device, compiled at its first batch if requested.

    All batches must have the same shape, or each shape is compiled.
    """

    def __init__(
        self, head: Head, network: fx.GraphModule, dtype: Optional[torch.dtype], is_compiled: bool
    ) -> None:
        self._device, self._autocast = head.mean.device, dtype
        self._feed = Feed(self._device)
        self._forward: Any = _Forward(head, network)
        if is_compiled:
            self._forward = compiled(self._forward)

    def begin(self, images: np.ndarray) -> Tensor:
        """Begin to compute the probabilities (n, classes) of uint8 (n, h, w, 3)."""
        pixels = self._feed.to_device({"images": images})["images"]
        with autocast(self._device, self._autocast):
            return self._forward(pixels)

    def end(self, probabilities: Tensor) -> np.ndarray:
        """The probabilities as float32 in host memory; the images may be overwritten then."""
        result = probabilities.float().cpu().numpy()
        self._feed.wait()
        return result


class _Forward(nn.Module):
    def __init__(self, head: Head, network: fx.GraphModule) -> None:
        super().__init__()
        self.head, self.network = head, network

    def forward(self, images: Tensor) -> Tensor:
        return self.network.forward(self.head(images))[0]  # see Step
