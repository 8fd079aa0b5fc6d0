"""How an image file is converted into the bytes of its record."""

from dataclasses import dataclass
from typing import List, Optional, Tuple

import cv2
import numpy as np

from imagenet_trainer.data.images import opencv
from imagenet_trainer.data.images.decode import (
    MAX_IMAGE,
    MAX_PIXELS,
    check_decodable,
    check_size,
    decode,
    png_size,
)
from imagenet_trainer.data.images.plausible import jpeg_size
from imagenet_trainer.data.kinds import kind_of
from imagenet_trainer.packing.restart_markers import interval_for_opencv, with_markers

_LONGEST_SIDE = 65500  # of libjpeg
# Fast decoding leaves this factor to the resize that follows. With a smaller one the blocks of the
# reduced decoding become visible (mean difference of the worst image: 6 grey levels instead of 4).
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
    """Options of the conversion; `PackSettings` describes each."""

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
    restart: str = "off"


def convert(data: bytes, conversion: Conversion, remarks: Optional[List[str]] = None) -> bytes:
    """Convert the bytes of an image file into the encoded image of its record.

    Crop, size and interpolation are those of MXNet's im2rec.py: first the centre square, then the
    short side is resized to `resize`. `remarks` receives what the decoder reports of an image that
    it can nevertheless decode. Raises ValueError with the reason why the file is rejected.
    """
    if conversion.pass_through:
        _check_file(data, conversion.max_pixels, remarks)
        is_changed = conversion.restart == "lossless" and kind_of(data) == "JPEG"
        return with_markers(data) if is_changed else data
    fast = conversion.fast_decode and not conversion.center_crop and kind_of(data) == "JPEG"
    short_side = _MARGIN * conversion.resize if fast else 0
    image = decode(data, conversion.color, conversion.max_pixels, short_side, remarks)
    width, height = jpeg_size(data) if fast else image.shape[1::-1]
    if conversion.center_crop:
        image = _centre(image)
        width, height = image.shape[1::-1]
    if conversion.resize:
        image = _resize(image, (width, height), conversion)
    return encode(image, conversion)


def _check_file(data: bytes, max_pixels: int, remarks: Optional[List[str]]) -> None:
    """Raise ValueError unless MXNet's decoder reads the file."""
    kind = kind_of(data)
    if kind not in ("JPEG", "PNG"):
        if kind:
            decode(data, max_pixels=max_pixels)  # report damage rather than the format
            raise ValueError(f"{kind} must be converted, MXNet reads only JPEG and PNG")
        raise ValueError("not an image that can be decoded" if data else "the file is empty")
    check_size(jpeg_size(data) if kind == "JPEG" else png_size(data), max_pixels)
    check_decodable(data, remarks)


def _centre(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return image[top : top + side, left : left + side]


def _resize(image: np.ndarray, size: Tuple[int, int], conversion: Conversion) -> np.ndarray:
    """Resize the short side to `resize`; `size` is the width and height in the file."""
    short = min(size)
    target = (size[0] * conversion.resize // short, size[1] * conversion.resize // short)
    if max(target) > _LONGEST_SIDE:
        raise ValueError(f"{size[0]} x {size[1]} pixels are too narrow to resize")
    how = _INTERPOLATIONS[conversion.interp]
    return opencv.call(cv2.resize, image, target, interpolation=how)


def encode(image: np.ndarray, conversion: Conversion) -> bytes:
    """Encode the pixels of a record; ValueError if they cannot be."""
    if conversion.encoding == ".png":
        parameters: Tuple[int, ...] = (cv2.IMWRITE_PNG_COMPRESSION, min(conversion.quality, 9))
    else:
        parameters = (cv2.IMWRITE_JPEG_QUALITY, conversion.quality)
        if conversion.restart == "auto":
            size = image.shape[1], image.shape[0]
            interval = interval_for_opencv(size, image.ndim == 2, conversion.quality)
            parameters += (cv2.IMWRITE_JPEG_RST_INTERVAL, interval)
        if image.dtype == np.uint16:  # OpenCV would saturate every value above 255
            image = (image >> 8).astype(np.uint8)
    try:
        encoded = opencv.imencode(conversion.encoding, image, parameters)
    except ValueError:
        encoded = None
    if encoded is None or len(encoded) > MAX_IMAGE:
        height, width = image.shape[:2]
        raise ValueError(f"{width} x {height} pixels cannot be encoded as {conversion.encoding}")
    return encoded.tobytes()
