"""The manifest of a pack, PREFIX.json beside PREFIX.rec: shards, classes, rejected images."""

import base64
import hashlib
import json
import os
import struct
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

import numpy as np

from imagenet_trainer import assets
from imagenet_trainer.data.records.lst import ImageList
from imagenet_trainer.data.records.shard_names import without_number
from imagenet_trainer.data.records.storage import exists, open_binary
from imagenet_trainer.errors import InputError
from imagenet_trainer.system.files import AnyPath, file_error, write_json
from imagenet_trainer.text import printable

FORMAT = 1
_MOST_CLASSES = 1_000_000  # labels above it are quantities, not classes
_SYNSETS = assets.path("imagenet_synsets.txt")


class ClassName(NamedTuple):
    """A class: its folder, and the WordNet name where the folder is a WordNet id."""

    id: str
    name: str


@dataclass(frozen=True)
class Shard:
    """A shard as it was packed.

    `file` is relative to the manifest. `crc32` has the checksums of its records as little-endian
    uint32 in Base64; see `checksums`.
    """

    file: str
    bytes: int
    sha256: str
    records: int
    crc32: str = ""

    def checksums(self) -> np.ndarray:
        """CRC-32 of the bytes of each record on disk, uint32 (records,).

        Empty where the manifest has none. Raises ValueError if they are damaged.
        """
        return np.frombuffer(base64.b64decode(self.crc32, validate=True), "<u4")


@dataclass(frozen=True)
class Rejected:
    """An image of the list that was not packed, and the reason."""

    path: str
    reason: str


@dataclass(frozen=True)
class Manifest:
    """The content of a pack.

    Attributes
    ----------
    classes, counts
        the classes in the order of the labels 0, 1, ... and the number of packed images of each.
        Both are empty where the labels are not classes (several for an image, or fractions).
    shards, rejected
        the files, and the images that were not packed.
    root, list_sha256, settings
        where the images were, the SHA-256 of the list ("" without one), and the flags that
        determine the bytes.
    source
        the format and the files of the set that was packed; {} for images in a folder or a tar.

    """

    classes: Tuple[ClassName, ...]
    counts: Tuple[int, ...]
    shards: Tuple[Shard, ...]
    rejected: Tuple[Rejected, ...]
    root: str
    list_sha256: str
    settings: Dict[str, Any]
    source: Dict[str, Any] = field(default_factory=dict)

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.classes)

    @property
    def records(self) -> int:
        """Number of packed images."""
        return sum(shard.records for shard in self.shards)

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hexadecimal) of the shards' digests and the classes, in order."""
        parts = [[shard.sha256 for shard in self.shards], [one.id for one in self.classes]]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def encode_checksums(checksums: Sequence[int]) -> str:
    """CRC-32 values as a `Shard` stores them."""
    return base64.b64encode(struct.pack(f"<{len(checksums)}I", *checksums)).decode()


def manifest_path(rec_path: AnyPath) -> str:
    """The path of a shard's manifest: data/train.json, also for data/train-00000-of-00008.rec."""
    stem = os.path.splitext(os.fspath(rec_path))[0]
    return without_number(stem) + ".json"


def read_manifest(rec_path: AnyPath) -> Optional[Manifest]:
    """The manifest of the pack to which a shard belongs; None if there is none.

    Raises InputError if it is damaged.
    """
    path = manifest_path(rec_path)
    return load_manifest(path) if exists(path) else None


