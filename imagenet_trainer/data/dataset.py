"""A packed dataset: shards, their manifest, and the classes of the labels.

What can be checked before the images are read is checked when a dataset is opened: with a manifest
that the shards are those that were packed, without one that all labels are classes.
"""

import contextlib
import os
import re
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np

from imagenet_trainer.config import commands
from imagenet_trainer.data.classes import IMAGENET_CLASSES, Classes, default_classes
from imagenet_trainer.data.parts import Parts, divide, labels_of, split_name
from imagenet_trainer.data.records.headers import (
    digest,
    first_bad_label,
    keep_images,
    read_labels,
    read_summary,
)
from imagenet_trainer.data.records.label_vectors import LabelVectors, binary_classes
from imagenet_trainer.data.records.manifest import Manifest, Shard, manifest_path, read_manifest
from imagenet_trainer.data.records.record_file import Index, RecordFile
from imagenet_trainer.data.records.sequential import index_of
from imagenet_trainer.data.records.shards import Shards, find_shards
from imagenet_trainer.data.records.storage import exists, open_binary
from imagenet_trainer.errors import InputError
from imagenet_trainer.system.object_storage import is_url


@dataclass(frozen=True)
class Dataset:
    """Packed images with their classes.

    Attributes
    ----------
    path
        as given to `open_dataset`.
    fingerprint
        changes when the packed images change; without a manifest, see `headers.digest`.
    has_manifest
        whether the classes come from a manifest; without one they are `default_classes`.
    subset
        int64 (n,), ascending: the subset of the shards' images to use; None for all.
    old_fingerprint
        the fingerprint that older versions computed without a manifest; "" if it is the same.
    note
        what the user should know about the classes and indexes; "" if there is nothing.
    counts
        number of images of each label of the records, int64 (labels,); None without a manifest.

    """

    path: str
    shards: Shards
    classes: Classes
    fingerprint: str
    has_manifest: bool
    subset: Optional[np.ndarray] = None
    old_fingerprint: str = ""
    note: str = ""
    counts: Optional[np.ndarray] = None

    def __len__(self) -> int:
        return len(self.shards) if self.subset is None else len(self.subset)

    def part(self, path: str, images: np.ndarray) -> "Dataset":
        """A dataset of some images of the shards, int64 (n,) ascending; it is closed separately."""
        digest = sha256(f"{self.fingerprint} ".encode() + images.astype("<i8").tobytes())
        return replace(
            self, path=path, shards=self.shards.part(images), fingerprint=digest.hexdigest(),
            old_fingerprint="", subset=None, counts=None,
        )  # fmt: skip


def open_dataset(
    path: str,
    index: str = "",
    num_classes: Optional[int] = None,
    all_labels: bool = True,
    label_index: Optional[int] = None,
    any_labels: bool = False,
    multi_label: bool = False,
) -> Dataset:
    """Open shards and read their manifest, if there is one.

    Parameters
    ----------
    path
        shards, as `find_shards` takes them, or the name of a part of them: see `parts`.
    index
        their `.idx` files with commas between them; "" if they are beside the shards. One that is
        not there is made from its shard.
    num_classes
        number of classes of shards without a manifest, as MXNet's own tool writes them. None
        means that of the file `property` beside the shards, as sets of insightface have it, or
        1000, with ImageNet's names.
    all_labels
        without a manifest, refuse a set with a label that is not a class.
    label_index
        which label of a record is its class, from 0; None: the only one.
    any_labels
        accept any number of labels with any values.
    multi_label
        all labels of a record are classes of its image: see `LabelVectors`.

    Raises
    ------
    InputError
        beginning with the path: a shard is missing or damaged, is not the one of its manifest, or
        the shards do not belong together.

    """
    path, parts = split_name(path)
    if parts:
        whole = open_dataset(
            path, index, num_classes, all_labels, label_index, any_labels, multi_label
        )
        return _open_part(whole, parts)
    shards, notes = _open_shards(path, index, label_index)
    try:
        some = any_labels or multi_label
        opened = _opened(path, shards, num_classes, all_labels and not some, some)
        if multi_label:
            opened = _with_label_vectors(opened, num_classes, all_labels)
        return replace(opened, note=join_notes(*notes, opened.note))
    except BaseException:
        shards.close()
        raise


