r"""Image lists, `.lst` files, written and read.

A line is `index \t label [\t label ...] \t relative/path`, as MXNet's im2rec.py writes it.
"""

import codecs
import io
import math
import os
from dataclasses import dataclass, replace
from typing import Dict, Iterable, Iterator, List, Sequence, Set, Tuple

from imagenet_trainer.data.records.storage import exists, open_binary
from imagenet_trainer.errors import InputError
from imagenet_trainer.system.files import AnyPath, atomic_write, file_error

_MOST = (2 - 2.0**-24) * 2.0**127  # from here on float32, as which labels are stored, is infinite
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True)
class ImageList:
    """The lines of a list, in columns.

    Attributes
    ----------
    indices
        the records' keys and ids, unique, 0 or more.
    labels
        one or more labels for each image.
    paths
        relative to the folder of the images.

    """

    indices: Sequence[int]
    labels: Sequence[Tuple[float, ...]]
    paths: Sequence[str]

    def __len__(self) -> int:
        return len(self.indices)

    def with_one_label(self, index: int = 0) -> "ImageList":
        """The list with one label of each image only, by default the first.

        Raises InputError for the first image that does not have it.
        """
        for path, labels in zip(self.paths, self.labels):
            if index >= len(labels):
                raise InputError(f"{path}: has {len(labels)} labels and none of index {index}")
        return replace(self, labels=[(labels[index],) for labels in self.labels])


def write_list(name: AnyPath, lines: Iterable[Tuple[int, float, str]]) -> None:
    """Write (index, label, path) as the lines of a list, atomically."""
    with atomic_write(name) as file:
        for index, label, path in lines:
            file.write(b"%d\t%f\t%s\n" % (index, label, os.fsencode(path)))


def read_list(path: AnyPath) -> ImageList:
    """Read a list.

    Raises InputError with file and line number for a malformed line, a repeated index, and a path
    that is absolute or leads out of the images' folder by `..`.
    """
    name = os.fspath(path)
    indices: List[int] = []
    labels: List[Tuple[float, ...]] = []
    paths: List[str] = []
    seen: Set[int] = set()
    known: Dict[str, Tuple[float, ...]] = {}  # parsed labels: a thousand tuples, not a million
    for number, line in _numbered_lines(path):
        if not line.strip():
            continue
        try:
            index, values, image = _parse_line(line, known)
            if index in seen:
                raise ValueError(f"index {index} is used twice")
        except ValueError as error:
            raise InputError(f"{name}: line {number}: {error}") from None
        seen.add(index)
        indices.append(index)
        labels.append(values)
        paths.append(image)
    if not indices:
        raise InputError(f"{name}: the list is empty; make it again")
    return ImageList(indices, labels, paths)


def paths_by_key(path: AnyPath) -> Dict[int, str]:
    """The paths of a list by their keys, {} if it does not exist; raises as `read_list` does."""
    if not exists(path):
        return {}
    images = read_list(path)
    return dict(zip(images.indices, images.paths))


def _numbered_lines(path: AnyPath) -> Iterator[Tuple[int, str]]:
    try:
        with open_binary(path) as raw:
            if raw.read(2) in _UTF_16:
                raise InputError(f"{os.fspath(path)}: is UTF-16 text; save it as UTF-8")
            raw.seek(0)
            # File names may hold bytes that are not UTF-8; this keeps them unchanged. Some editors
            # begin UTF-8 with a byte order mark.
            yield from enumerate(io.TextIOWrapper(raw, "utf-8-sig", "surrogateescape", "\n"), 1)
    except OSError as error:
        raise file_error(path, error) from error


def _parse_line(
    line: str, known: Dict[str, Tuple[float, ...]]
) -> Tuple[int, Tuple[float, ...], str]:
    """Index, labels and path of a line; ValueError with the reason if it is malformed."""
    first, tab, rest = line.partition("\t")
    middle, another_tab, path = rest.rpartition("\t")
    if not tab or not another_tab:
        raise ValueError("fewer than two tabs; a line is `index<TAB>label<TAB>path`")
    try:
        index = int(first)
    except ValueError:
        raise ValueError(f"index {first.strip()!r} is not a whole number") from None
    if not 0 <= index < 1 << 63:
        raise ValueError(f"index {index} is not from 0 to 2^63 - 1")
    if middle not in known:
        known[middle] = tuple(map(_label, middle.split("\t")))
    path = path.strip()
    normal = os.path.normpath(path)
    if not path or normal == ".":
        raise ValueError("the path is empty")
    if os.path.isabs(path) or normal.split(os.sep)[0] == "..":
        raise ValueError(f"{path} is outside the images' folder; paths are relative to it")
    return index, known[middle], path


def _label(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) < _MOST:
        raise ValueError(f"label {text.strip()!r} is not a number")
    return value
