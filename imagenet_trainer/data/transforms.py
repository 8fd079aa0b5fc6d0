"""The steps of an image's transformation as numbers, and their execution by OpenCV.

A transform computes the steps from the image's size alone, before it is decoded. So they can be
executed by OpenCV here, or by the GPU that decodes (`dali`).
"""

import math
from typing import NamedTuple, Optional, Tuple

import cv2
import numpy as np
from PIL import Image

from imagenet_trainer.data import policies
from imagenet_trainer.data.images.opencv import call, warp
from imagenet_trainer.data.policies import Operation

Window = Tuple[int, int, int, int]  # left, top, width, height in pixels
Size = Tuple[int, int]  # height, width
Bounds = Tuple[int, int]  # first pixel, and the one after the last

# Of a longer strip only the middle is enlarged: an image of 1 x 5000 would need a gigabyte.
_LONGEST_STRIP = 16
_LONGEST_WARPED = (1 << 15) - 2  # pixels of a side that OpenCV's warp can read
_MARGIN = 2  # pixels around a window that bilinear interpolation may read
BILINEAR = "bilinear"  # or averages of areas
_PILLOW = {
    "pil-bilinear": Image.Resampling.BILINEAR, "pil-bicubic": Image.Resampling.BICUBIC,
}  # fmt: skip
# Pixels to each side that a pixel of the result depends on, where the image is not made smaller.
_RADIUS = {"bicubic": 2, "pil-bilinear": 1, "pil-bicubic": 2}


class Steps(NamedTuple):
    """The steps of a transformation, in this order; windows may be partly outside the image."""

    cut: Window  # the first crop
    size: Size  # to which the crop is resized
    window: Window  # the second crop; ignored if there is a `warp`
    warp: Optional[np.ndarray] = None  # float64 (2, 3), pixels of the result to the resized crop's
    mirror: bool = False  # left to right
    colours: Optional[np.ndarray] = None  # float64 (3, 4), of red, green, blue, 1
    fill: int = 0  # value of pixels outside the image
    interpolation: str = BILINEAR  # of the resize: one of INTERPOLATIONS
    operations: Tuple[Operation, ...] = ()  # of a policy, after the mirror
    erased: Optional[Window] = None  # last: a part of the result that gets the value `fill`

    @property
    def cut_size(self) -> Size:
        """Height and width of the first crop."""
        return self.cut[3], self.cut[2]

    @property
    def averages(self) -> bool:
        """Whether resizing averages areas: on request, or because it halves both sides or more."""
        return self.interpolation == "area" or self.halves

    @property
    def halves(self) -> bool:
        """Whether resizing halves both sides or more."""
        return self.cut[3] >= 2 * self.size[0] and self.cut[2] >= 2 * self.size[1]

    def at_half_size(self) -> "Steps":
        """The steps for the image at half its size; only where resizing halves both sides.

        Edges of the crop that fall between two pixels then move outwards, by half a pixel.
        """
        left, top, wide, high = self.cut
        right, bottom = (left + wide + 1) // 2, (top + high + 1) // 2
        left, top = left // 2, top // 2
        return self._replace(cut=(left, top, right - left, bottom - top))

    def needed(self, size: Size) -> Window:
        """The part of an image of this height and width that the result depends on."""
        left, top, wide, high = self.cut
        is_inside = left >= 0 <= top and left + wide <= size[1] and top + high <= size[0]
        if is_inside and self.window == full_window(self.size):
            return self.cut  # of most images
        columns, rows = (left, left + wide), (top, top + high)
        if self.warp is None and self.window != full_window(self.size):
            x, y, window_wide, window_high = self.window
            columns = self._read(columns, self.size[1], x, window_wide)
            rows = self._read(rows, self.size[0], y, window_high)
        first, last = _inside(columns, size[1])
        upper, lower = _inside(rows, size[0])
        return first, upper, last - first, lower - upper

    def _read(self, source: Bounds, resized: int, start: int, count: int) -> Bounds:
        """Bounds of the pixels of a source that `count` pixels of it resized depend on."""
        begin, end = source
        scale = (end - begin) / resized
        margin = _MARGIN
        if self.interpolation in _RADIUS:
            # Pillow widens its filter to what a pixel of the result covers.
            wider = max(scale, 1.0) if self.interpolation in _PILLOW else 1.0
            margin += math.ceil(_RADIUS[self.interpolation] * wider)
        lower = begin + math.floor(start * scale) - margin
        upper = begin + math.ceil((start + count) * scale) + margin
        return max(begin, lower), min(end, upper)


def execute(steps: Steps, image: np.ndarray, out: np.ndarray) -> None:
    """Execute the steps on an image, uint8 RGB (height, width, 3), into `out`.

    Raises ValueError if OpenCV cannot.
    """
    part = _cut(image, steps.cut, steps.fill)
    if steps.warp is not None:
        _warp(_resized(part, steps), steps.warp, steps.fill, out)
    elif steps.window == full_window(steps.size):
        _resize(part, steps, out)
    else:
        out[:] = _cut(_resized(part, steps), steps.window, steps.fill)
    if steps.mirror:
        call(cv2.flip, out, 1, dst=out)
    if steps.operations:
        policies.execute(steps.operations, out, steps.fill)
    if steps.colours is not None:
        call(cv2.transform, out, steps.colours, dst=out)
    if steps.erased is not None:
        left, top, wide, high = steps.erased
        out[top : top + high, left : left + wide] = steps.fill


def size_of(image: np.ndarray) -> Size:
    """Height and width of an image."""
    return image.shape[0], image.shape[1]


def full_window(size: Size) -> Window:
    """The window of the whole image."""
    return 0, 0, size[1], size[0]


