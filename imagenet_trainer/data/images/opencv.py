"""OpenCV's functions on images from outside: what is wrong raises a ValueError with the reason.

OpenCV raises its own error for some images, returns nothing for others, and prints a line for a
third kind. All calls that take an image of a user go through this module.
"""

from typing import Any, Callable, List, Optional, Tuple, TypeVar

import cv2
import numpy as np

from imagenet_trainer.data.images import plausible
from imagenet_trainer.system.library_messages import with_messages

VERSION: str = cv2.__version__
T = TypeVar("T")
# What libjpeg prints where image data are missing; it fills the rest with grey.
_MISSING = "premature end"
_NO_MEMORY = -4  # OpenCV's StsNoMem


def imdecode(
    data: Any, flags: int, remarks: Optional[List[str]] = None, trusted: bool = False
) -> np.ndarray:
    """`cv2.imdecode` of a JPEG, a PNG or another file that OpenCV reads.

    Parameters
    ----------
    data
        a complete file: bytes or another buffer.
    flags
        OpenCV's.
    remarks
        receives what the decoder reports of an image that it can nevertheless decode, such as
        `Corrupt JPEG data: 2 extraneous bytes before marker 0xd9`.
    trusted
        the bytes are known to be those that were packed, so missing image data are a remark too.

    Raises
    ------
    ValueError
        the image is cut short, or OpenCV cannot decode it; "" if there is no more to say.

    """
    plausible.check(data)
    encoded = np.frombuffer(data, np.uint8)
    if not encoded.size:
        raise ValueError("")
    image, lines = with_messages(call, cv2.imdecode, encoded, flags)
    if image is None:
        raise ValueError("")
    for line in lines:
        if _MISSING in line and not trusted:
            raise ValueError(f"image data are missing ({line})")
        if remarks is not None:
            remarks.append(line)
    return image


def imencode(extension: str, image: np.ndarray, parameters: Tuple[int, ...] = ()) -> np.ndarray:
    """`cv2.imencode`: the encoded image, uint8 (bytes,)."""
    encoded, data = call(cv2.imencode, extension, image, parameters)
    if not encoded:
        raise ValueError(f"it cannot be encoded as {extension}")
    return data.reshape(-1)


def warp(image: np.ndarray, matrix: np.ndarray, out: np.ndarray, fill: int) -> None:
    """Set each pixel (x, y) of `out` to that of the image at matrix @ (x, y, 1), bilinearly.

    `image` and `out` are uint8 (height, width, 3), `matrix` is float64 (2, 3). Pixels from outside
    the image have the value `fill`.
    """
    call(
        cv2.warpAffine, image, matrix, (out.shape[1], out.shape[0]), dst=out,
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_CONSTANT,
        borderValue=(fill,) * 3,
    )  # fmt: skip


def call(function: Callable[..., T], *arguments: Any, **named: Any) -> T:
    """Call a function of OpenCV; its own error becomes a ValueError in one line.

    A full memory is a MemoryError: it says nothing about the image.
    """
    try:
        return function(*arguments, **named)
    except cv2.error as error:
        reason = " ".join(str(getattr(error, "err", "") or error).split())
        if getattr(error, "code", 0) == _NO_MEMORY:
            raise MemoryError(reason) from error
        raise ValueError(f"OpenCV cannot process it ({reason[:200]})") from error
