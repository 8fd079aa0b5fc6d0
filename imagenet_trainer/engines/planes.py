"""Normalises images on the host, for programs that do not do it on the device."""

from typing import Sequence

import numpy as np


def normalise(
    images: np.ndarray, mean: Sequence[float], std: Sequence[float], bgr: bool = False
) -> np.ndarray:
    """(value - mean) / std of uint8 (n, h, w, 3) RGB as float32 (n, 3, h, w); `bgr`: blue first."""
    values = (images.astype(np.float32) - np.array(mean, np.float32)) / np.array(std, np.float32)
    values = values[..., ::-1] if bgr else values
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2))
