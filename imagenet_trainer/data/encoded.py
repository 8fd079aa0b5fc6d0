"""A batch whose images are still encoded, with what will happen to each: for a GPU to decode.

Order, augmentation and mixing are drawn as for any other batch; only who decodes is another.
"""

from dataclasses import dataclass
from typing import Any, List, Optional, Tuple

import cv2
import numpy as np

from imagenet_trainer.data.augment import Transform, decode
from imagenet_trainer.data.transforms import Size, Steps, size_of

_BEGIN, _END = b"\xff\xd8", b"\xff\xd9"
_ADOBE, _SCAN = 0xEE, 0xDA
# Baseline, extended, progressive. The other frames are lossless or arithmetic ones.
_FRAMES = (0xC0, 0xC1, 0xC2)
_OTHER_FRAMES = frozenset(range(0xC3, 0xD0)) - {0xC4, 0xC8, 0xCC}


@dataclass
class Encoded:
    """The images of a batch of n before they are decoded."""

    images: List[np.ndarray]  # uint8 (bytes,): JPEGs that a GPU decodes, all others as BMP
    steps: List[Steps]
    size: Size  # of what becomes of them
    shares: Optional[np.ndarray] = None  # float32 (n,), with mixup

    def put(self, i: int, data: Any, transform: Transform, drawn: Any) -> None:
        """Set image i to an encoded one; ValueError where it is none that OpenCV decodes."""
        size = plain_jpeg_size(data)
        if size is None:
            self.images[i], size = as_bitmap(data)
        else:
            self.images[i] = np.frombuffer(data, np.uint8)
        self.steps[i] = transform.steps(size, drawn, i)


def as_bitmap(data: Any) -> Tuple[np.ndarray, Size]:
    """An image decoded here, and the pixels as a file that every decoder reads without loss.

    Raises ValueError when it is no image.
    """
    image = decode(data)
    done, bitmap = cv2.imencode(".bmp", image[:, :, ::-1])
    if not done:
        raise ValueError("too large to be handed to the GPU as a bitmap")
    return bitmap.reshape(-1), size_of(image)


def plain_jpeg_size(data: Any) -> Optional[Size]:
    """Height and width of a JPEG that every decoder makes the same pixels of, nearly; or None.

    It is whole (its last bytes are the end marker), of 8 bits, Huffman-coded, grey or YCbCr. CMYK
    and RGB inside a JPEG, arithmetic coding, 12 bits and what is damaged are OpenCV's business.
    (ITU-T T.81, annex B; Adobe's marker as libjpeg understands it.)
    """
    view = memoryview(data).cast("B")
    if view[:2] != _BEGIN or view[-2:] != _END:
        return None
    at, size, transform = 2, None, -1
    while at + 4 <= len(view) and view[at] == 0xFF:
        marker, length = view[at + 1], view[at + 2] << 8 | view[at + 3]
        if marker == 0xFF:  # padding
            at += 1
            continue
        body = view[at + 4 : at + 2 + length]
        if marker == _SCAN:
            return None if transform == 0 else size
        if marker in _OTHER_FRAMES:
            return None
        if marker in _FRAMES:
            size = _size_in(body)
            if size is None:
                return None
        elif marker == _ADOBE and body[:5] == b"Adobe" and len(body) >= 12:
            transform = body[11]
        at += 2 + length
    return None


def _size_in(frame: memoryview) -> Optional[Size]:
    """Height and width in a frame header; None for one that is not plain."""
    if len(frame) < 6 or frame[0] != 8 or frame[5] not in (1, 3):
        return None
    if bytes(frame[6::3]) == b"RGB":  # components by that name are not YCbCr
        return None
    size = frame[1] << 8 | frame[2], frame[3] << 8 | frame[4]
    return size if all(size) else None  # a height of nought comes later, in a marker of its own