def unchanged(size: Size) -> Steps:
    """Steps that do nothing."""
    return Steps(full_window(size), size, full_window(size))


def short_side_steps(size: Size, side: int) -> Steps:
    """Steps that resize the short side to `side` pixels, the long side rounded down."""
    height, width = size
    short = min(height, width)
    left = top = 0
    if max(height, width) > _LONGEST_STRIP * short and short != side:
        longest = _LONGEST_STRIP * short
        top, left = max(0, height - longest) // 2, max(0, width - longest) // 2
        height, width = min(height, longest), min(width, longest)
    resized = height * side // short, width * side // short
    return Steps((left, top, width, height), resized, full_window(resized))


def centred(size: Size, crop: Size, interpolation: str) -> Window:
    """The window of a crop at the centre; where a half pixel is left over, it is moved up and left.

    With Pillow's interpolation a half is rounded to the even number, as in torchvision.
    """
    free = size[0] - crop[0], size[1] - crop[1]
    if interpolation in _PILLOW:
        top, left = (round(pixels / 2) for pixels in free)
    else:
        top, left = (pixels // 2 for pixels in free)
    return left, top, crop[1], crop[0]


def short_side_to(image: np.ndarray, side: int, interpolation: str = BILINEAR) -> np.ndarray:
    """The image with its short side resized to `side` pixels, the long side rounded down."""
    steps = short_side_steps(size_of(image), side)._replace(interpolation=interpolation)
    return _resized(_cut(image, steps.cut, 0), steps)


def warp_of(window: Window, size: Size, linear: np.ndarray) -> np.ndarray:
    """The matrix (2, 3) that resizes a window to `size` and warps it about its centre.

    `linear` (2, 2) maps offsets from the window's centre in the result to offsets in the image,
    both in pixels of the image. The warp also shows the image outside the window.
    """
    left, top, wide, high = window
    height, width = size
    matrix = np.empty((2, 3))
    matrix[:, :2] = linear * (wide / width, high / height)
    centre = (left + (wide - 1) / 2, top + (high - 1) / 2)
    matrix[:, 2] = centre - matrix[:, :2] @ ((width - 1) / 2, (height - 1) / 2)
    return matrix


def _inside(bounds: Tuple[int, int], side: int) -> Tuple[int, int]:
    """The part of a range inside an image, at least one pixel."""
    first = min(max(0, bounds[0]), side - 1)
    return first, max(first + 1, min(bounds[1], side))


def _cut(image: np.ndarray, window: Window, fill: int) -> np.ndarray:
    """The part of an image in a window; a view if the window is inside the image."""
    left, top, wide, high = window
    part = image[max(0, top) : max(0, top + high), max(0, left) : max(0, left + wide)]
    if part.shape[:2] == (high, wide):
        return part
    result = np.full((high, wide, 3), fill, np.uint8)
    y, x = max(0, -top), max(0, -left)
    result[y : y + part.shape[0], x : x + part.shape[1]] = part
    return result


def _resized(part: np.ndarray, steps: Steps) -> np.ndarray:
    """The part resized; the part itself if it has that size."""
    if part.shape[:2] == steps.size:
        return part
    resized = np.empty((*steps.size, 3), np.uint8)
    _resize(part, steps, resized)
    return resized


def _resize(part: np.ndarray, steps: Steps, out: np.ndarray) -> None:
    if part.shape[:2] == out.shape[:2]:
        out[:] = part
        return
    if steps.interpolation in _PILLOW:
        size = out.shape[1], out.shape[0]
        out[:] = np.asarray(Image.fromarray(part).resize(size, _PILLOW[steps.interpolation]))
        return
    method = cv2.INTER_CUBIC if steps.interpolation == "bicubic" else cv2.INTER_LINEAR
    method = cv2.INTER_AREA if steps.averages else method
    call(cv2.resize, part, (out.shape[1], out.shape[0]), dst=out, interpolation=method)


def _warp(image: np.ndarray, matrix: np.ndarray, fill: int, out: np.ndarray) -> None:
    """Apply a warp, with bilinear interpolation."""
    if max(image.shape[:2]) > _LONGEST_WARPED:
        image, matrix = _warpable(image, matrix, size_of(out))
    warp(image, matrix, out, fill)


def _warpable(image: np.ndarray, matrix: np.ndarray, size: Size) -> Tuple[np.ndarray, np.ndarray]:
    """The part of a very long image that a warp to `size` shows, and the warp from that part.

    A part that is still too long is averaged along its long sides first.
    """
    matrix = matrix.copy()
    corners = [(x, y, 1) for x in (0, size[1] - 1) for y in (0, size[0] - 1)]
    shown = np.array(corners) @ matrix.T  # (4, 2): x, y in the image
    first = np.floor(shown.min(axis=0)).astype(int) - _MARGIN
    last = np.ceil(shown.max(axis=0)).astype(int) + _MARGIN + 1
    sides = np.array(image.shape[1::-1])
    left, top = np.clip(first, 0, sides - 1)
    right, bottom = np.clip(last, (left + 1, top + 1), sides)
    part = image[top:bottom, left:right]
    matrix[:, 2] -= left, top
    wide, high = (-(-side // -(-side // _LONGEST_WARPED)) for side in part.shape[1::-1])
    if (high, wide) != part.shape[:2]:
        # A pixel's coordinates are those of its centre, in both.
        scale = np.array([wide / part.shape[1], high / part.shape[0]])
        matrix *= scale[:, None]
        matrix[:, 2] += scale / 2 - 0.5
        part = call(cv2.resize, part, (wide, high), interpolation=cv2.INTER_AREA)
    return part, matrix
