"""The images of a folder tree, a tar, a list or packed shards, as one sequence 0 to N - 1.

For commands that inspect images before or after packing. For an image that cannot be read, the
methods raise ValueError with the reason; a single image never raises another error.
"""

import contextlib
import os
from dataclasses import replace
from typing import NamedTuple, Optional, Sequence, Tuple, Union

import cv2
import numpy as np

from imagenet_trainer.config import commands
from imagenet_trainer.data.augment import decode
from imagenet_trainer.data.dataset import read_manifests
from imagenet_trainer.data.images.decode import decode as decode_file
from imagenet_trainer.data.images.headers import Header, read_header
from imagenet_trainer.data.images.opencv import call
from imagenet_trainer.data.images.source import Folder, open_root
from imagenet_trainer.data.images.tars import TarImages
from imagenet_trainer.data.records.headers import keep_images
from imagenet_trainer.data.records.lst import read_list
from imagenet_trainer.data.records.manifest import (
    ClassName,
    class_of,
    folders_of_classes,
    name_classes,
)
from imagenet_trainer.data.records.record_file import RecordError
from imagenet_trainer.data.records.recordio import unpack
from imagenet_trainer.data.records.sequential import index_of
from imagenet_trainer.data.records.shards import Shards, find_shards
from imagenet_trainer.data.records.storage import refuse_url
from imagenet_trainer.errors import InputError
from imagenet_trainer.system.files import check_folder, file_error, is_hidden, walk
from imagenet_trainer.system.object_storage import is_url

NO_CLASS = -1
# The part of a record that is read first: most headers are shorter, and a disk reads no less.
_FIRST_BYTES = 16 << 10


class ImageInfo(NamedTuple):
    """Properties of an image that need no decoding; label -1 for none, size in bytes."""

    label: int
    size: int
    header: Header


def open_source(value: str, root: str = "", label_index: Optional[int] = None) -> "ImageSource":
    """Open a folder of images or of shards, a tar, a list `x.lst` of files in `root`, or shards.

    Shards may be URLs of objects. Only a list has a `root`. `label_index` selects one of several
    labels. Raises InputError with the name of what cannot be read or has no images.
    """
    if is_url(value) and not value.endswith((".lst", ".tar")):
        return Packed(value, label_index)
    refuse_url(value, "only shards are read from there; copy it to this machine")
    if value.endswith(".lst"):
        return _open_list(value, root, label_index)
    if os.path.isdir(value):
        check_folder(value)
        has_shards = any(name.endswith(".rec") for name in os.listdir(value))
        return Packed(value, label_index) if has_shards else _open_folder(value)
    if value.lower().endswith((".tar", ".tar.gz", ".tgz")):  # a compressed one has a way out
        return _open_tar(value)
    if ".rec" not in value:
        raise InputError(f"{value}: no such folder; give a folder, a tar, a list or shards")
    return Packed(value, label_index)


# --- files -------------------------------------------------------------------------------------


class Files:
    """Image files in a folder or a tar; its methods are thread-safe."""

    note = ""

    def __init__(
        self,
        root: Union[Folder, TarImages],
        paths: Sequence[str],
        labels: Sequence[int],
        classes: Tuple[ClassName, ...],
    ):
        self._root, self.paths, self.labels, self.classes = root, paths, labels, classes

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, number: int) -> str:
        """Path relative to the folder."""
        return self.paths[number]

    def info(self, number: int) -> ImageInfo:
        """Label, size and header."""
        size = self._root.size(self.paths[number])
        if not size:
            raise ValueError("the file is empty")
        with self._root.open(self.paths[number]) as file:
            return ImageInfo(self.labels[number], size, read_header(file))

    def read(self, number: int) -> bytes:
        """The encoded image."""
        return self._root.read(self.paths[number])

    @staticmethod
    def pixels(data: bytes) -> np.ndarray:
        """What `read` returned as training sees it once packed, uint8 RGB (height, width, 3)."""
        return call(cv2.cvtColor, decode_file(data), cv2.COLOR_BGR2RGB)


