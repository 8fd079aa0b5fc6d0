"""Image files named by a user, decoded by threads in order."""

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

from imagenet_trainer.config import commands
from imagenet_trainer.data.images.decode import decode, decode_in_own_threads, read_file
from imagenet_trainer.data.images.opencv import call
from imagenet_trainer.data.kinds import EXTENSIONS
from imagenet_trainer.data.views import ViewTransform
from imagenet_trainer.errors import InputError
from imagenet_trainer.system.files import file_error, walk

# Files that have images in them, by their extensions: what they are, and the way out.
_NO_IMAGES = {
    (
        ".tar",
        ".tar.gz",
        ".tgz",
        ".zip",
    ): "an archive; unpack it and give the folder, or pack it for "
    f"evaluate: {commands.PACK} reads tars as they are",
    (".rec",): "a shard; give it to evaluate with --data-val",
}


class UnusableImage(InputError):
    """A file is not an image, or a damaged one."""


@dataclass(frozen=True)
class ImageFile:
    """A file, and whether the user named it (or it is in a folder or matches a pattern)."""

    path: str
    named: bool


@dataclass(frozen=True)
class ImageViews:
    """The views of a file, uint8 (positions x height, width, 3), and its own height and width."""

    path: str
    views: np.ndarray
    size: Tuple[int, int]


def find_images(paths: Sequence[str]) -> List[ImageFile]:
    """The image files of several paths: files, folders with their subfolders, glob patterns.

    Folders and patterns are sorted. Raises InputError for a URL, a missing file, an archive or a
    shard, a folder without images, and a pattern that matches nothing.
    """
    files: List[ImageFile] = []
    for path in paths:
        if re.match(r"[A-Za-z][\w+.-]*://", path):
            raise InputError(f"{path}: is a URL; download the image and give its path")
        if os.path.isdir(path):
            inside = _below(path)
            if not inside:
                raise InputError(f"{path}: has no images ({' '.join(EXTENSIONS)})")
            files += (ImageFile(one, False) for one in inside)
        elif glob.has_magic(path) and not os.path.exists(path):
            matches = filter(os.path.isfile, sorted(glob.glob(path, recursive=True)))
            matching = [ImageFile(one, False) for one in matches]
            if not matching:
                raise InputError(f"{path}: no file matches")
            files += matching
        else:
            try:
                os.stat(path)
            except OSError as error:
                raise file_error(path, error) from error
            for endings, what in _NO_IMAGES.items():
                if path.lower().endswith(endings):
                    raise InputError(f"{path}: is not an image but {what}")
            files.append(ImageFile(path, True))
    return files


def _below(root: str) -> List[str]:
    """The images below a folder, in any case of their extensions."""
    names = (os.path.join(folder, one) for folder, names in walk(root) for one in names)
    return [one for one in names if one.lower().endswith(EXTENSIONS)]


def read_image(path: str) -> np.ndarray:
    """Decode an image file of any format that can be packed, uint8 (height, width, 3) RGB.

    Raises UnusableImage if it cannot be read or decoded, or is cut short; InputError if no file can
    be read.
    """
    try:
        return call(cv2.cvtColor, decode(read_file(path)), cv2.COLOR_BGR2RGB)
    except ValueError as error:
        raise UnusableImage(f"{path}: {error}; give JPEG, PNG or other image files") from error


def decoded_files(
    files: Sequence[ImageFile], transform: ViewTransform, threads: int, ahead: int
) -> Iterator[Union[ImageViews, UnusableImage]]:
    """The views of each file in order, or an error for a file that cannot be decoded.

    At most `ahead` files are decoded in advance, so memory does not grow with their number. Raises
    InputError if no file can be read.
    """
    decode_in_own_threads()

    def views_of(path: str) -> Union[ImageViews, UnusableImage]:
        try:
            image = read_image(path)
        except UnusableImage as error:
            return error
        views = np.empty((*transform.size, 3), np.uint8)
        try:
            transform.apply(image, None, 0, views)
        except ValueError as error:
            return UnusableImage(f"{path}: {error}")
        return ImageViews(path, views, (image.shape[0], image.shape[1]))

    remaining = iter(files)
    submitted: Deque[Future] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for one in itertools.islice(remaining, ahead):
                submitted.append(pool.submit(views_of, one.path))
            while submitted:
                result = submitted.popleft().result()
                for one in itertools.islice(remaining, 1):
                    submitted.append(pool.submit(views_of, one.path))
                yield result
        finally:
            for future in submitted:
                future.cancel()
