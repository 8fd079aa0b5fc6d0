"""Several shards as one sequence of records, and finding shards by path or URL."""

import bisect
import copy
import fnmatch
import glob
import itertools
import os
import re
from collections import Counter
from typing import Dict, List, Optional, Sequence, Tuple, Union

import numpy as np

from imagenet_trainer.config import commands
from imagenet_trainer.data.records.label_vectors import LabelSummary, LabelVectors
from imagenet_trainer.data.records.manifest import Manifest, manifest_path, read_manifest
from imagenet_trainer.data.records.record_file import Index, RecordError, RecordFile
from imagenet_trainer.data.records.recordio import Record
from imagenet_trainer.data.records.shard_names import shards_named
from imagenet_trainer.errors import InputError
from imagenet_trainer.system.files import AnyPath
from imagenet_trainer.system.machine import allow_open_files
from imagenet_trainer.system.object_storage import check_url, find_object, is_url, list_folder

# The split in the name of a shard: a folder with train.rec and val.rec is not one set.
_SPLIT = re.compile(r"(train|val|test)", re.IGNORECASE)
Label = Union[int, np.ndarray]  # a class, or uint8 (classes,)


class Shards:
    """Several shards as one sequence of records 0..N-1, in the order given.

    Parameters
    ----------
    paths
        `.rec` files.
    indexes
        their indexes, as `RecordFile` takes them, one for each shard; by default those beside the
        shards.
    label_index
        which label of a record is its class, from 0; None: the only one.

    """

    def __init__(
        self,
        paths: Sequence[AnyPath],
        indexes: Sequence[Index] = (),
        label_index: Optional[int] = None,
    ):
        assert len(indexes) in (0, len(paths))
        self.label_index = label_index
        self.files: List[RecordFile] = []
        allow_open_files(len(paths))
        try:
            for path, index in itertools.zip_longest(paths, indexes):
                self.files.append(RecordFile(path, index))
        except BaseException:
            self.close()
            raise
        self._starts = self._starts_of_files()
        # Class of each label of the records, int64 (labels,), where the two differ.
        self.classes_of_labels: Optional[np.ndarray] = None
        # How all labels of a record are read, for images that have several classes.
        self.label_vectors: Optional[LabelVectors] = None
        # The manifests of the shards by their paths.
        self.manifests: Dict[str, Manifest] = {}
        # What decides how they are read, and `Headers.labels`: once the headers of these records
        # were read.
        self.label_summary: Optional[LabelSummary] = None
        self.labels: Optional[np.ndarray] = None

    def _starts_of_files(self) -> List[int]:
        return list(itertools.accumulate(map(len, self.files), initial=0))

    def __len__(self) -> int:
        return self._starts[-1]

    def keep(self, records: Sequence[np.ndarray]) -> None:
        """Leave out all records but these, bool (records,) for each shard."""
        for file, kept in zip(self.files, records):
            file.keep(kept)
        self._starts = self._starts_of_files()
        self.label_summary = self.labels = None

    def part(self, records: np.ndarray) -> "Shards":
        """These records only, int64 (n,) ascending; the part is closed separately."""
        kept = np.zeros(len(self), bool)
        kept[records] = True
        by_file = [kept[a:b] for a, b in zip(self._starts, self._starts[1:])]
        allow_open_files(2 * len(self.files))
        part = copy.copy(self)
        part.files = [file.part(one) for file, one in zip(self.files, by_file) if one.any()]
        part._starts = part._starts_of_files()
        part.label_summary = part.labels = None
        return part

    @property
    def keys(self) -> np.ndarray:
        """Keys of all records, int64 (records,)."""
        return np.concatenate([file.keys for file in self.files])

    def _find(self, record: int) -> Tuple[RecordFile, int]:
        if not 0 <= record < self._starts[-1]:
            raise IndexError(f"record {record} of {self._starts[-1]}")
        shard = bisect.bisect_right(self._starts, record) - 1
        return self.files[shard], record - self._starts[shard]

    def locate(self, record: int) -> Tuple[str, int]:
        """Path of the shard that holds a record, and the record's number there."""
        file, number = self._find(record)
        return file.path, number

    def read(self, record: int) -> memoryview:
        """Payload of a record; see `RecordFile.read`."""
        file, number = self._find(record)
        return file.read(number)

    def head(self, record: int, most: int) -> Tuple[memoryview, int]:
        """The first `most` bytes of a record's payload, and its length; see `RecordFile.head`."""
        file, number = self._find(record)
        return file.head(number, most)

    def record(self, record: int, compare: bool = True) -> Record:
        """Label, id and encoded image of a record; see `RecordFile.record`.

        `compare`: with its checksum, if there is one.
        """
        file, number = self._find(record)
        return file.record(number, file.raw(number, compare))

    def example(self, record: int, num_classes: int) -> Tuple[memoryview, Label, bool]:
        """Encoded image and label of a record, and whether it was compared with a checksum.

        RecordError as `record` and `label_of`.
        """
        file, number = self._find(record)
        found = file.record(number, file.raw(number))
        label = self.label_of(record, found.labels, num_classes)
        return found.image, label, file.has_checksums

    def label_of(self, record: int, labels: Sequence[float], num_classes: int) -> Label:
        """What the labels of a record denote: a class, or with `label_vectors` a vector.

        RecordError if they denote none.
        """
        if self.label_vectors is None:
            return self.class_of(record, labels, num_classes)
        try:
            return self.label_vectors.of(labels, self.classes_of_labels)
        except ValueError as error:
            raise self.error(record, str(error)) from error

    def class_of(self, record: int, labels: Sequence[float], num_classes: int) -> int:
        """The class that the labels of a record denote; RecordError if they denote none."""
        index = self.label_index
        if index is None and len(labels) != 1:
            raise self.error(
                record, f"it has {len(labels)} labels where a classifier takes one; choose one "
                f"with {commands.label_index(len(labels))}; fit, evaluate --multi-label take all",
            )  # fmt: skip
        if index is not None and index >= len(labels):
            raise self.error(
                record, f"it has {len(labels)} labels and none of index {index}; give "
                f"{commands.label_index(len(labels))}",
            )  # fmt: skip
        classes = self.classes_of_labels
        label, known = labels[index or 0], num_classes if classes is None else len(classes)
        if not (label.is_integer() and 0 <= label < known):
            raise self.error(
                record, f"its label {label:g} is not a class of 0 to {known - 1}; correct the "
                "number of classes or pack the set again",
            )  # fmt: skip
        return int(label) if classes is None else int(classes[int(label)])

    def will_need(self, records: np.ndarray) -> None:
        """Ask the system to read records ahead, int64 (n,) in any order; see `read_ahead`."""
        shards = np.searchsorted(self._starts, records, side="right") - 1
        for shard in np.unique(shards).tolist():
            self.files[shard].will_need(records[shards == shard] - self._starts[shard])

    def error(self, record: int, reason: str) -> RecordError:
        """An error that names the position of a record and the reason."""
        file, number = self._find(record)
        return file.error(number, reason)

    def close(self) -> None:
        """Close all shards."""
        for file in self.files:
            file.close()

    def __enter__(self) -> "Shards":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def find_shards(value: str) -> List[str]:
    """The shards that one or more paths stand for, in order.

    Parameters
    ----------
    value
        paths or glob patterns with commas between them, unless there is something of this name.
        Where `data/train.rec` does not exist, it stands for `data/train-00000-of-00008.rec` to
        `data/train-00007-of-00008.rec`. A folder stands for all its shards, which must be those of
        one split. URLs of objects stand for the same; their patterns are in the name, not in the
        folder.

    Raises
    ------
    InputError
        beginning with the path: nothing matches, a shard of a set is missing, or one is named
        twice. It says what to run first.

    """
    paths: List[str] = []
    parts = [value] if _is_here(value) else value.split(",")
    for path in filter(None, (part.strip() for part in parts)):
        if is_url(path):
            paths += _objects(path)
        elif os.path.isfile(path):
            paths.append(path)
        elif glob.has_magic(path) and not _is_here(path):
            matches = sorted(filter(os.path.isfile, glob.glob(path)))
            if not matches:
                raise InputError(f"{path}: no file matches; {_pack_first(path)}")
            paths += matches
        else:
            paths += _shards_of_folder(path) or _numbered_shards(path, _beside(path))
    if not paths:
        raise InputError(f"{value!r}: names no shard; {_pack_first('data/train.rec')}")
    path, times = Counter(paths).most_common(1)[0]
    if times > 1:
        raise InputError(f"{value}: names {path} {times} times; give each shard once")
    return paths


