"""Small JPEGs of images in shards, for pages."""

from typing import Dict, Iterable, Optional

import cv2
import numpy as np

from imagenet_trainer.data.images.decode import decode
from imagenet_trainer.data.images.opencv import call, imencode
from imagenet_trainer.data.records.shards import Shards
from imagenet_trainer.errors import InputError
from imagenet_trainer.viz import html

SIDE = 144  # pixels of the longer side at most
_QUALITY = 80
_SMALL = 72  # smaller images are enlarged, pixel by pixel


def thumbnails(shards: Shards, keys: np.ndarray, positions: Iterable[int]) -> Dict[int, str]:
    """Data URIs of images by their position in `keys`, int64 (n,), the keys of the .idx.

    Omits images that are missing or cannot be decoded.
    """
    known = shards.keys
    order = np.argsort(known, kind="stable")
    uris: Dict[int, str] = {}
    for position in sorted(set(positions)):
        key = keys[position]
        # Several packed files may share keys: prefer the record at the same position.
        if position < len(known) and known[position] == key:
            record = position
        else:
            record = int(order[np.searchsorted(known, key, sorter=order) % len(order)])
        uri = _uri(shards, record) if known[record] == key else None
        if uri:
            uris[position] = uri
    return uris


def _uri(shards: Shards, record: int) -> Optional[str]:
    try:
        return data_uri(shards.record(record).image)
    except (InputError, ValueError):
        return None


def data_uri(encoded: memoryview) -> str:
    """An encoded image as a small JPEG in a data URI; raises the errors of `images.decode`."""
    image = small(decode(encoded, 1))
    data = imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, _QUALITY))
    return html.data_uri(data.tobytes(), "image/jpeg")


def small(image: np.ndarray) -> np.ndarray:
    """Fit uint8 (height, width, 3) into SIDE x SIDE; tiny images are enlarged by an integer."""
    longer = max(image.shape[:2])
    if longer > SIDE:
        size = tuple(max(1, round(side * SIDE / longer)) for side in image.shape[1::-1])
        return call(cv2.resize, image, size, interpolation=cv2.INTER_AREA)
    factor = SIDE // longer if longer < _SMALL else 1
    return np.repeat(np.repeat(image, factor, 0), factor, 1)
