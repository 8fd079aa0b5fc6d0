"""Random erasing: the rectangle of an image that is filled (Zhong et al. 2017, arXiv:1708.04896).

Area and aspect ratio are those of the paper and of torchvision. torchvision fills with 0 after the
normalisation; here the loader fills bytes, before it, with the value of --fill-value.
"""

from typing import List, Optional, Tuple

import numpy as np

from imagenet_trainer.data import philox
from imagenet_trainer.data.philox import between
from imagenet_trainer.data.transforms import Window

_BLOCK = 1 << 18  # of draws, far above those of the other augmentation and of mixup
_TRIES = 10
_AREA, _RATIO = (0.02, 0.33), (0.3, 3.3)  # shares of the image; height / width


def draw_erased(
    probability: float, size: Tuple[int, int], seed: int, images: np.ndarray, epochs: np.ndarray
) -> List[Optional[Window]]:
    """The rectangles for images (n,) of a height and width, in epochs (n,); None: nothing.

    The first of ten rectangles of random area and aspect ratio that fits is taken.
    """
    draws = philox.uniform(seed, epochs, images, 3 + 2 * _TRIES, _BLOCK)
    area = size[0] * size[1] * between(*_AREA, draws[:, 3 : 3 + _TRIES])
    low, high = np.log(_RATIO)
    ratio = np.exp(between(low, high, draws[:, 3 + _TRIES :]))
    heights, widths = np.round(np.sqrt(area * ratio)), np.round(np.sqrt(area / ratio))
    fits = (heights < size[0]) & (widths < size[1]) & (heights > 0) & (widths > 0)
    chosen = np.arange(len(draws)), fits.argmax(axis=1)
    tall, wide = heights[chosen], widths[chosen]
    left, top = draws[:, 1] * (size[1] - wide + 1), draws[:, 2] * (size[0] - tall + 1)
    erased = fits[chosen] & (draws[:, 0] < probability)
    windows = np.stack([left, top, wide, tall], axis=1).astype(int).tolist()
    return [tuple(one) if some else None for one, some in zip(windows, erased)]