def _beside(path: str) -> List[str]:
    """The files whose names begin as those of the shards of a path do."""
    return glob.glob(glob.escape(os.path.splitext(path)[0]) + "-*")


def _is_here(path: str) -> bool:
    """Whether this is the name of a file, of a folder or of a pack, also with *, ? or a comma."""
    return os.path.exists(path) or bool(_beside(path))


def _objects(url: str) -> List[str]:
    """The shards on an object storage that a URL stands for; InputError if there are none."""
    check_url(url)
    folder, _, name = url.rpartition("/")
    if glob.has_magic(name):
        matches = [one for one in list_folder(folder) if fnmatch.fnmatchcase(one, f"*/{name}")]
        if not matches:
            raise InputError(
                f"{url}: no object matches; check the address, and give an HTTP server that lists "
                "no folders all names, with commas between them"
            )
        return matches
    if name and find_object(url) is not None:
        return [url]
    inside = [] if name.endswith(".rec") else list_folder(url)
    inside = [one for one in inside if one.endswith(".rec")]
    return _of_one_split(url, inside) or _numbered_shards(url, list_folder(folder))


def _numbered_shards(path: str, beside: Sequence[str]) -> List[str]:
    """The shards train-00000-of-00008.rec and so on of a path train.rec, with what is beside it."""
    stem, extension = os.path.splitext(path)
    pattern = shards_named(stem, extension)
    matches = [m for m in map(pattern.fullmatch, beside) if m]
    if os.path.exists(stem + ".json.partial"):
        raise InputError(
            f"{path}: packing has not finished; run the same {commands.PACK} command again"
        )
    if not matches and is_url(path):
        # A server that lists no folders may still have the manifest, which names all shards.
        manifest = read_manifest(path)
        if manifest is None:
            raise InputError(f"{path}: no such object; check the address and what was uploaded")
        folder = os.path.dirname(manifest_path(path))
        return [f"{folder}/{shard.file}" for shard in manifest.shards]
    if not matches:
        raise InputError(f"{path}: {_not_a_shard(path)}")
    totals = {int(match[2]) for match in matches}
    numbers = sorted(int(match[1]) for match in matches)
    if len(totals) != 1 or numbers != list(range(totals.pop())):
        raise InputError(
            f"{path}: the shards {stem}-*{extension} are not one complete set; "
            "give the ones to use, with commas between them"
        )
    return sorted(match[0] for match in matches)


