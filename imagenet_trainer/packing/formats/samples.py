"""What the formats share: a set of images, an image of a pack, names of files, parts of a set."""

import os
import re
from abc import ABC, abstractmethod
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Sequence, Tuple

import numpy as np

from imagenet_trainer.errors import InputError

NOT_HERE = "is not in these files; make the list again"
_PATH = re.compile(r"([^/]+)/(\d{1,18})(?=[/.]|$)")


class Collection(ABC):
    """Images with labels in files of another program, in the order of these.

    Methods raise InputError for damaged files; `read` raises ValueError with the reason.
    """

    kind: str
    note = ""  # what the user should know after `images`; "" if there is nothing

    def __init__(self, paths: Sequence[str]):
        """Raises InputError if two files have one name."""
        self.paths = [*paths]
        self._by_name: Dict[str, str] = {}
        for path in paths:
            other = self._by_name.setdefault(os.path.basename(path), path)
            if other != path:
                raise InputError(f"{path}: has the name of {other}; pack them from one folder")

    @abstractmethod
    def images(self) -> Iterator[Tuple[str, int]]:
        """The path of every image, as lists have it, and its label, from 0."""

    @abstractmethod
    def _locate(self, path: str) -> Tuple[Any, Any]:
        """Where the image of a path is; ValueError with the reason if there is none."""

    @abstractmethod
    def read(self, path: str) -> bytes:
        """The encoded image of a path."""

    @abstractmethod
    def class_names(self, examples: Dict[int, str]) -> Dict[int, str]:
        """The names of classes by label, where they have some, from an image of each."""

    def __contains__(self, path: object) -> bool:
        try:
            self._locate(str(path))
        except ValueError:
            return False
        return True


class NumberedCollection(Collection):
    """A collection in which an image has a number in its file; a path begins with FILE/NUMBER."""

    @abstractmethod
    def _end(self, file: str) -> int:
        """What the numbers in a file are below; ValueError if it is damaged."""

    def _locate(self, path: str) -> Tuple[str, int]:
        match = _PATH.match(path)
        file = self._by_name.get(match[1]) if match else None
        if match is None or file is None or int(match[2]) >= self._end(file):
            raise ValueError(NOT_HERE)
        return file, int(match[2])


class Sample(NamedTuple):
    """An image on its way out of a pack."""

    name: str  # of its file, unique in the pack
    data: bytes  # encoded
    label: int


class Part(NamedTuple):
    """A file of a set in several: its images are `first` to `end` - 1."""

    number: int
    first: int
    end: int


Read = Callable[[Part], Iterator[Sample]]


def parts_of(sizes: np.ndarray, most_images: int, most_bytes: int) -> List[Part]:
    """The files of images with these sizes in bytes, int64 (images,), each within the limits."""
    parts: List[Part] = []
    first = size = 0
    for number, one in enumerate([*sizes.tolist()]):
        if number > first and (number - first >= most_images or size + one > most_bytes):
            parts.append(Part(len(parts), first, number))
            first, size = number, 0
        size += one
    return [*parts, Part(len(parts), first, len(sizes))]


def safe_name(name: str, default: str) -> str:
    """The last part of a name from outside, as a list can hold it; `default` if nothing is left."""
    last = re.sub(r"[\x00-\x1f\x7f]", "_", os.path.basename(name.replace("\\", "/"))).strip()
    return default if last in ("", ".", "..") else last


def exists_differently(path: str) -> InputError:
    """The error for a file that is there and has other content."""
    return InputError(f"{path}: exists with other content; give another folder")
