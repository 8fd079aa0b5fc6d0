"""Image files that a user names, decoded by threads in the order in which they are named."""

import glob
import itertools
import os
import re
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Deque, Iterator, List, Sequence, Tuple, Union

import cv2
import numpy as np

from imagenet_trainer.data.images.decode import decode, read_file
from imagenet_trainer.data.views import ViewTransform
from imagenet_trainer.errors import InputError
from imagenet_trainer.system.files import file_error, is_hidden

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm")
"""Files of a folder that are taken for images, in small and capital letters."""

_ERRORS = 2  # OpenCV's level that keeps its warnings of damaged images away


@dataclass(frozen=True)
class Found:
    """A file, and whether the user named it (or it was in a folder or matched a pattern)."""

    path: str
    named: bool


@dataclass(frozen=True)
class Decoded:
    """The views of a file uint8 (places x height, width, 3), and its own height and width."""

    path: str
    views: np.ndarray
    size: Tuple[int, int]


def find_images(words: Sequence[str]) -> List[Found]:
    """The files that a user's words name: files, folders with all below them, patterns.

    Folders and patterns are sorted. Raises InputError for a URL, a file that is not there, a
    folder without images or a pattern that nothing matches.
    """
    found: List[Found] = []
    for word in words:
        if re.match(r"[A-Za-z][\w+.-]*://", word):
            raise InputError(f"{word}: is a URL; download the image and name the file")
        if os.path.isdir(word):
            files = _below(word)
            if not files:
                raise InputError(f"{word}: has no images in it ({' '.join(ENDINGS)})")
            found += (Found(path, False) for path in files)
        elif glob.has_magic(word) and not os.path.exists(word):
            paths = sorted(glob.glob(word, recursive=True))
            files = [path for path in paths if os.path.isfile(path)]
            if not files:
                raise InputError(f"{word}: no file matches")
            found += (Found(path, False) for path in files)
        else:
            try:
                os.stat(word)
            except OSError as error:
                raise file_error(word, error) from error
            found.append(Found(word, True))
    return found


def _below(folder: str) -> List[str]:
    paths: List[str] = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(one for one in folders if not is_hidden(one))
        images = (one for one in sorted(names) if one.lower().endswith(ENDINGS))
        paths += (os.path.join(place, one) for one in images if not is_hidden(one))
    return paths


def read_image(path: str) -> np.ndarray:
    """Decode an image file of any kind that packing takes, uint8 (height, width, 3) RGB.

    InputError when it cannot be read, is none, or is not whole.
    """
    try:
        return cv2.cvtColor(decode(read_file(path)), cv2.COLOR_BGR2RGB)
    except ValueError as error:
        raise InputError(f"{path}: {error}; name JPEG, PNG or other image files") from error


def decoded_files(
    found: Sequence[Found], transform: ViewTransform, threads: int, ahead: int
) -> Iterator[Union[Decoded, InputError]]:
    """The views of each file in order, or what is wrong with it.

    `ahead` files are decoded before they are asked for, so memory does not grow with their
    number.
    """
    cv2.setNumThreads(0)  # OpenCV's own threads would compete with ours
    cv2.setLogLevel(_ERRORS)

    def show(path: str) -> Union[Decoded, InputError]:
        try:
            image = read_image(path)
        except InputError as error:
            return error
        views = np.empty((*transform.size, 3), np.uint8)
        transform.apply(image, None, 0, views)
        return Decoded(path, views, (image.shape[0], image.shape[1]))

    coming = iter(found)
    waiting: Deque[Future] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for one in itertools.islice(coming, ahead):
                waiting.append(pool.submit(show, one.path))
            while waiting:
                done = waiting.popleft().result()
                waiting.extend(pool.submit(show, one.path) for one in itertools.islice(coming, 1))
                yield done
        finally:
            for future in waiting:
                future.cancel()