def _open_shards(path: str, index: str, label_index: Optional[int]) -> Tuple[Shards, List[str]]:
    """The shards with their indexes, and notes on indexes that were made from shards."""
    paths = find_shards(path)
    indexes: List[Index] = [*index.split(",")] if index else []
    if indexes and len(indexes) != len(paths):
        raise InputError(
            f"{path}: number of index files: expected {len(paths)}, got {len(indexes)} ({index}); "
            "give one for each shard, in the same order"
        )
    found = [index_of(one) for one in paths] if not indexes else []
    shards = Shards(paths, indexes or [one for one, _ in found], label_index)
    return shards, [note for _, note in found]


def _open_part(whole: Dataset, parts: Parts) -> Dataset:
    with whole.shards:
        division = divide(labels_of(whole.shards), parts)
        held_back = division.minival if parts.minival else division.fold
        name = parts.name(whole.path, minival=bool(parts.minival))
        if not len(held_back):
            raise InputError(f"{name}: has none of the {len(whole)} images; use fewer folds")
        return whole.part(name, held_back)


def _opened(
    path: str, shards: Shards, num_classes: Optional[int], all_labels: bool, any_labels: bool
) -> Dataset:
    paths = [file.path for file in shards.files]
    selects = any_labels or shards.label_index is not None
    by_path = shards.manifests = read_manifests(path, paths, selects)
    manifests = list(by_path.values())
    if not manifests:
        return _without_manifest(path, shards, num_classes, all_labels, any_labels)
    records = sum(manifest.records for manifest in manifests)
    if records != len(shards):
        raise InputError(
            f"{paths[0]}: the index has {len(shards)} images, the manifest {records}; "
            "they do not belong together: pack again, or give all shards of the pack"
        )
    for file in shards.files:
        _expect(file, by_path[manifest_path(file.path)])
    classes = manifests[0].classes
    fingerprint = _with_label_index(_fingerprint(manifests), shards)
    if classes:
        counts = np.sum([manifest.counts for manifest in manifests], axis=0, dtype=np.int64)
        return Dataset(path, shards, classes, fingerprint, True, counts=counts)
    # Packed with several labels: the manifest knows no classes.
    count = num_classes or IMAGENET_CLASSES
    if all_labels:
        _check_labels(shards, read_labels(shards, shards.label_index), count)
    return Dataset(path, shards, default_classes(count), fingerprint, False)


def _with_label_index(fingerprint: str, shards: Shards) -> str:
    """Another one where another label is the class."""
    if shards.label_index is None:
        return fingerprint
    return sha256(f"{fingerprint} {shards.label_index}".encode()).hexdigest()


def _check_labels(shards: Shards, labels: np.ndarray, num_classes: int) -> None:
    """RecordError for the first record whose label, float64 (records,), is no class."""
    bad = first_bad_label(labels, num_classes)
    if bad >= 0:
        shards.class_of(bad, shards.record(bad).labels, num_classes)  # raises the error


def _with_label_vectors(dataset: Dataset, num_classes: Optional[int], all_labels: bool) -> Dataset:
    """The dataset whose labels are vectors; InputError if they cannot be."""
    path, shards, summary = dataset.path, dataset.shards, read_summary(dataset.shards)
    classes, binary = dataset.classes, binary_classes(summary)
    if dataset.counts is None and num_classes is None:
        if not binary:
            raise InputError(
                f"{path}: its records have lists of classes, the largest is "
                f"{summary.most.max():g}; give their number with --num-classes"
            )
        classes = default_classes(binary)
    # Two numbers may be lists of the classes 0 and 1; more of them would have a class twice.
    if binary > 2 and binary != len(classes):
        raise InputError(
            f"{path}: its records have {binary} numbers 0 and 1, one for each class, but there are "
            f"{len(classes)} classes; give images with these classes, or the right number"
        )
    vectors = shards.label_vectors = LabelVectors(len(classes), binary == len(classes))
    if not vectors.is_binary and all_labels:
        bad = np.flatnonzero(~summary.valid | (summary.most >= len(classes)))
        if len(bad):
            shards.label_of(bad[0], shards.record(bad[0]).labels, len(classes))  # raises the error
    if vectors.is_binary and not summary.most.any():
        raise InputError(f"{path}: no image has a class; pack it with the classes of each image")
    return replace(dataset, classes=classes)


