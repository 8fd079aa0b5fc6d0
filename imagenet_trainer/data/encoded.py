"""A batch of encoded images with the steps for each, to be decoded by a GPU.

Order, augmentation and mixing are drawn as for any other batch; only the decoder differs.
"""

from dataclasses import dataclass
from typing import Any, List, Optional, Tuple

import numpy as np

from imagenet_trainer.data.augment import Transform, decode
from imagenet_trainer.data.images.opencv import imencode
from imagenet_trainer.data.images.plausible import HUFFMAN, jpeg_layout
from imagenet_trainer.data.transforms import Size, Steps, size_of

_BEGIN, _END = b"\xff\xd8", b"\xff\xd9"


@dataclass
class Encoded:
    """The images of a batch of n before they are decoded."""

    images: List[np.ndarray]  # uint8 (bytes,): JPEGs that a GPU decodes, all others as BMP
    steps: List[Steps]
    size: Size  # of the transformed images
    shares: Optional[np.ndarray] = None  # float32 (n,), with mixup

    def put(
        self,
        i: int,
        data: Any,
        transform: Transform,
        drawn: Any,
        remarks: Optional[List[str]] = None,
        trusted: bool = False,
    ) -> None:
        """Set image i to encoded bytes; ValueError if OpenCV cannot decode them.

        A JPEG that DALI will decode is not looked at further.
        """
        size = plain_jpeg_size(data)
        if size is None:
            self.images[i], size = as_bitmap(data, remarks, trusted)
        else:
            self.images[i] = np.frombuffer(data, np.uint8)
        self.steps[i] = transform.steps(size, drawn, i)


def as_bitmap(
    data: Any, remarks: Optional[List[str]] = None, trusted: bool = False
) -> Tuple[np.ndarray, Size]:
    """Decode an image here; return its pixels as a BMP, which every decoder reads, and its size.

    `remarks`, `trusted` and errors as in `augment.decode`.
    """
    image = decode(data, remarks, trusted)
    return imencode(".bmp", image[:, :, ::-1]), size_of(image)


def plain_jpeg_size(data: Any) -> Optional[Size]:
    """Height and width of a JPEG that all decoders decode to nearly the same pixels; or None.

    It is complete (its last bytes are the end marker), of 8 bits, Huffman-coded, grey or YCbCr.
    OpenCV decodes the others: CMYK and RGB in a JPEG, arithmetic coding, 12 bits, damaged files.
    (ITU-T T.81, annex B; Adobe's marker as libjpeg interprets it.)
    """
    view = memoryview(data).cast("B")
    if view[:2] != _BEGIN or view[-2:] != _END:
        return None
    header = jpeg_layout(view)
    if not header.end or header.stray or header.frame not in HUFFMAN or header.bits != 8:
        return None
    if len(header.components) not in (1, 3) or header.components == b"RGB" or not header.adobe:
        return None
    wide, high = header.size
    return (high, wide) if wide and high else None  # a height of 0 is given later
