"""What happens to a picture file on its way into a record."""

from dataclasses import dataclass
from typing import Tuple

import cv2
import numpy as np

from imagenet_trainer.data.images.decode import (
    MAX_PICTURE,
    MAX_PIXELS,
    check_size,
    decode,
    jpeg_size,
    kind_of,
    png_size,
    prove,
)

_LONGEST_SIDE = 65500  # of libjpeg
# With --fast-decode a picture is still reduced by this much afterwards; with less, the blocks of
# the reduced decoding show (worst picture: 6 grey levels in the mean instead of 4).
_MARGIN = 2
_INTERPOLATIONS = {
    "nearest": cv2.INTER_NEAREST,
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "area": cv2.INTER_AREA,
    "lanczos": cv2.INTER_LANCZOS4,
}


@dataclass(frozen=True)
class Conversion:
    """How a picture file becomes the bytes in its record; see `tools/im2rec.py --help`."""

    pass_through: bool = False
    resize: int = 0
    center_crop: bool = False
    quality: int = 95
    color: int = 1
    encoding: str = ".jpg"
    pack_label: bool = False
    max_pixels: int = MAX_PIXELS
    interp: str = "linear"
    fast_decode: bool = False


def convert(data: bytes, conversion: Conversion) -> bytes:
    """The encoded picture that goes into the record of a file with these bytes.

    Crop, size and interpolation are those of MXNet's im2rec.py: first the centre square, then the
    short side to `resize`. ValueError says why the file cannot be packed.
    """
    if conversion.pass_through:
        return _pass_through(data, conversion.max_pixels)
    fast = conversion.fast_decode and not conversion.center_crop and kind_of(data) == "JPEG"
    short_side = _MARGIN * conversion.resize if fast else 0
    picture = decode(data, conversion.color, conversion.max_pixels, short_side)
    width, height = jpeg_size(data) if fast else picture.shape[1::-1]
    if conversion.center_crop:
        picture = _centre(picture)
        width, height = picture.shape[1::-1]
    if conversion.resize:
        picture = _resize(picture, (width, height), conversion)
    return _encode(picture, conversion)


def _pass_through(data: bytes, max_pixels: int) -> bytes:
    kind = kind_of(data)
    if kind not in ("JPEG", "PNG"):
        if kind:
            decode(data, max_pixels=max_pixels)  # damage is the better reason
            raise ValueError(f"{kind}, and MXNet reads JPEG and PNG; pack without --pass-through")
        raise ValueError("not a picture that can be decoded" if data else "the file is empty")
    check_size(jpeg_size(data) if kind == "JPEG" else png_size(data), max_pixels)
    prove(data)
    return data


def _centre(picture: np.ndarray) -> np.ndarray:
    """The square in the middle."""
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return picture[top : top + side, left : left + side]


def _resize(picture: np.ndarray, size: Tuple[int, int], conversion: Conversion) -> np.ndarray:
    """Resize what had this width and height in the file to a short side of `resize`."""
    short = min(size)
    target = (size[0] * conversion.resize // short, size[1] * conversion.resize // short)
    if max(target) > _LONGEST_SIDE:
        raise ValueError(f"{size[0]} x {size[1]} pixels are too narrow to resize")
    return cv2.resize(picture, target, interpolation=_INTERPOLATIONS[conversion.interp])


def _encode(picture: np.ndarray, conversion: Conversion) -> bytes:
    if conversion.encoding == ".png":
        parameters = [cv2.IMWRITE_PNG_COMPRESSION, min(conversion.quality, 9)]
    else:
        parameters = [cv2.IMWRITE_JPEG_QUALITY, conversion.quality]
        if picture.dtype == np.uint16:  # OpenCV would make everything above 255 white
            picture = (picture >> 8).astype(np.uint8)
    try:
        done, encoded = cv2.imencode(conversion.encoding, picture, parameters)
    except cv2.error:
        done = False
    if not done or len(encoded) > MAX_PICTURE:
        height, width = picture.shape[:2]
        raise ValueError(f"{width} x {height} pixels cannot be encoded as {conversion.encoding}")
    return encoded.tobytes()
