"""Image files: reading, format by the first bytes, size by the header, decoding.

OpenCV decodes JPEG and PNG, so that their pixels are those of MXNet's im2rec.py. Pillow decodes the
other formats, because OpenCV reads some of them only in some versions. Any problem with an image
raises a ValueError with the reason.
"""

import contextlib
import io
import os
import stat
import warnings
from typing import Any, Iterator, List, Optional, Tuple

import cv2
import numpy as np
from PIL import Image, ImageFile

from imagenet_trainer.data.images import opencv
from imagenet_trainer.data.images.plausible import jpeg_size
from imagenet_trainer.data.kinds import Data, kind_of
from imagenet_trainer.data.records.recordio import MAX_LENGTH
from imagenet_trainer.system.files import file_error, is_of_file, remedy
from imagenet_trainer.system.library_messages import with_messages

MAX_PIXELS = 178_956_970  # 512 MiB as RGB; Pillow's limit, too
MAX_IMAGE = MAX_LENGTH - (1 << 16)  # bytes; leaves room for thousands of labels in a record
_ERRORS = 2  # OpenCV's log level without its warnings of damaged images
_DAMAGED = "damaged or cut short"
_UNKNOWN = "not an image that can be decoded"

_BITS_PER_SAMPLE = 258  # tag of TIFF

# OpenCV's flags for JPEGs decoded at 1/2, 1/4, 1/8 of their size, by `color` 0 and 1.
_REDUCED = {
    8: (cv2.IMREAD_REDUCED_GRAYSCALE_8, cv2.IMREAD_REDUCED_COLOR_8),
    4: (cv2.IMREAD_REDUCED_GRAYSCALE_4, cv2.IMREAD_REDUCED_COLOR_4),
    2: (cv2.IMREAD_REDUCED_GRAYSCALE_2, cv2.IMREAD_REDUCED_COLOR_2),
}


def decode_in_own_threads() -> None:
    """Prepare OpenCV for decoding in several threads of ours.

    Its own threads would compete with them, and its warnings of damaged images are less specific
    than our errors.
    """
    cv2.setNumThreads(0)
    # OpenCV 5 has moved the function.
    logging = cv2.utils.logging if hasattr(cv2.utils, "logging") else cv2
    logging.setLogLevel(_ERRORS)


def read_file(path: str) -> bytes:
    """The bytes of an image file; ValueError with the reason if it cannot be read.

    InputError if no file can be read, for example because a file system is not reachable.
    """
    try:
        # Without O_NONBLOCK, opening a pipe waits for its writer, possibly forever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ValueError("a folder" if stat.S_ISDIR(status.st_mode) else "not a file")
            check_length(status.st_size)
            with open(descriptor, "rb", buffering=0, closefd=False) as file:
                return file.readall()
        finally:
            os.close(descriptor)
    except OSError as error:
        raise read_error(path, error) from error


def read_error(path: str, error: OSError) -> Exception:
    """ValueError with the reason why this file cannot be read; InputError if none can."""
    if is_of_file(error):
        return ValueError(error.strerror or str(error))
    return file_error(path, error, remedy(error))


def check_length(length: int) -> None:
    """Raise ValueError for a file of more bytes than a record can have."""
    if length > MAX_IMAGE:
        raise ValueError(f"{length} bytes, more than fit into a record")


def png_size(data: Data) -> Tuple[int, int]:
    """Width and height in a PNG's header; (0, 0) where there is none."""
    if len(data) < 24:
        return 0, 0
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


def decode(
    data: Data,
    color: int = 1,
    max_pixels: int = MAX_PIXELS,
    short_side: int = 0,
    remarks: Optional[List[str]] = None,
) -> np.ndarray:
    """The pixels of an image, or of the first image of an animation.

    Parameters
    ----------
    data
        a complete file. Its EXIF orientation is ignored.
    color
        1: BGR (height, width, 3), transparent pixels with the colours stored for them; 0: grey
        (height, width); -1: as stored, grey, BGR, or BGRA with alpha.
    max_pixels
        limit of width x height by the header, so that a file of a kilobyte cannot request
        gigabytes.
    short_side
        if not 0, a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size, as long as its short side
        has at least this many pixels.
    remarks
        receives what the decoder reports of an image that it can nevertheless decode.

    Returns
    -------
    uint8; uint16 only for a PNG of 16 bits with `color` -1.

    Raises
    ------
    ValueError
        the image is damaged, of an unknown format, or too large.

    """
    kind = kind_of(data)
    if kind not in ("JPEG", "PNG"):
        return _by_pillow(data, kind, color, max_pixels, remarks)
    size = jpeg_size(data) if kind == "JPEG" else png_size(data)
    check_size(size, max_pixels)
    # IMREAD_UNCHANGED, which is -1, ignores the orientation by itself.
    flags = color if color < 0 else color | cv2.IMREAD_IGNORE_ORIENTATION
    if kind == "JPEG" and short_side and color >= 0:
        for scale, by_color in _REDUCED.items():
            if min(size) // scale >= short_side:
                flags = by_color[color] | cv2.IMREAD_IGNORE_ORIENTATION
                break
    return _by_opencv(data, flags, remarks)


