"""Decoding only a window of a JPEG, by a compiled module that an installation may lack.

`_jpeg_window.c` is built where a C compiler and the headers of Python and libjpeg-turbo are found.
OpenCV bundles libjpeg-turbo too, so the pixels are the same.
"""

from typing import Any, Optional, Tuple

import numpy as np

from imagenet_trainer.data.images.decode import MAX_PIXELS

try:
    from imagenet_trainer.data.images import _jpeg_window  # type: ignore[attr-defined]
except ImportError:
    _jpeg_window = None
# A module that was built before the checkout was updated is as good as none.
if getattr(_jpeg_window, "INTERFACE", 0) != 2:
    _jpeg_window = None

LIBRARY = _jpeg_window and f"libjpeg-turbo {_jpeg_window.LIBJPEG_TURBO}"
"""Name and version of the library that decodes windows; None where the module is not built."""

HOW_TO_BUILD = (
    "run: apt-get install gcc python3-dev libjpeg-dev, then in the checkout: pip install -e ."
)
"""For messages where the module is missing."""

enabled = LIBRARY is not None
"""Whether windows are decoded; benchmarks and tests turn it off to decode whole images."""


def size(data: Any) -> Optional[Tuple[int, int]]:
    """Width and height of a JPEG of which windows may be decoded; None for other data.

    Such a JPEG passes `plausible.check`, which reads the header in 10 times as long.
    """
    assert _jpeg_window is not None
    found = _jpeg_window.size(data)
    return found if found and found[0] * found[1] <= MAX_PIXELS else None


def decode(
    data: Any,
    size: Tuple[int, int],
    window: Tuple[int, int, int, int],
    to_end: bool,
    half: bool = False,
) -> Optional[np.ndarray]:
    """The image with only a window decoded, uint8 RGB (height, width, 3) of the whole image.

    Parameters
    ----------
    data
        a JPEG of which `size` returns a size.
    size
        width and height of the image to make.
    window
        left, top, width, height in pixels, inside the image. Other pixels are undefined.
    to_end
        also read what follows the window, so that damage there is noticed.
    half
        make the image at half the size of the JPEG, rounded up.

    Returns
    -------
    None if the pixels could differ from those of the whole image: the file is damaged where it was
    read, or of a kind whose parts cannot be decoded. Decode the whole image then.

    """
    assert _jpeg_window is not None
    image = np.empty((size[1], size[0], 3), np.uint8)
    done, warnings, _ = _jpeg_window.decode(data, image, *window, to_end, 2 if half else 1)
    return image if done and not warnings else None