def _open_folder(root: str) -> Files:
    """All files of a tree except hidden ones; every folder with files is a class."""
    check_folder(root)

    def unreadable(error: OSError) -> None:
        raise file_error(error.filename, error, "allow reading it, or move it away") from error

    folders = [pair for pair in walk(root, unreadable) if pair[1]]
    if not folders:
        raise InputError(f"{root}: the folder contains no files")
    classes = [os.path.relpath(folder, root) for folder, _ in folders]
    paths, labels = [], []
    for label, (_, names) in enumerate(folders):
        inside = "" if classes[label] == "." else classes[label]
        paths += [os.path.join(inside, name) for name in names]
        labels += [label] * len(names)
    return Files(open_root(root), paths, labels, name_classes(classes))


def _open_tar(path: str) -> Files:
    """All files of a tar except hidden ones, like `_open_folder` for the unpacked folder."""
    tar = TarImages(path)
    names = [one for one in tar.names() if not is_hidden(one)]
    if not names:
        raise InputError(f"{path}: the tar contains no files")
    names.sort(key=lambda name: (os.path.dirname(name).split("/"), name))
    folders = dict.fromkeys(map(os.path.dirname, names))
    label = {folder: number for number, folder in enumerate(folders)}
    labels = [label[os.path.dirname(name)] for name in names]
    return Files(tar, names, labels, name_classes([folder or "." for folder in folders]))


def _open_list(path: str, root: str, label_index: Optional[int]) -> Files:
    if not os.path.isfile(root):
        check_folder(root)
    images = read_list(path)
    if label_index is not None:
        images = replace(images, labels=[_selected(one, label_index) for one in images.labels])
    labels = [class_of(each) for each in images.labels]
    classes = name_classes(folders_of_classes([images]))
    known = [NO_CLASS if label is None else label for label in labels]
    return Files(open_root(root), images.paths, known, classes or _numbered(known))


# --- shards ------------------------------------------------------------------------------------


class Packed:
    """Images in shards; its methods are thread-safe. `info` has to read labels from the records.

    `note` is what the user should know; "" if there is nothing.
    """

    def __init__(self, value: str, label_index: Optional[int] = None):
        paths = find_shards(value)
        self.shards = Shards(paths, [index_of(path)[0] for path in paths], label_index)
        manifests = [*read_manifests(value, paths, any_labels=True).values()]
        self.classes = manifests[0].classes if manifests else ()
        self.note = ""
        with contextlib.suppress(RecordError):  # damaged records are listed with the others
            if not manifests:
                keep_images(self.shards)
            labels = len(self.shards.record(0).labels)
            if labels > 1 and label_index is None:
                advice = f"{commands.label_index(labels)} makes one the class"
                self.note = f"the records have {labels} labels; {advice}"

    def __len__(self) -> int:
        return len(self.shards)

    def name(self, number: int) -> str:
        """Shard and record."""
        path, record = self.shards.locate(number)
        return f"{os.path.basename(path)}:{record}"

    def info(self, number: int) -> ImageInfo:
        """Label, size and header."""
        try:
            data, length = self.shards.head(number, _FIRST_BYTES)
            try:
                record = unpack(data)
                header = read_header(record.image)
            except ValueError:  # a longer header, for example with a preview or a colour profile
                data = self.shards.read(number)
                record = unpack(data)
                header = read_header(record.image)
        except RecordError as error:
            raise ValueError(error.reason) from error
        index = self.shards.label_index
        label = class_of(record.labels if index is None else _selected(record.labels, index))
        size = length - (len(data) - len(record.image))
        return ImageInfo(NO_CLASS if label is None else label, size, header)

    def read(self, number: int) -> bytes:
        """The encoded image."""
        try:
            return bytes(self.shards.record(number).image)
        except RecordError as error:
            raise ValueError(error.reason) from error

    @staticmethod
    def pixels(data: bytes) -> np.ndarray:
        """What `read` returned as training sees it, uint8 RGB (height, width, 3)."""
        return decode(data)


ImageSource = Union[Files, Packed]


def _selected(labels: Sequence[float], index: int) -> Tuple[float, ...]:
    """One of several labels; -1, which is no class, where it is not there."""
    return (labels[index] if index < len(labels) else NO_CLASS,)


def _numbered(labels: Sequence[int]) -> Tuple[ClassName, ...]:
    """Numbered classes for labels without names."""
    return name_classes([None] * (max(labels, default=NO_CLASS) + 1))
