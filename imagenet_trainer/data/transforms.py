"""What happens to one image, as numbers, and how OpenCV does it.

A transform says the steps from the image's size alone, before it is decoded. So whoever decodes
it can take them: OpenCV here, or the GPU (`dali`).
"""

from typing import NamedTuple, Optional, Tuple

import cv2
import numpy as np

Window = Tuple[int, int, int, int]  # left, top, width, height in pixels
Size = Tuple[int, int]  # height, width

# A longer strip keeps only its middle before its short side is enlarged: an image of 1 x 5000
# would need a gigabyte.
_LONGEST_STRIP = 16


class Steps(NamedTuple):
    """What happens to an image, in this order; windows may lie partly outside of it."""

    cut: Window  # of the image
    size: Size  # what was cut is resized to it
    window: Window  # of that, the second cut; where `warp` is given it is not used
    warp: Optional[np.ndarray] = None  # float64 (2, 3), pixels of the result to pixels of that
    mirror: bool = False  # left to right
    colours: Optional[np.ndarray] = None  # float64 (3, 4), of red, green, blue, 1
    fill: int = 0  # what is outside of the image

    @property
    def cut_size(self) -> Size:
        """Height and width of the first cut."""
        return self.cut[3], self.cut[2]

    @property
    def averages(self) -> bool:
        """Whether both sides halve or more: areas are averaged then, otherwise it is bilinear."""
        return self.cut[3] >= 2 * self.size[0] and self.cut[2] >= 2 * self.size[1]


def carry_out(steps: Steps, image: np.ndarray, out: np.ndarray) -> None:
    """Make of an image what the steps say, uint8 RGB (height, width, 3), in `out`."""
    part = _cut(image, steps.cut, steps.fill)
    if steps.warp is not None:
        _warp(_resized(part, steps), steps, out)
    elif steps.window == whole(steps.size):
        _resize(part, steps, out)
    else:
        out[:] = _cut(_resized(part, steps), steps.window, steps.fill)
    if steps.mirror:
        cv2.flip(out, 1, dst=out)
    if steps.colours is not None:
        cv2.transform(out, steps.colours, dst=out)


def size_of(image: np.ndarray) -> Size:
    """Height and width of an image."""
    return image.shape[0], image.shape[1]


def whole(size: Size) -> Window:
    """The window of all of an image."""
    return 0, 0, size[1], size[0]


def unchanged(size: Size) -> Steps:
    """The image as it is."""
    return Steps(whole(size), size, whole(size))


def short_side_steps(size: Size, side: int) -> Steps:
    """The short side of an image of this size to `side` pixels, the long side rounded down."""
    height, width = size
    short = min(height, width)
    left = top = 0
    if max(height, width) > _LONGEST_STRIP * short and short != side:
        longest = _LONGEST_STRIP * short
        top, left = max(0, height - longest) // 2, max(0, width - longest) // 2
        height, width = min(height, longest), min(width, longest)
    resized = height * side // short, width * side // short
    return Steps((left, top, width, height), resized, whole(resized))


def short_side_to(image: np.ndarray, side: int) -> np.ndarray:
    """The image with its short side resized to `side` pixels, the long side rounded down."""
    steps = short_side_steps(size_of(image), side)
    return _resized(_cut(image, steps.cut, 0), steps)


def warp_of(window: Window, size: Size, linear: np.ndarray) -> np.ndarray:
    """The matrix (2, 3) that resizes a window to `size` and warps it about its centre.

    `linear` (2, 2) takes offsets from the window's centre in the result to offsets in the image,
    both in the image's pixels. The image goes on outside the window.
    """
    left, top, wide, high = window
    height, width = size
    matrix = np.empty((2, 3))
    matrix[:, :2] = linear * (wide / width, high / height)
    centre = (left + (wide - 1) / 2, top + (high - 1) / 2)
    matrix[:, 2] = centre - matrix[:, :2] @ ((width - 1) / 2, (height - 1) / 2)
    return matrix


def _cut(image: np.ndarray, window: Window, fill: int) -> np.ndarray:
    """The part of an image in a window, a view of it where the window lies inside."""
    left, top, wide, high = window
    part = image[max(0, top) : max(0, top + high), max(0, left) : max(0, left + wide)]
    if part.shape[:2] == (high, wide):
        return part
    result = np.full((high, wide, 3), fill, np.uint8)
    y, x = max(0, -top), max(0, -left)
    result[y : y + part.shape[0], x : x + part.shape[1]] = part
    return result


def _resized(part: np.ndarray, steps: Steps) -> np.ndarray:
    """The part resized, itself where it has that size."""
    if part.shape[:2] == steps.size:
        return part
    resized = np.empty((*steps.size, 3), np.uint8)
    _resize(part, steps, resized)
    return resized


def _resize(part: np.ndarray, steps: Steps, out: np.ndarray) -> None:
    if part.shape[:2] == out.shape[:2]:
        out[:] = part
        return
    method = cv2.INTER_AREA if steps.averages else cv2.INTER_LINEAR
    cv2.resize(part, (out.shape[1], out.shape[0]), dst=out, interpolation=method)


def _warp(image: np.ndarray, steps: Steps, out: np.ndarray) -> None:
    """The warp, bilinear, in one operation."""
    cv2.warpAffine(
        image,
        steps.warp,
        (out.shape[1], out.shape[0]),
        dst=out,
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(steps.fill,) * 3,
    )