def load_manifest(path: AnyPath) -> Manifest:
    """Read a manifest file; InputError if it is missing or damaged."""
    name = os.fspath(path)
    try:
        with open_binary(path) as file:
            data = json.load(file)
    except OSError as error:
        raise file_error(path, error) from error
    except ValueError as error:
        raise InputError(f"{name}: the manifest is damaged ({error}); pack again") from error
    version = data.get("format") if isinstance(data, dict) else None
    if version != FORMAT:
        raise InputError(f"{name}: not a manifest of format {FORMAT}; pack again")
    try:
        manifest = Manifest(
            classes=tuple(
                ClassName(printable(str(one["id"])), printable(str(one["name"])))
                for one in data["classes"]
            ),
            counts=tuple(int(c["pictures"]) for c in data["classes"]),
            shards=tuple(Shard(**shard) for shard in data["shards"]),
            rejected=tuple(Rejected(**one) for one in data["rejected"]),
            root=str(data["root"]),
            list_sha256=str(data["list_sha256"]),
            settings=dict(data["settings"]),
            source=dict(data.get("source", {})),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{name}: the manifest is damaged ({error!r}); pack again") from error
    for reason in _contradictions(manifest, data):
        raise InputError(f"{name}: the manifest is damaged ({reason}); pack again")
    return manifest


def _contradictions(manifest: Manifest, data: Dict[str, Any]) -> Iterator[str]:
    """What in a manifest cannot be as it was written."""
    if not manifest.shards:
        yield "it has no shards"
    if not all(isinstance(s.records, int) and isinstance(s.bytes, int) for s in manifest.shards):
        yield "sizes of shards are missing"
    for shard in manifest.shards:
        try:
            checksums = len(shard.checksums())
        except (TypeError, ValueError):
            checksums = -1
        if checksums not in (0, shard.records):
            yield f"the checksums of {shard.file} are not those of {shard.records} records"
    if data.get("fingerprint", manifest.fingerprint) != manifest.fingerprint:
        yield "its fingerprint is not that of its shards and classes"


def write_manifest(path: AnyPath, manifest: Manifest) -> None:
    """Write a manifest file, atomically."""
    data = {
        "format": FORMAT,
        "fingerprint": manifest.fingerprint,
        "shards": [asdict(shard) for shard in manifest.shards],
        "root": manifest.root,
        "list_sha256": manifest.list_sha256,
        "settings": manifest.settings,
        **({"source": manifest.source} if manifest.source else {}),
        "rejected": [asdict(one) for one in manifest.rejected],
        "classes": [
            {**one._asdict(), "pictures": count}
            for one, count in zip(manifest.classes, manifest.counts)
        ],
    }
    write_json(path, data)


# --- classes -----------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def known_synsets() -> Dict[str, str]:
    """The names of ImageNet's 1,000 WordNet ids, such as `tabby, tabby cat` for n02123045."""
    with open(_SYNSETS, encoding="utf-8") as file:
        return dict(line.rstrip("\n").split(" ", 1) for line in file)  # type: ignore[misc]


def class_of(labels: Sequence[float]) -> Optional[int]:
    """The class that an image's labels denote, or None."""
    label = labels[0]
    if len(labels) == 1 and 0 <= label <= _MOST_CLASSES and label == int(label):
        return int(label)
    return None


def folders_of_classes(lists: Sequence[ImageList]) -> List[Optional[str]]:
    """The folder of each class, over several lists; None for a class without a folder.

    Folders name the classes if every class has one folder and every folder one class; see
    `class_names`. Empty if the labels are not classes.
    """
    all_folders: Dict[int, Set[str]] = {}
    for images in lists:
        for labels, path in zip(images.labels, images.paths):
            number = class_of(labels)
            if number is None:
                return []
            all_folders.setdefault(number, set()).add(os.path.normpath(os.path.dirname(path)))
    single = {number: next(iter(names)) for number, names in all_folders.items() if len(names) == 1}
    distinct = set(single.values())
    folders: List[Optional[str]] = [None] * (max(all_folders) + 1)
    if len(single) == len(all_folders) == len(distinct) and "." not in distinct:
        for number, name in zip(single, class_names(list(single.values()))):
            folders[number] = name
    return folders


def class_names(folders: Sequence[str]) -> List[str]:
    """What distinguishes the class folders: their paths without common beginning and end.

    `train/cat` and `train/dog` are `cat` and `dog`, and so are `cat/images` and `dog/images`, as in
    Tiny ImageNet.
    """
    first, last = folders[0].split(os.sep), os.path.basename(folders[0])
    parents = [os.path.dirname(one) for one in folders]
    if len(folders) > 1 and len(first) > 1 and all(os.path.basename(f) == last for f in folders):
        return class_names(parents)
    common = os.path.commonpath(parents)
    return [os.path.relpath(one, common or ".") for one in folders]


def name_classes(folders: Sequence[Optional[str]]) -> Tuple[ClassName, ...]:
    """Classes named by their folders; one without a folder is called class_N."""
    synsets = known_synsets()
    classes = []
    for number, folder in enumerate(folders):
        name = f"class_{number}" if folder is None else printable(folder)
        classes.append(ClassName(name, synsets.get(os.path.basename(name), name)))
    return tuple(classes)
