"""Images wherever they are (a folder tree, a tar, a list, packed shards) as one sequence 0..N-1.

For tools that look at images before or after packing. Where an image cannot be looked at, the
methods raise ValueError with the reason; nothing about a single image raises anything else.
"""

import os
from typing import Dict, Iterator, List, NamedTuple, Protocol, Sequence, Set, Tuple, Union

from imagenet_trainer.data.images.headers import Header, read_header
from imagenet_trainer.data.images.source import Folder, Tar, open_root
from imagenet_trainer.data.records.lst import read_list
from imagenet_trainer.data.records.manifest import (
    ClassName,
    class_of,
    folders_of_classes,
    name_classes,
    read_manifest,
)
from imagenet_trainer.data.records.recordio import RecordError, unpack
from imagenet_trainer.data.records.shards import Shards, find_shards
from imagenet_trainer.errors import InputError
from imagenet_trainer.system.files import check_folder, is_hidden

NO_CLASS = -1
# Of a record, read first: most headers are shorter, and a disk reads no less at a time.
_FIRST_BYTES = 16 << 10


class Look(NamedTuple):
    """What is known of an image without decoding it; `size` in bytes, label -1 for none."""

    label: int
    size: int
    header: Header


class Source(Protocol):
    """A sequence of images with classes; its methods may be called from any thread."""

    classes: Tuple[ClassName, ...]

    def __len__(self) -> int:
        """How many images."""

    def name(self, number: int) -> str:
        """Path or place of an image."""

    def look(self, number: int) -> Look:
        """Label, bytes and header; ValueError with the reason if there are none."""

    def read(self, number: int) -> bytes:
        """The encoded image; ValueError with the reason if it cannot be read."""


def open_source(value: str, root: str = "") -> Source:
    """Images of a folder, a tar, a list `x.lst` of files below or in `root`, or shards `x.rec`.

    Raises InputError naming what is not there or cannot be read.
    """
    if value.endswith(".lst"):
        return _listed(value, root)
    if root:
        raise InputError(f"--root {root}: goes with a list; {value} is none")
    if os.path.isdir(value):
        return _below(value)
    if value.lower().endswith(".tar"):
        return _in_tar(value)
    if ".rec" not in value:
        raise InputError(f"{value}: no folder; give a folder or tar, a list x.lst, or shards x.rec")
    return Packed(value)


# --- files -------------------------------------------------------------------------------------


class Files:
    """Image files below a folder, or in a tar."""

    def __init__(
        self,
        root: Union[Folder, Tar],
        paths: Sequence[str],
        labels: Sequence[int],
        classes: Tuple[ClassName, ...],
    ):
        self._root, self.paths, self.labels, self.classes = root, paths, labels, classes

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, number: int) -> str:
        """Path below the folder."""
        return self.paths[number]

    def look(self, number: int) -> Look:
        """See Source."""
        size = self._root.size(self.paths[number])
        if not size:
            raise ValueError("the file is empty")
        with self._root.open(self.paths[number]) as file:
            return Look(self.labels[number], size, read_header(file))

    def read(self, number: int) -> bytes:
        """See Source."""
        return self._root.read(self.paths[number])


def _below(root: str) -> Files:
    """All files of a tree but hidden ones; every folder that holds some is a class."""
    check_folder(root)
    paths: List[str] = []
    folders: Dict[str, int] = {}
    labels: List[int] = []
    for folder, names in _walk(root, "", set()):
        label = folders.setdefault(folder, len(folders))
        paths += [os.path.join(folder, name) for name in names]
        labels += [label] * len(names)
    if not paths:
        raise InputError(f"{root}: the folder holds no files")
    classes = name_classes([folder or "." for folder in folders])
    return Files(open_root(root), paths, labels, classes)


def _in_tar(path: str) -> Files:
    """All files of a tar but hidden ones, as `_below` has them of the folder unpacked from it."""
    tar = Tar(path)
    names = [one for one in tar.names() if not is_hidden(one)]
    if not names:
        raise InputError(f"{path}: the tar holds no files")
    names.sort(key=lambda name: (os.path.dirname(name).split("/"), name))
    found = dict.fromkeys(map(os.path.dirname, names))
    label = {folder: number for number, folder in enumerate(found)}
    labels = [label[os.path.dirname(name)] for name in names]
    return Files(tar, names, labels, name_classes([folder or "." for folder in found]))


def _walk(root: str, folder: str, above: Set[Tuple[int, int]]) -> Iterator[Tuple[str, List[str]]]:
    """(folder, names of its files), sorted; links are followed, but not in a circle."""
    here = os.path.join(root, folder)
    status = os.stat(here)
    identity = (status.st_dev, status.st_ino)
    if identity in above:
        return
    try:
        with os.scandir(here) as entries:
            # isdir() takes a link to itself for no folder, where the entry's own is_dir() raises.
            found = sorted(
                (entry.name, os.path.isdir(entry.path))
                for entry in entries
                if not is_hidden(entry.name)
            )
    except OSError as error:
        raise InputError(f"{here}: {error.strerror}; allow reading it, or move it away") from error
    names = [name for name, is_folder in found if not is_folder]
    if names:
        yield folder, names
    for name, is_folder in found:
        if is_folder:
            yield from _walk(root, os.path.join(folder, name), above | {identity})


def _listed(path: str, root: str) -> Files:
    if not root:
        raise InputError(f"{path}: give --root too, the folder or tar that its paths begin in")
    if not os.path.isfile(root):
        check_folder(root)
    images = read_list(path)
    labels = [class_of(each) for each in images.labels]
    classes = name_classes(folders_of_classes([images]))
    known = [NO_CLASS if label is None else label for label in labels]
    return Files(open_root(root), images.paths, known, classes or _numbered(known))


# --- shards ------------------------------------------------------------------------------------


class Packed:
    """Images in shards. Labels are in the records: they are known once an image is looked at."""

    def __init__(self, value: str):
        paths = find_shards(value)
        self.shards = Shards(paths)
        manifest = read_manifest(paths[0])
        self.classes = () if manifest is None else manifest.classes

    def __len__(self) -> int:
        return len(self.shards)

    def name(self, number: int) -> str:
        """Shard and record."""
        path, record = self.shards.locate(number)
        return f"{os.path.basename(path)}:{record}"

    def look(self, number: int) -> Look:
        """See Source."""
        try:
            data, length = self.shards.head(number, _FIRST_BYTES)
            try:
                record = unpack(data)
                header = read_header(record.image)
            except ValueError:  # a longer header, with a preview or a colour profile
                data = self.shards.read(number)
                record = unpack(data)
                header = read_header(record.image)
        except (RecordError, OSError) as error:
            raise ValueError(_reason(error)) from error
        label = class_of(record.labels)
        size = length - (len(data) - len(record.image))
        return Look(NO_CLASS if label is None else label, size, header)

    def read(self, number: int) -> bytes:
        """See Source."""
        try:
            return bytes(self.shards.record(number).image)
        except RecordError as error:
            raise ValueError(_reason(error)) from error


def _reason(error: Exception) -> str:
    return error.reason if isinstance(error, RecordError) else str(error)


def _numbered(labels: Sequence[int]) -> Tuple[ClassName, ...]:
    """Names for labels without names, as far as there are any."""
    return name_classes([None] * (max(labels, default=NO_CLASS) + 1))
