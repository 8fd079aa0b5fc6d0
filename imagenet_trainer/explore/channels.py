"""How red, green and blue are distributed over a set: histograms, mean and deviation."""

from typing import NamedTuple, Tuple, Union

import cv2
import numpy as np

from imagenet_trainer.data.augment import decode

_LEVELS = np.arange(256.0)


def histogram(data: Union[bytes, memoryview]) -> np.ndarray:
    """Shares of an image's pixels at each level, float64 (3, 256) in RGB order, rows sum to 1.

    The image is decoded as the loader does it. ValueError where it cannot be.
    """
    image = decode(data)
    # Counted in float32, which is exact up to 16 million pixels a level.
    counts = [cv2.calcHist((image,), (channel,), None, (256,), (0, 256)) for channel in range(3)]
    return np.concatenate(counts, axis=1).T.astype(np.float64) / image[..., 0].size


class Channels(NamedTuple):
    """Mean and standard deviation of red, green, blue (0-255), and the histogram they are from."""

    mean: Tuple[float, ...]
    std: Tuple[float, ...]
    histogram: np.ndarray


def channels(histogram_: np.ndarray) -> Channels:
    """Mean and deviation of pixels from the mean histogram of images, float64 (3, 256).

    Every image has the same weight whatever its size, since training crops all to one size.
    The deviation is that of single pixels about the mean of the set.
    """
    mean = histogram_ @ _LEVELS
    variance = histogram_ @ _LEVELS**2 - mean**2
    std = np.sqrt(np.maximum(variance, 0))  # rounding may go below nought
    return Channels(tuple(mean.tolist()), tuple(std.tolist()), histogram_)