def _shards_of_folder(folder: str) -> List[str]:
    """All shards in a folder, as a channel of SageMaker is; [] for a file or a folder without any.

    InputError if two splits are in it.
    """
    return _of_one_split(folder, sorted(glob.glob(os.path.join(glob.escape(folder), "*.rec"))))


def _of_one_split(folder: str, paths: List[str]) -> List[str]:
    """The shards in a folder; InputError if they are of two splits."""
    splits = one_of_each_split(paths)
    if len(splits) > 1:
        raise InputError(
            f"{folder}: has shards of several sets ({', '.join(splits)}); give the shards of one, "
            "with commas between them"
        )
    return paths


def one_of_each_split(paths: Sequence[str]) -> List[str]:
    """The first file of each split that the names of files begin with: train, val, test, none."""
    found: Dict[str, str] = {}
    for path in paths:
        match = _SPLIT.match(os.path.basename(path))
        found.setdefault(match[1].lower() if match else "", path)
    return sorted(found.values())


def _not_a_shard(path: str) -> str:
    """Why a path is not a shard, and the way out."""
    if os.path.isdir(path):
        name = os.path.join("data", os.path.basename(os.path.abspath(path)))
        return f"is a folder; {_pack_first(name, path)}"
    if not path.endswith(".rec") and glob.glob(glob.escape(path) + "*.rec"):
        return f"no such shard; did you mean {path}.rec?"
    return f"no such shard; {_pack_first(path)}"


def _pack_first(path: str, folder: str = "FOLDER") -> str:
    prefix = os.path.splitext(path)[0]
    prefix = "PREFIX" if glob.has_magic(prefix) else prefix
    return f"run first: {commands.pack_folder(prefix, folder)}"
