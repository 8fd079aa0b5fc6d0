"""A packed dataset: shards, their manifest, and the classes of the labels."""

from dataclasses import dataclass
from hashlib import sha256
from typing import List, Optional, Sequence, Tuple

import numpy as np

from imagenet_trainer.data.records.manifest import (
    Manifest,
    known_synsets,
    manifest_path,
    read_manifest,
)
from imagenet_trainer.data.records.shards import Shards, find_shards
from imagenet_trainer.errors import InputError

IMAGENET_CLASSES = 1000
Classes = Tuple[Tuple[str, str], ...]  # (id, name) in the order of the labels


@dataclass(frozen=True)
class Dataset:
    """Packed images with their classes.

    Attributes
    ----------
    path
        as given to `open_dataset`.
    fingerprint
        changes when the packed images change.
    has_manifest
        whether the classes come from a manifest; without one they are `default_classes`.
    subset
        int64 (n,), ascending: the subset of the shards' images to use; None for all.

    """

    path: str
    shards: Shards
    classes: Classes
    fingerprint: str
    has_manifest: bool
    subset: Optional[np.ndarray] = None

    def __len__(self) -> int:
        return len(self.shards) if self.subset is None else len(self.subset)


def open_dataset(path: str, index: str = "", num_classes: Optional[int] = None) -> Dataset:
    """Open shards and read their manifest, if there is one.

    Parameters
    ----------
    path
        shards, as `find_shards` takes them.
    index
        their `.idx` files with commas between them; "" if they are beside the shards.
    num_classes
        number of classes of shards without a manifest, as MXNet's own tool writes them. None
        means 1000, with ImageNet's names.

    Raises
    ------
    InputError
        beginning with the path: a shard is missing or damaged, or the shards do not belong
        together.

    """
    paths = find_shards(path)
    indexes = index.split(",") if index else ()
    if indexes and len(indexes) != len(paths):
        raise InputError(
            f"{path}: number of index files: expected {len(paths)}, got {len(indexes)} ({index}); "
            "give one for each shard, in the same order"
        )
    shards = Shards(paths, indexes)
    manifests = _manifests(path, paths)
    if not manifests:
        classes = default_classes(num_classes or IMAGENET_CLASSES)
        return Dataset(path, shards, classes, _index_fingerprint(shards), False)
    records = sum(manifest.records for manifest in manifests)
    if records != len(shards):
        raise InputError(
            f"{paths[0]}: the index has {len(shards)} images, the manifest {records}; "
            "they do not belong together: pack again, or give all shards of the pack"
        )
    classes = tuple((one.id, one.name) for one in manifests[0].classes)
    return Dataset(path, shards, classes, _fingerprint(manifests), True)


def open_matching_dataset(path: str, index: str, classes: Classes, reference: str) -> Dataset:
    """Open a dataset whose classes must be those of `reference`; see `check_same_classes`."""
    dataset = open_dataset(path, index, len(classes))
    check_same_classes(dataset, classes, reference)
    return dataset


def check_same_classes(dataset: Dataset, classes: Classes, reference: str) -> None:
    """Raise InputError with the first class in which a dataset and `reference` differ.

    Classes without names match any: those of a dataset without a manifest, and those of a network
    trained on one.
    """
    if not dataset.has_manifest:
        return
    if len(dataset.classes) != len(classes):
        raise InputError(
            f"{dataset.path}: has {len(dataset.classes)} classes where {reference} has "
            f"{len(classes)}; pack both with the same class folders"
        )
    if classes == default_classes(len(classes)) and len(classes) != IMAGENET_CLASSES:
        return
    for label, ((found, _), (expected, _)) in enumerate(zip(dataset.classes, classes)):
        if found != expected:
            raise InputError(
                f"{dataset.path}: class {label} is {found} where {reference} has {expected}; "
                "pack both with the same class folders"
            )


def default_classes(count: int) -> Classes:
    """Classes of shards without a manifest: ImageNet's, or placeholders."""
    if count == IMAGENET_CLASSES:
        return tuple(known_synsets().items())
    return tuple((f"class_{label}", f"class {label}") for label in range(count))


def _manifests(path: str, paths: Sequence[str]) -> List[Manifest]:
    """The manifests of shards, checked against each other; empty if there are none."""
    # The shards of one pack share a manifest; packed chunks have one each.
    by_path = {manifest_path(shard): read_manifest(shard) for shard in paths}
    manifests = [manifest for manifest in by_path.values() if manifest is not None]
    if not manifests:
        return []
    if len(manifests) < len(by_path):
        missing = next(name for name, manifest in by_path.items() if manifest is None)
        raise InputError(f"{path}: {missing} is missing; pack that shard again")
    if not manifests[0].classes:
        raise InputError(f"{paths[0]}: its labels are not classes; pack images with one class each")
    if any(manifest.classes != manifests[0].classes for manifest in manifests):
        raise InputError(f"{path}: the shards have different classes; pack them together")
    return manifests


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