def _without_manifest(
    path: str, shards: Shards, num_classes: Optional[int], all_labels: bool, any_labels: bool
) -> Dataset:
    """The records that have images, all of whose labels must be classes."""
    records = len(shards)
    headers, without = keep_images(shards, any_labels)
    note = ""
    if without:
        note = f"{path}: left out {without:,} of {records:,} records, which have no image"
    if num_classes is None:
        num_classes, known = _property_classes(shards.files[0].path)
        note = join_notes(note, known)
    if all_labels:
        _check_labels(shards, np.concatenate([one.labels for one in headers]), num_classes)
    fingerprint = _with_label_index(digest(shards.files, headers), shards)
    return Dataset(
        path, shards, default_classes(num_classes), fingerprint, False,
        old_fingerprint=_index_fingerprint(shards), note=note,
    )  # fmt: skip


def _property_classes(rec_path: str) -> Tuple[int, str]:
    """The number of classes in the file `property` beside a shard, and a note; or ImageNet's.

    insightface writes it: number of classes, height and width with commas between them.
    """
    path = os.path.join(os.path.dirname(rec_path), "property")
    text = ""
    with contextlib.suppress(OSError):
        if exists(path):
            with open_binary(path) as file:
                text = file.read(64).decode("ascii", "replace").strip()
    found = re.fullmatch(r"(\d{1,9}),(\d+),(\d+)", text)
    if not found or int(found[1]) < 2:
        return IMAGENET_CLASSES, ""
    return int(found[1]), f"{path}: {int(found[1]):,} classes"


def _expect(file: RecordFile, manifest: Manifest) -> None:
    """Compare a shard with its manifest, and each of its records from now on."""
    shard = _shard_of(file, manifest)
    prefix = os.path.splitext(manifest_path(file.path))[0]
    way_out = f"to rebuild the shard run: {commands.repair(prefix)}"
    if is_url(file.path):
        way_out = "upload the shard again, with its .idx and .json"
    if shard is None:
        raise InputError(
            f"{file.path}: has {len(file)} records in {file.size} bytes, unlike every shard in "
            f"{manifest_path(file.path)}: it was cut short, or is of another pack; {way_out}"
        )
    if not file.has_sorted_index:
        raise InputError(
            f"{file.path}: the lines of its index are not in the order of the records; run: "
            f"{commands.rebuild_index(file.path)}"
        )
    checksums = shard.checksums()
    if len(checksums):
        file.expect(checksums, way_out)


def _shard_of(file: RecordFile, manifest: Manifest) -> Optional[Shard]:
    """The manifest's entry of a shard, which may have been renamed."""
    same = [s for s in manifest.shards if (s.bytes, s.records) == (file.size, len(file))]
    named = [s for s in same if s.file == os.path.basename(file.path)]
    return next(iter(named or same), None)


def join_notes(*notes: str) -> str:
    """Notes for the user in one line, without those that are empty."""
    return "; ".join(filter(None, notes))


def read_manifests(path: str, paths: Sequence[str], any_labels: bool) -> Dict[str, Manifest]:
    """The manifests of shards by their paths, checked against each other; empty without any.

    `any_labels`: accept those whose labels are not classes. Raises InputError beginning with the
    path if one is missing, or they have different classes.
    """
    # The shards of one pack share a manifest; packed chunks have one each.
    read: Dict[str, Optional[Manifest]] = {}
    for shard in paths:
        if manifest_path(shard) not in read:
            read[manifest_path(shard)] = read_manifest(shard)
    by_path = {name: manifest for name, manifest in read.items() if manifest is not None}
    manifests = list(by_path.values())
    if not manifests:
        return {}
    if len(by_path) < len(read):
        missing = next(name for name in read if name not in by_path)
        raise InputError(f"{path}: {missing} is missing; pack that shard again")
    if not manifests[0].classes and not any_labels:
        raise InputError(
            f"{paths[0]}: its labels are not classes; if its records have several of them, choose "
            f"one with {commands.label_index(1)}, otherwise pack images with one class each"
        )
    if any(manifest.classes != manifests[0].classes for manifest in manifests):
        raise InputError(f"{path}: the shards have different classes; pack them together")
    return by_path


def _fingerprint(manifests: Sequence[Manifest]) -> str:
    prints = [manifest.fingerprint for manifest in manifests]
    return prints[0] if len(prints) == 1 else sha256(" ".join(prints).encode()).hexdigest()


def _index_fingerprint(shards: Shards) -> str:
    """A digest of the indexes only: hashing the shards themselves would take too long."""
    digest = sha256()
    for file in shards.files:
        for numbers in (file.keys, file.offsets, np.array([len(file), file.size])):
            digest.update(numbers.astype("<i8").tobytes())
    return digest.hexdigest()
