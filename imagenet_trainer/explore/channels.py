"""The distribution of red, green and blue over a set: histograms, mean, standard deviation."""

from typing import NamedTuple, Tuple

import cv2
import numpy as np

_LEVELS = np.arange(256.0)


class Channels(NamedTuple):
    """Mean and standard deviation of red, green and blue (0-255), and their histograms."""

    mean: Tuple[float, ...]
    std: Tuple[float, ...]
    histogram: np.ndarray


def histogram(image: np.ndarray) -> np.ndarray:
    """Shares of the pixels at each level, float64 (3, 256) in RGB order; rows sum to 1.

    `image` is uint8 RGB (height, width, 3).
    """
    # calcHist counts in float32, which is exact up to 16 million pixels per level.
    counts = [cv2.calcHist((image,), (channel,), None, (256,), (0, 256)) for channel in range(3)]
    # Columns in OpenCV 4, flat in OpenCV 5.
    return np.reshape(counts, (3, 256)).astype(np.float64) / image[..., 0].size


def channels(histogram_: np.ndarray) -> Channels:
    """Mean and standard deviation of pixels from the mean histogram of images, float64 (3, 256).

    Every image has the same weight whatever its size, since training crops all to one size. The
    deviation is that of single pixels from the mean of the set.
    """
    mean = histogram_ @ _LEVELS
    variance = histogram_ @ _LEVELS**2 - mean**2
    std = np.sqrt(np.maximum(variance, 0))  # rounding can make it negative
    return Channels(tuple(mean.tolist()), tuple(std.tolist()), histogram_)