def check_decodable(data: Data, remarks: Optional[List[str]] = None) -> None:
    """Raise ValueError unless OpenCV can decode an image, as our loader and MXNet do.

    A JPEG is decoded at an eighth of its size: this reads all data, so it finds the same damage in
    half the time.
    """
    if kind_of(data) == "JPEG":
        flags = cv2.IMREAD_REDUCED_GRAYSCALE_8 | cv2.IMREAD_IGNORE_ORIENTATION
    else:
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    _by_opencv(data, flags, remarks)


def check_size(size: Tuple[int, int], max_pixels: int) -> None:
    """Raise ValueError for a width and height with more pixels than allowed."""
    if size[0] * size[1] > max_pixels:
        raise ValueError(f"{size[0]} x {size[1]} pixels, more than the limit of {max_pixels}")


def _by_opencv(data: Data, flags: int, remarks: Optional[List[str]]) -> np.ndarray:
    try:
        return opencv.imdecode(data, flags, remarks)
    except ValueError as error:
        raise ValueError(str(error) or (_DAMAGED if kind_of(data) else _UNKNOWN)) from error


def _by_pillow(
    data: Data, kind: str, color: int, max_pixels: int, remarks: Optional[List[str]]
) -> np.ndarray:
    if not data:
        raise ValueError("the file is empty")
    if not kind:
        raise ValueError(_UNKNOWN)

    # Other libraries set this for the whole process; half an image would then be accepted.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    # The size is checked here, by `max_pixels`, instead of Pillow's own limit.
    Image.MAX_IMAGE_PIXELS = None
    warnings.filterwarnings("ignore", module="PIL")
    with _any_error_is_damage():
        image = Image.open(io.BytesIO(data), formats=[kind])
    check_size(image.size, max_pixels)
    with _any_error_is_damage():
        _, lines = with_messages(image.load)
    if remarks is not None:
        remarks.extend(lines)
    return _eight_bits(image, color)


@contextlib.contextmanager
def _any_error_is_damage() -> Iterator[None]:
    """Pillow's decoders raise any error on damaged files: KeyError, struct.error, OverflowError."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        raise ValueError(_DAMAGED) from error


def _eight_bits(image: Any, color: int) -> np.ndarray:
    """A loaded Pillow image as `decode` returns it."""
    mode = image.mode
    if mode.startswith("I;16") or (mode == "I" and image.format == "PPM"):
        # A TIFF declares how many bits it uses, often 12. The upper 8 are kept, as in OpenCV.
        bits = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, (16,))[0]
        grey = (np.asarray(image) >> (bits - 8)).astype(np.uint8)
    elif mode in ("1", "L"):
        grey = np.asarray(image.convert("L"))
    elif mode in ("RGB", "RGBX", "RGBA", "RGBa", "LA", "La", "P", "PA", "CMYK", "YCbCr"):
        return _in_color(image, color)
    else:
        raise ValueError(f"pixels of Pillow's mode {mode}, which are not 8-bit colours")
    return cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR) if color == 1 else grey


def _in_color(image: Any, color: int) -> np.ndarray:
    if image.mode in ("La", "RGBa"):  # colours multiplied by alpha
        image = image.convert(image.mode.upper())
    alpha = image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info
    if alpha:
        # Converting straight to RGB, Pillow warns of palettes with several transparent colours.
        image = image.convert("RGBA")
        if color < 0:
            return cv2.cvtColor(np.asarray(image), cv2.COLOR_RGBA2BGRA)
    pixels = cv2.cvtColor(np.asarray(image.convert("RGB")), cv2.COLOR_RGB2BGR)
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY) if color == 0 else pixels
