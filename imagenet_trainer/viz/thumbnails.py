"""Small JPEGs of images in shards, for pages."""

import base64
from typing import Dict, Iterable, Optional

import cv2
import numpy as np

from imagenet_trainer.data.images.decode import decode
from imagenet_trainer.data.records.shards import Shards
from imagenet_trainer.errors import InputError

SIDE = 144  # pixels, the longer side at most
_QUALITY = 80
_SMALL = 72  # images smaller than this are shown larger, pixel by pixel


def thumbnails(shards: Shards, keys: np.ndarray, places: Iterable[int]) -> Dict[int, str]:
    """Data URIs of images by their place among `keys`, int64 (n,), the keys in the .idx.

    An image that is not there or cannot be decoded is left out.
    """
    ours = shards.keys
    order = np.argsort(ours, kind="stable")
    found: Dict[int, str] = {}
    for place in sorted(set(places)):
        # The records of several packs may share keys: those of the same place go first.
        if place < len(ours) and ours[place] == keys[place]:
            record = place
        else:
            record = int(order[np.searchsorted(ours, keys[place], sorter=order) % len(order)])
        uri = _uri(shards, record) if ours[record] == keys[place] else None
        if uri:
            found[place] = uri
    return found


def _uri(shards: Shards, record: int) -> Optional[str]:
    try:
        return data_uri(shards.record(record).image)
    except (InputError, ValueError):
        return None


def data_uri(encoded: memoryview) -> str:
    """An encoded image as a small JPEG in a data URI; errors as `images.decode`."""
    image = small(decode(encoded, 1))
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    if not done:
        raise ValueError("cannot be encoded as JPEG")
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()


def small(image: np.ndarray) -> np.ndarray:
    """Fit uint8 (height, width, 3) into SIDE x SIDE; tiny ones grow by a whole factor."""
    longer = max(image.shape[:2])
    if longer > SIDE:
        size = tuple(max(1, round(side * SIDE / longer)) for side in image.shape[1::-1])
        return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    factor = SIDE // longer if longer < _SMALL else 1
    return np.repeat(np.repeat(image, factor, 0), factor, 1)
