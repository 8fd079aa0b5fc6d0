"""The manifest of a pack: PREFIX.json beside PREFIX.rec, which says what is in it."""

import base64
import hashlib
import json
import os
import re
import struct
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Dict, List, Optional, Sequence, Set, Tuple

from imagenet_trainer import assets
from imagenet_trainer.data.records.lst import ImageList
from imagenet_trainer.errors import InputError
from imagenet_trainer.system.files import AnyPath, as_text, atomic_write, refusal

FORMAT = 1
_MOST_CLASSES = 1_000_000  # labels above it are quantities, not classes
_LISTS = ("train", "val", "test")  # that classes.txt belongs to
_SYNSETS = assets.path("imagenet_synsets.txt")


@dataclass(frozen=True)
class ClassName:
    """A class: its folder, and the WordNet name where the folder is a WordNet id."""

    id: str
    name: str


@dataclass(frozen=True)
class Shard:
    """A shard as it was when its packing ended.

    `file` is relative to the manifest. `crc32` has the checksums of its records, one after the
    other as little-endian uint32 in Base64; see `checksums`.
    """

    file: str
    bytes: int
    sha256: str
    records: int
    crc32: str = ""

    def checksums(self) -> Tuple[int, ...]:
        """CRC-32 of the bytes of each record on disk; () where the manifest has none."""
        data = base64.b64decode(self.crc32)
        return struct.unpack(f"<{len(data) // 4}I", data[: len(data) // 4 * 4])


@dataclass(frozen=True)
class Rejected:
    """An image of the list that is in no shard, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Manifest:
    """What is in a pack.

    Attributes
    ----------
    classes, counts
        in the order of the labels 0, 1, ...; packed images of each. Both are empty where the
        labels are no classes (several for an image, or fractions).
    shards, rejected
        the files, and the images that were left out.
    root, list_sha256, settings
        where the images were, the SHA-256 of the list, the flags that decide over the bytes.

    """

    classes: Tuple[ClassName, ...]
    counts: Tuple[int, ...]
    shards: Tuple[Shard, ...]
    rejected: Tuple[Rejected, ...]
    root: str
    list_sha256: str
    settings: Dict[str, Any]

    @property
    def num_classes(self) -> int:
        """How many classes the labels tell apart."""
        return len(self.classes)

    @property
    def records(self) -> int:
        """Packed images."""
        return sum(shard.records for shard in self.shards)

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hexadecimal) over the shards' digests and the classes, in their order."""
        parts = [[shard.sha256 for shard in self.shards], [one.id for one in self.classes]]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def encode_checksums(checksums: Sequence[int]) -> str:
    """CRC-32 values as a `Shard` keeps them."""
    return base64.b64encode(struct.pack(f"<{len(checksums)}I", *checksums)).decode()


def manifest_path(rec_path: AnyPath) -> str:
    """Where a shard's manifest lies: data/train.json, also for data/train-00000-of-00008.rec."""
    stem = os.path.splitext(os.fspath(rec_path))[0]
    return re.sub(r"-\d+-of-\d+$", "", stem) + ".json"


def read_manifest(rec_path: AnyPath) -> Optional[Manifest]:
    """The manifest of the pack that a shard belongs to; None where there is none.

    Raises InputError when it is damaged.
    """
    path = manifest_path(rec_path)
    return load_manifest(path) if os.path.exists(path) else None


def load_manifest(path: AnyPath) -> Manifest:
    """Read a manifest file; InputError when it is not there or damaged."""
    name = os.fspath(path)
    try:
        with open(path, encoding="utf-8") as file:
            data = json.load(file)
    except OSError as error:
        raise refusal(path, error) from error
    except ValueError as error:
        raise InputError(f"{name}: the manifest is damaged ({error}); pack again") from error
    version = data.get("format") if isinstance(data, dict) else None
    if version != FORMAT:
        raise InputError(f"{name}: not a manifest of format {FORMAT}; pack again")
    try:
        manifest = Manifest(
            classes=tuple(
                ClassName(as_text(str(one["id"])), as_text(str(one["name"])))
                for one in data["classes"]
            ),
            counts=tuple(int(c["pictures"]) for c in data["classes"]),
            shards=tuple(Shard(**shard) for shard in data["shards"]),
            rejected=tuple(Rejected(**one) for one in data["rejected"]),
            root=str(data["root"]),
            list_sha256=str(data["list_sha256"]),
            settings=dict(data["settings"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{name}: the manifest is damaged ({error!r}); pack again") from error
    if not all(isinstance(s.records, int) and isinstance(s.bytes, int) for s in manifest.shards):
        raise InputError(f"{name}: the manifest is damaged (no numbers of shards); pack again")
    return manifest


def write_manifest(path: AnyPath, manifest: Manifest) -> None:
    """Write a manifest file, whole or not at all."""
    data = {
        "format": FORMAT,
        "fingerprint": manifest.fingerprint,
        "shards": [asdict(shard) for shard in manifest.shards],
        "root": manifest.root,
        "list_sha256": manifest.list_sha256,
        "settings": manifest.settings,
        "rejected": [asdict(one) for one in manifest.rejected],
        "classes": [
            {**asdict(one), "pictures": count}
            for one, count in zip(manifest.classes, manifest.counts)
        ],
    }
    with atomic_write(path, "w") as file:
        json.dump(data, file, indent=1)
        file.write("\n")


# --- classes -----------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def known_synsets() -> Dict[str, str]:
    """The names of ImageNet's 1,000 WordNet ids, such as `tabby, tabby cat` for n02123045."""
    with open(_SYNSETS, encoding="utf-8") as file:
        return dict(line.rstrip("\n").split(" ", 1) for line in file)  # type: ignore[misc]


def write_classes(path: AnyPath, classes: Sequence[str]) -> None:
    """Write the classes of lists, one a line in their order; after a WordNet id its name."""
    with atomic_write(path) as file:
        for one in name_classes(classes):
            title = one.id if one.name == one.id else f"{one.id} {one.name}"
            file.write(os.fsencode(title) + b"\n")


def read_classes(path: AnyPath) -> List[str]:
    """The classes in a file, one a line; what follows a WordNet id is its name.

    Raises InputError when the file cannot be read or is empty.
    """
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            lines = [line.strip() for line in file]
    except OSError as error:
        raise refusal(path, error) from error
    classes = [re.sub(r"^(n\d{8})\s.*", r"\1", line) for line in lines if line]
    if not classes:
        raise InputError(f"{os.fspath(path)}: the file is empty; write one class a line")
    return classes


def class_of(labels: Sequence[float]) -> Optional[int]:
    """The class that an image's labels stand for, or None."""
    label = labels[0]
    if len(labels) == 1 and label == int(label) and 0 <= label <= _MOST_CLASSES:
        return int(label)
    return None


def folders_of_classes(lists: Sequence[ImageList]) -> List[Optional[str]]:
    """The folder of every class in the lists together, None where it cannot be told.

    Folders name the classes when every class has one folder and every folder one class; what all
    of them have in front (`train/` in `train/cat`) is left away. Empty when the labels are no
    classes.
    """
    found_in: Dict[int, Set[str]] = {}
    for images in lists:
        for labels, path in zip(images.labels, images.paths):
            number = class_of(labels)
            if number is None:
                return []
            found_in.setdefault(number, set()).add(os.path.dirname(path))
    folders = {number: {os.path.normpath(at) for at in names} for number, names in found_in.items()}
    single = {number: next(iter(names)) for number, names in folders.items() if len(names) == 1}
    named = len(single) == len(folders) == len(set(single.values())) and "." not in single.values()
    found: List[Optional[str]] = [None] * (max(folders) + 1)
    if named:
        common = os.path.commonpath([os.path.dirname(name) for name in single.values()])
        for number, name in single.items():
            found[number] = os.path.relpath(name, common or ".")
    return found


def name_classes(folders: Sequence[Optional[str]]) -> Tuple[ClassName, ...]:
    """Classes from their folders; one without a folder is called class_N."""
    synsets = known_synsets()
    return tuple(
        ClassName(f"class_{number}", f"class_{number}")
        if folder is None
        else ClassName(folder, synsets.get(os.path.basename(folder), folder))
        for number, folder in enumerate(map(_class_text, folders))
    )


def _class_text(folder: Optional[str]) -> Optional[str]:
    return None if folder is None else as_text(folder)


def take_classes(
    folders: Sequence[Optional[str]], reference: Sequence[ClassName], ours: str, theirs: str
) -> Tuple[ClassName, ...]:
    """The reference's classes, after checking that ours are the same at the same places.

    A class may be missing here; it then has no images. Raises InputError with the first
    difference. `ours` and `theirs` name the two in it.
    """
    for number, folder in enumerate(map(_class_text, folders)):
        if number >= len(reference):
            difference = f"{theirs} has {len(reference)} classes"
        elif folder in (None, reference[number].id) or reference[number].id == f"class_{number}":
            continue
        else:
            difference = f"{reference[number].id} in {theirs}"
        raise InputError(
            f"{ours}: class {number} is {folder or 'without a name'}, but {difference}; pack "
            "images of the same classes, or give --classes-from none to keep these"
        )
    return tuple(reference)


def classes_of_pack(
    prefix: str, lists: Sequence[ImageList], classes_from: str
) -> Tuple[ClassName, ...]:
    """The classes of lists that become one pack, as the pack calls them that they must agree with.

    That is the manifest `classes_from`, or "" the train.json beside the prefix; "none" is none.
    Raises InputError where the classes differ.
    """
    folders = folders_of_classes(lists)
    listed = os.path.join(os.path.dirname(prefix), "classes.txt")  # of tools/imagenet.py
    if None in folders and os.path.basename(prefix) in _LISTS and os.path.isfile(listed):
        names = read_classes(listed)
        if len(names) < len(folders):
            raise InputError(
                f"{listed}: {len(names)} classes, but {prefix}.lst has label {len(folders) - 1}; "
                "remove it, or make the lists anew"
            )
        folders = [*names]
    reference = classes_from or _training_manifest(prefix)
    if not folders or reference in ("", "none"):
        return name_classes(folders)
    if not os.path.exists(reference):
        raise InputError(
            f"--classes-from {reference}: no such manifest; name the train.json of a pack, or none"
        )
    known = load_manifest(reference).classes
    if not known:
        return name_classes(folders)
    return take_classes(folders, known, f"{prefix}.lst", reference)


def _training_manifest(prefix: str) -> str:
    """The manifest of the training images that belong to this prefix; "" without one."""
    folder, name = os.path.split(prefix)
    if re.match(r"train(_|$)", name) or name.endswith("_train"):
        return ""
    split = re.sub(r"(_val|_test)$", "_train", name)
    for candidate in (split, "train"):
        path = os.path.join(folder, candidate + ".json")
        if candidate != name and os.path.isfile(path):
            return path
    return ""
