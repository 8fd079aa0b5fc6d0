"""How far apart restart markers are placed in packed JPEGs.

The data between two markers can be decoded alone, so a loader leaves out those that its crop does
not need. That works if a row of the image has a whole number of intervals. A marker costs about
four bytes.
"""

_BLOCK = 8  # pixels
# Pixels of an interval at quality 95: 2 % more bytes in images of this area or less, and half of it
# for each fourfold area.
_SMALL, _PIXELS = 1 << 17, 512
# Below these qualities the same pixels have half and a quarter of the bytes.
_LOWER_QUALITIES = (92, 75)


def restart_interval(width: int, height: int, grey: bool, quality: int) -> int:
    """MCUs from one marker to the next in a JPEG that OpenCV writes.

    The smallest divisor of the MCUs in a row that does not enlarge the file too much. A prime
    number has only a marker for each row.
    """
    mcu = _BLOCK if grey else 2 * _BLOCK  # OpenCV halves the colours in both directions
    pixels, area = _PIXELS, _SMALL
    while area < width * height:
        pixels, area = 2 * pixels, 4 * area
    for lower in _LOWER_QUALITIES:
        pixels *= 1 + (quality < lower)
    row = -(-width // mcu)
    least = min(row, -(-pixels // mcu**2))
    return next(interval for interval in range(least, row + 1) if row % interval == 0)
