"""idx files of MNIST and of the sets that took over its format: Fashion-MNIST, KMNIST, EMNIST.

`train-images-idx3-ubyte` has grey images, `train-labels-idx1-ubyte` beside it their labels; `.gz`
at the end: compressed. Both begin with a magic number and with the lengths of their axes, big
endian. `classes.txt` beside them has the names of the classes, a line each.

Format: Yann LeCun, Corinna Cortes, Christopher Burges, "The MNIST database of handwritten digits",
yann.lecun.com/exdb/mnist; Fashion-MNIST: Xiao, Rasul and Vollgraf 2017, arXiv:1708.07747.
"""

import gzip
import hashlib
import os
import re
import zlib
from typing import Dict, Iterator, List, Sequence, Tuple

import cv2
import numpy as np

from imagenet_trainer.errors import InputError
from imagenet_trainer.packing.classes import class_ids_beside
from imagenet_trainer.packing.formats.samples import NumberedCollection
from imagenet_trainer.system.files import file_error

KIND = "idx"
_NAME = re.compile(r"(.*)(images|labels)([-.]idx)([13])(-ubyte(?:\.gz)?)", re.IGNORECASE)
_PARTNER = {"images": ("labels", "1"), "labels": ("images", "3")}
_UBYTE = 0x08  # in the third byte of the magic number; the fourth is the number of axes
_MOST_BYTES = 4 << 30  # of a file, unpacked
# The labels of Fashion-MNIST, of which no file has the names: SHA-256 of both unpacked files.
_FASHION_LABELS = (
    "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",  # train
    "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",  # t10k
)
_FASHION = (
    "t-shirt-top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag",
    "ankle-boot",
)  # fmt: skip


def has_name(path: str) -> bool:
    """Whether the name of a file is that of an idx file of images or of labels."""
    return _NAME.fullmatch(os.path.basename(path)) is not None


class Idx(NumberedCollection):
    """Images of idx files, in their order; a path is FILE/NUMBER.png.

    The images are encoded as PNG, which loses nothing. A file is read whole, when it is opened:
    MNIST's have 47 MB.
    """

    kind = KIND

    def __init__(self, paths: Sequence[str]):
        pairs = sorted({_pair(path) for path in paths})
        super().__init__([images for images, _ in pairs])
        self.paths = [path for pair in pairs for path in pair]
        self._images: Dict[str, np.ndarray] = {}  # uint8 (images, height, width), by file
        self._labels: Dict[str, np.ndarray] = {}  # uint8 (images,)
        for images_path, labels_path in pairs:
            images, labels = _read(images_path, 3), _read(labels_path, 1)
            if len(images) != len(labels):
                raise InputError(
                    f"{images_path}: has {len(images):,} images, but {labels_path} has "
                    f"{len(labels):,} labels; give files of one set"
                )
            self._images[images_path], self._labels[images_path] = images, labels

    def images(self) -> Iterator[Tuple[str, int]]:
        """See Collection."""
        for path, labels in self._labels.items():
            for number, label in enumerate(labels.tolist()):
                yield f"{os.path.basename(path)}/{number:08d}.png", label

    def read(self, path: str) -> bytes:
        """The image of a path, encoded as PNG."""
        file, number = self._locate(path)
        return bytes(cv2.imencode(".png", self._images[file][number])[1])

    def class_names(self, examples: Dict[int, str]) -> Dict[int, str]:
        """The names in classes.txt, those of Fashion-MNIST, or the labels as text."""
        names = class_ids_beside(self.paths[0], max(examples))
        if names:
            return dict(enumerate(names))
        files = (_header(labels) + labels.tobytes() for labels in self._labels.values())
        if {hashlib.sha256(file).hexdigest() for file in files} <= {*_FASHION_LABELS}:
            return dict(enumerate(_FASHION))
        return {label: str(label) for label in range(max(examples) + 1)}

    def _end(self, file: str) -> int:
        return len(self._images[file])


def _pair(path: str) -> Tuple[str, str]:
    """The file of the images and that of the labels, of which `path` is one."""
    folder, name = os.path.split(path)
    match = _NAME.fullmatch(name)
    assert match is not None  # has_name
    start, kind, middle, _, end = match.groups()
    other, axes = _PARTNER[kind.lower()]
    other = other.upper() if kind.isupper() else other
    partner = os.path.join(folder, start + other + middle + axes + end)
    if not os.path.isfile(partner):
        raise InputError(f"{path}: {os.path.basename(partner)} is missing beside it; copy it there")
    return (path, partner) if kind.lower() == "images" else (partner, path)


def _header(labels: np.ndarray) -> bytes:
    """What a file of these labels begins with."""
    return bytes([0, 0, _UBYTE, 1]) + len(labels).to_bytes(4, "big")


def _read(path: str, axes: int) -> np.ndarray:
    """The array of a file, uint8 with this number of axes; InputError if it is damaged."""
    size = 4 + 4 * axes
    try:
        with gzip.open(path) if path.lower().endswith(".gz") else open(path, "rb") as file:
            head = file.read(size)
            if len(head) < size or head[:4] != bytes([0, 0, _UBYTE, axes]):
                kind = "1 axis" if axes == 1 else f"{axes} axes"
                raise InputError(f"{path}: is no idx file of bytes with {kind}; download it again")
            shape: List[int] = np.frombuffer(head, ">u4", offset=4).tolist()
            length = int(np.prod(shape, dtype=object))
            if not 0 < length <= _MOST_BYTES:
                raise InputError(
                    f"{path}: its header has {' x '.join(map(str, shape))} bytes; files of 1 to "
                    f"{_MOST_BYTES:,} are read"
                )
            data = file.read(length + 1)  # a file that unpacks to more is not read further
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path}: cannot be unpacked ({error}); download it again") from error
    except OSError as error:
        raise file_error(path, error) from error
    if len(data) != length:
        found = "more" if len(data) > length else f"only {len(data):,}"
        raise InputError(
            f"{path}: its header has {length:,} bytes, the file has {found}; download it again"
        )
    return np.frombuffer(data, np.uint8).reshape(shape)
