"""Small JPEGs of images in shards: inside a page, or as files beside it."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Dict, Iterable, NamedTuple, Optional

import cv2
import numpy as np

from imagenet_trainer.data.images.decode import decode, decode_in_own_threads
from imagenet_trainer.data.images.opencv import call, imencode
from imagenet_trainer.data.records.shards import Shards
from imagenet_trainer.errors import InputError
from imagenet_trainer.system.files import file_error, make_folder
from imagenet_trainer.viz import html

SIDE = 144  # pixels of the longer side at most
_QUALITY = 80
_SMALL = 72  # smaller images are enlarged, pixel by pixel
NO_FILE = 0xFFFFFFFF
"""The number of an image without a file; NUMBERS below it are record numbers."""


class Thumbnails(NamedTuple):
    """A folder of thumbnails beside a page: FOLDER/00012/00012345.jpg is that of record 12,345."""

    folder: Path
    files: np.ndarray  # int64 (n,): the number in the file name of each image, or NO_FILE


def thumbnails(shards: Shards, keys: np.ndarray, positions: Iterable[int]) -> Dict[int, str]:
    """Data URIs of images by their position in `keys`, int64 (n,), the keys of the .idx.

    Omits images that are missing or cannot be decoded.
    """
    records, uris = records_of(shards, keys), {}
    for position in sorted(set(positions)):
        data = _jpeg(shards, int(records[position])) if records[position] >= 0 else None
        if data:
            uris[position] = html.data_uri(data, "image/jpeg")
    return uris


def records_of(shards: Shards, keys: np.ndarray) -> np.ndarray:
    """The number of the record with each key, int64 (n,); -1 where there is none.

    Several packed files may share keys: the record at the same position is preferred.
    """
    known = shards.keys
    if not len(known):
        return np.full(len(keys), -1)
    order = np.argsort(known, kind="stable")
    found = order[np.searchsorted(known, keys, sorter=order) % len(order)]
    found = np.where(known[found] == keys, found, -1)
    common = min(len(keys), len(known))
    here = np.flatnonzero(known[:common] == keys[:common])
    found[here] = here
    return found


def write_thumbnails(
    shards: Shards, keys: np.ndarray, chosen: np.ndarray, folder: Path, threads: int
) -> Thumbnails:
    """Write the thumbnails of the chosen images, bool (n,), that are not in the folder yet.

    Each appears whole or not at all, so an interrupted call continues where it was. Raises
    InputError when the folder cannot be written. Images that cannot be decoded have no file.
    """
    decode_in_own_threads()
    records = records_of(shards, keys)
    files = np.where(chosen & (records >= 0), records, NO_FILE)
    numbers = np.unique(files[files < NO_FILE])
    for part in np.unique(numbers // 1000):
        make_folder(folder / f"{part:05d}")

    def write(number: int) -> bool:
        path = folder / f"{number // 1000:05d}" / f"{number:08d}.jpg"
        if path.exists():
            return True
        data = _jpeg(shards, number)
        if data is None:
            return False
        # Not synced: a file that a crash of the machine damages is drawn again when it is deleted.
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        try:
            temporary.write_bytes(data)
            os.replace(temporary, path)
        except OSError as error:
            raise file_error(path, error) from error
        return True

    with ThreadPoolExecutor(threads) as pool:
        written = np.fromiter(pool.map(write, numbers.tolist()), bool, len(numbers))
    files[np.isin(files, numbers[~written])] = NO_FILE
    return Thumbnails(folder, files)


def _jpeg(shards: Shards, record: int) -> Optional[bytes]:
    try:
        return jpeg(shards.record(record).image)
    except (InputError, ValueError):
        return None


def jpeg(encoded: memoryview) -> bytes:
    """An encoded image as a small JPEG; raises the errors of `images.decode`."""
    return as_jpeg(small(decode(encoded, 1, short_side=SIDE)))


def as_jpeg(image: np.ndarray) -> bytes:
    """A JPEG of uint8 (height, width, 3) BGR."""
    return imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, _QUALITY)).tobytes()


def data_uri(encoded: memoryview) -> str:
    """An encoded image as a small JPEG in a data URI; raises the errors of `images.decode`."""
    return html.data_uri(jpeg(encoded), "image/jpeg")


def small(image: np.ndarray) -> np.ndarray:
    """Fit uint8 (height, width, 3) into SIDE x SIDE; tiny images are enlarged by an integer."""
    longer = max(image.shape[:2])
    if longer > SIDE:
        size = tuple(max(1, round(side * SIDE / longer)) for side in image.shape[1::-1])
        return call(cv2.resize, image, size, interpolation=cv2.INTER_AREA)
    factor = SIDE // longer if longer < _SMALL else 1
    return np.repeat(np.repeat(image, factor, 0), factor, 1)
