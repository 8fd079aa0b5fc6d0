"""The datasets of a training and the order of its images, opened by flags."""

import glob
import os
from dataclasses import replace
from typing import Optional

from imagenet_trainer.config import DataSettings, FitSettings
from imagenet_trainer.data.bad_records import STOP
from imagenet_trainer.data.dataset import (
    IMAGENET_CLASSES,
    Classes,
    Dataset,
    open_dataset,
    open_matching_dataset,
)
from imagenet_trainer.data.order import Order, subset
from imagenet_trainer.data.records.shards import find_shards
from imagenet_trainer.errors import InputError, attributed_to


def open_training_set(settings: FitSettings) -> Dataset:
    """Open the training images, or the share --train-fraction of them.

    Raises InputError where a flag disagrees with the shards.
    """
    with attributed_to("--data-train", " "):
        dataset = open_dataset(
            settings.data_train, settings.data_train_idx, settings.num_classes,
            settings.on_bad_record == STOP,
        )  # fmt: skip
    if settings.num_classes not in (None, len(dataset.classes)):
        raise InputError(
            f"--num-classes {settings.num_classes}: {dataset.path} has {len(dataset.classes)} "
            "classes; omit the flag"
        )
    if len(dataset.classes) < 2:
        raise InputError(
            f"--data-train {dataset.path}: has one class, {dataset.classes[0][0]}; a classifier "
            "needs two or more: make a folder for each, and pack again"
        )
    if settings.num_examples not in (None, len(dataset)):
        raise InputError(
            f"--num-examples {settings.num_examples}: {dataset.path} has {len(dataset)} images; "
            "omit the flag"
        )
    some = subset(settings.seed, settings.train_fraction, len(dataset))
    return replace(dataset, subset=some)


def open_validation_set(settings: DataSettings, classes: Classes, reference: str) -> Dataset:
    """Open the validation images; InputError unless their classes are those of `reference`."""
    with attributed_to("--data-val", " "):
        return open_matching_dataset(
            settings.data_val, settings.data_val_idx, classes, reference,
            settings.on_bad_record == STOP,
        )  # fmt: skip


def check_separate(settings: FitSettings, train: Dataset, val: Dataset) -> str:
    """A message if both sets have the same shards, "" otherwise.

    Raises InputError if a pattern of --data-train also matches a validation shard.
    """
    paths = [{os.path.realpath(file.path) for file in one.shards.files} for one in (train, val)]
    common = paths[0] & paths[1]
    if common and paths[0] != paths[1] and glob.has_magic(settings.data_train):
        raise InputError(
            f"--data-train {settings.data_train}: also matches {min(common)}, which is a shard of "
            f"--data-val {settings.data_val}; give a pattern that matches only training shards"
        )
    if common or train.fingerprint == val.fingerprint:
        return (
            "--data-train and --data-val have the same images: the validation accuracy is that of "
            "images which the network was trained on"
        )
    return ""


def number_of_classes(settings: FitSettings) -> int:
    """Number of classes of a training whose shards may be missing.

    It is --num-classes; without the flag that of the training shards; without these 1000.
    """
    if settings.num_classes:
        return settings.num_classes
    dataset = packed_training_set(settings)
    return IMAGENET_CLASSES if dataset is None else len(dataset.classes)


def packed_training_set(settings: FitSettings) -> Optional[Dataset]:
    """The training set, whose shards are closed again; None if they are missing."""
    try:
        find_shards(settings.data_train)
    except InputError:
        return None
    dataset = open_training_set(settings)
    dataset.shards.close()
    return dataset


def open_order(settings: FitSettings, dataset: Dataset) -> Order:
    """The order in which a training visits the images of its dataset.

    Raises InputError if a batch has more images than --train-fraction leaves.
    """
    if settings.train_fraction < 1 and len(dataset) < settings.batch_size:
        raise InputError(
            f"--train-fraction {settings.train_fraction:g}: leaves {len(dataset)} of the images of "
            f"{dataset.path}, fewer than --batch-size {settings.batch_size}; use a larger fraction "
            "or a smaller batch"
        )
    return Order(
        settings.seed,
        len(dataset),
        settings.batch_size,
        settings.shuffle_window,
        dataset.subset,
    )
