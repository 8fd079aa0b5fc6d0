"""Opening packed images: shards, their manifest, and whether flags and sets agree."""

from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Optional, Tuple

import numpy as np

from imagenet_trainer.config import DataSettings, FitSettings
from imagenet_trainer.data.order import chosen
from imagenet_trainer.data.records.manifest import known_synsets, manifest_path, read_manifest
from imagenet_trainer.data.records.shards import Shards, find_shards
from imagenet_trainer.errors import InputError

IMAGENET_CLASSES = 1000
Classes = Tuple[Tuple[str, str], ...]  # (id, name) in the order of the labels


@dataclass(frozen=True)
class Dataset:
    """Packed images with their classes; `fingerprint` changes when the packed images do."""

    path: str
    shards: Shards
    classes: Classes
    fingerprint: str
    has_manifest: bool
    chosen: Optional[np.ndarray] = None  # int64 (n,), ascending: only these of the shards' images

    def __len__(self) -> int:
        return len(self.shards) if self.chosen is None else len(self.chosen)


def open_training_set(settings: FitSettings) -> Dataset:
    """The training images, or a share; InputError where a flag disagrees with what is packed."""
    images = open_set(
        "--data-train", settings.data_train, settings.data_train_idx, settings.num_classes
    )
    if settings.num_examples not in (None, len(images)):
        raise InputError(
            f"--num-examples {settings.num_examples}: {images.path} holds {len(images)} "
            "images; leave the flag away"
        )
    some = chosen(settings.seed, settings.train_fraction, len(images))
    return replace(images, chosen=some)


def classes_without_data(settings: FitSettings) -> int:
    """How many classes a training would have: --num-classes, or the shard's if it is there."""
    if settings.num_classes:
        return settings.num_classes
    try:
        find_shards(settings.data_train, "--data-train")
    except InputError:
        return IMAGENET_CLASSES
    images = open_training_set(settings)
    images.shards.close()
    return len(images.classes)


def open_validation_set(settings: DataSettings, classes: Classes, trained_on: str) -> Dataset:
    """The validation images; InputError unless their classes are those trained on."""
    images = open_set("--data-val", settings.data_val, settings.data_val_idx, len(classes))
    if images.has_manifest:
        check_same_classes(images, classes, trained_on)
    return images


def check_same_classes(images: Dataset, classes: Classes, trained_on: str) -> None:
    """InputError naming the first class in which a set differs from the one trained on."""
    if classes == default_classes(len(classes)) and len(classes) != IMAGENET_CLASSES:
        return  # trained on a shard without manifest, whose classes have no names
    for label, (ours, theirs) in enumerate(zip(images.classes, classes)):
        if ours[0] != theirs[0]:
            raise InputError(
                f"{images.path}: class {label} is {ours[0]} where {trained_on} has {theirs[0]}; "
                "pack it again with the same class folders"
            )


def open_set(flag: str, value: str, index: str, num_classes: Optional[int]) -> Dataset:
    """The shards that a flag names, with their manifest if there is one.

    Without a manifest (MXNet's own shards) there are `num_classes` classes, or 1000, which then
    carry ImageNet's names.
    """
    paths = find_shards(value, flag)
    indexes = index.split(",") if index else ()
    if indexes and len(indexes) != len(paths):
        raise InputError(f"{flag}-idx {index}: {len(indexes)} indexes for {len(paths)} shards")
    shards = Shards(paths, indexes)
    # The shards of one pack share a manifest, the packs of chunks have one each.
    manifests = {manifest_path(path): read_manifest(path) for path in paths}
    known = [manifest for manifest in manifests.values() if manifest is not None]
    if len(known) < len(manifests):
        if known:
            missing = next(path for path, manifest in manifests.items() if manifest is None)
            raise InputError(f"{flag} {value}: {missing} is missing; pack that shard again")
        classes = default_classes(num_classes or IMAGENET_CLASSES)
        return Dataset(value, shards, classes, _fingerprint(shards), False)
    records = sum(manifest.records for manifest in known)
    if records != len(shards):
        raise InputError(
            f"{paths[0]}: the index has {len(shards)} images, the manifest {records}; "
            "they are not of one pack: pack again, or name all its shards"
        )
    named = tuple((one.id, one.name) for one in known[0].classes)
    if not named:
        raise InputError(f"{paths[0]}: its labels are no classes; pack images with one class each")
    if any(manifest.classes != known[0].classes for manifest in known):
        raise InputError(f"{flag} {value}: its shards have different classes; pack them together")
    if num_classes not in (None, len(named)):
        if flag == "--data-train":
            raise InputError(
                f"--num-classes {num_classes}: {paths[0]} has {len(named)} classes; "
                "leave the flag away"
            )
        raise InputError(
            f"{paths[0]}: has {len(named)} classes, not {num_classes}; "
            "pack the same classes as for training; leave --num-classes away if it was given"
        )
    prints = [manifest.fingerprint for manifest in known]
    fingerprint = prints[0] if len(prints) == 1 else sha256(" ".join(prints).encode()).hexdigest()
    return Dataset(value, shards, named, fingerprint, True)


def default_classes(count: int) -> Classes:
    """Names for labels of a shard without manifest."""
    if count == IMAGENET_CLASSES:
        return tuple(known_synsets().items())
    return tuple((f"class_{label}", f"class {label}") for label in range(count))


def _fingerprint(shards: Shards) -> str:
    """Of the indexes only: shards without a manifest are too large to be read for it."""
    digest = sha256()
    for file in shards.files:
        for numbers in (file.keys, file.offsets, np.array([len(file), file.size])):
            digest.update(numbers.astype("<i8").tobytes())
    return digest.hexdigest()
