"""How far apart restart markers are placed in packed JPEGs.

The data between two markers can be decoded alone, so a loader leaves out those that its crop does
not need. That works if a row of the image has a whole number of intervals.
"""

from typing import Tuple

from imagenet_trainer.data.images import jpeg_restart
from imagenet_trainer.data.images.plausible import jpeg_layout

_MARKER = 4.1  # bytes by which a marker makes a file longer (measured)
# Largest growth of images of this area in pixels or less, and half of it for each fourfold area.
_SMALL, _GROWTH = 1 << 17, 0.02
# Bytes per pixel of photographs that OpenCV encodes at these qualities or better.
_BYTES = ((92, 0.4), (75, 0.2), (0, 0.1))
_BLOCK = 8  # pixels

Size = Tuple[int, int]  # width, height in pixels


def restart_interval(size: Size, mcu: Size, bytes_per_pixel: float) -> int:
    """MCUs from one marker to the next, for an image and its MCUs of these sizes.

    The smallest divisor of the MCUs in a row that does not enlarge the file too much. A prime
    number has only a marker for each row.
    """
    growth, area = _GROWTH, _SMALL
    while area < size[0] * size[1]:
        growth, area = growth / 2, 4 * area
    pixels = _MARKER / growth / bytes_per_pixel
    row = -(-size[0] // mcu[0])
    least = min(row, max(1, round(pixels / (mcu[0] * mcu[1]))))
    return next(interval for interval in range(least, row + 1) if row % interval == 0)


def interval_for_opencv(size: Size, grey: bool, quality: int) -> int:
    """`restart_interval` for an image that OpenCV encodes with its defaults at a quality."""
    side = _BLOCK if grey else 2 * _BLOCK  # it halves the colours in both directions
    return restart_interval(
        size, (side, side), next(each for least, each in _BYTES if quality >= least)
    )


def with_markers(data: bytes) -> bytes:
    """A JPEG with restart markers, from the same coefficients; as it is if libjpeg reports any
    damage.
    """
    layout = jpeg_layout(memoryview(data))
    width, height = layout.size
    if not width * height:
        return data
    interval = restart_interval(layout.size, layout.mcu, len(data) / (width * height))
    try:
        return jpeg_restart.rewrite(data, interval)
    except ValueError:
        return data
