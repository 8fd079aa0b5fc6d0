"""The datasets of a training and the order of its images, opened by flags."""

import glob
from dataclasses import replace
from typing import List, Optional, Tuple

import numpy as np

from imagenet_trainer.config import FitSettings
from imagenet_trainer.config.flags import flag_of, flag_with_value, is_set
from imagenet_trainer.data.bad_records import STOP
from imagenet_trainer.data.balance import Balance
from imagenet_trainer.data.dataset import IMAGENET_CLASSES, Classes, Dataset, open_dataset
from imagenet_trainer.data.matching import open_matching_dataset
from imagenet_trainer.data.order import Order, subset
from imagenet_trainer.data.parts import Parts, divide, labels_of
from imagenet_trainer.data.records.shards import find_shards
from imagenet_trainer.data.records.storage import same_place
from imagenet_trainer.errors import InputError, attributed_to
from imagenet_trainer.train.class_weights import class_weights


def parts_of(settings: FitSettings) -> Parts:
    """The parts of the training set that are held back; InputError for a fold that cannot be."""
    if not settings.folds and not settings.fold:
        return Parts(settings.seed, minival=settings.minival)
    if not settings.folds:
        raise InputError(f"--fold {settings.fold}: needs the number of folds; add --folds 5")
    if settings.folds < 2 or not 1 <= settings.fold <= settings.folds:
        raise InputError(
            f"--folds {settings.folds} --fold {settings.fold}: give two folds or more, and as "
            "--fold the number of one of them, from 1 on"
        )
    return Parts(settings.seed, settings.folds, settings.fold, settings.minival)


def open_training_set(settings: FitSettings) -> Dataset:
    """Open the training images: without those held back, the share --train-fraction of the others.

    Raises InputError where a flag disagrees with the shards.
    """
    parts = parts_of(settings)
    dataset = _open_training_shards(settings, settings.data_train)
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
    among = divide(labels_of(dataset.shards), parts).train if parts else None
    if among is not None and not len(among):
        raise InputError(f"--minival {settings.minival:g}: leaves no image to train on")
    some = subset(settings.seed, settings.train_fraction, len(dataset), among)
    return replace(dataset, subset=some)


def open_minival(settings: FitSettings, train: Dataset) -> Optional[Dataset]:
    """The images that --minival holds back, opened; None without the flag."""
    parts = parts_of(settings)
    if not parts.minival:
        return None
    images = divide(labels_of(train.shards), parts).minival
    return train.part(parts.name(train.path, minival=True), images)


def open_validation_set(settings: FitSettings, classes: Classes, reference: str) -> Dataset:
    """Open the validation images, with --folds the fold that is held back.

    InputError unless their classes are those of `reference`.
    """
    parts = parts_of(settings)
    if parts.folds:
        return _open_training_shards(settings, parts.name(settings.data_train))
    with attributed_to("--data-val", " "):
        return open_matching_dataset(
            settings.data_val, settings.data_val_idx, classes, reference,
            settings.on_bad_record == STOP, settings.label_index, settings.multi_label,
        )  # fmt: skip


def _open_training_shards(settings: FitSettings, path: str) -> Dataset:
    """The shards of --data-train, or a part of them that the path names."""
    with attributed_to("--data-train", " "):
        return open_dataset(
            path, settings.data_train_idx, settings.num_classes,
            settings.on_bad_record == STOP, settings.label_index, multi_label=settings.multi_label,
        )  # fmt: skip


def check_separate(settings: FitSettings, train: Dataset, val: Dataset) -> str:
    """A message if both sets have the same shards, "" otherwise, and for a fold of one set.

    Raises InputError if a pattern of --data-train also matches a validation shard.
    """
    if settings.folds:
        return ""
    paths = [{same_place(file.path) for file in one.shards.files} for one in (train, val)]
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


def empty_class_messages(train: Dataset) -> List[str]:
    """For the log: classes without an image, as labels that count from 1 leave class 0."""
    if train.counts is None or train.counts.all():
        return []
    empty = np.flatnonzero(train.counts == 0)
    names = ", ".join(f"{label} ({train.classes[label][0]})" for label in empty[:3].tolist())
    return [
        f"{train.path}: has no image of {len(empty)} of its {len(train.classes)} classes, "
        f"{names}{' ...' if len(empty) > 3 else ''}: the network gets an output for each of them; "
        "labels count from 0, without gaps"
    ]


def held_back_messages(
    settings: FitSettings, val: Dataset, minival: Optional[Dataset]
) -> List[str]:
    """For the log: the images that are not trained on, and what they decide."""
    messages = []
    if settings.folds:
        messages.append(
            f"--fold {settings.fold}: validation on the {len(val)} images of fold {settings.fold} "
            f"of {settings.folds} of --data-train; --data-val is not read"
        )
    if minival is not None:
        messages.append(
            f"--minival {settings.minival:g}: {len(minival)} training images are held back, and "
            "choose the best epoch"
        )
    elif settings.patience:
        messages.append(
            f"--patience {settings.patience}: the validation accuracy decides when to stop, so the "
            "best one is optimistic; --minival 0.01 lets training images decide instead"
        )
    return messages


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

    Raises InputError if a batch has more images than --train-fraction and others leave.
    """
    if dataset.subset is not None and len(dataset) < settings.batch_size:
        flags = [name for name in ("train_fraction", "minival", "folds") if is_set(settings, name)]
        given = " ".join(flag_with_value(settings, name) for name in flags)
        raise InputError(
            f"{given}: leaves {len(dataset)} of the images of {dataset.path}, fewer than "
            f"--batch-size {settings.batch_size}; leave more, or use a smaller batch"
        )
    if settings.repeated_augmentation > 1 and settings.shuffle_window:
        raise InputError(
            f"--shuffle-window {settings.shuffle_window}: does not go with "
            "--repeated-augmentation, which visits a window more slowly than it is read; omit one "
            "of the two"
        )
    return Order(
        settings.seed,
        len(dataset),
        settings.batch_size,
        settings.shuffle_window,
        dataset.subset,
        _balance(settings, dataset),
        settings.repeated_augmentation,
    )


def _balance(settings: FitSettings, dataset: Dataset) -> Optional[Balance]:
    """Balanced sampling; None without --sample-weights."""
    if not settings.sample_weights:
        return None
    if settings.shuffle_window:
        raise InputError(
            f"--shuffle-window {settings.shuffle_window}: --sample-weights visits images of the "
            "whole set in every batch; omit one of the two"
        )
    images, labels = training_labels(dataset)
    weights = sample_weights(settings, dataset)
    return Balance(settings.seed, images, labels, weights)


def training_labels(dataset: Dataset) -> Tuple[np.ndarray, np.ndarray]:
    """The images that are trained on, and their labels: int64 (images,) both."""
    labels = labels_of(dataset.shards)
    images = np.arange(len(labels)) if dataset.subset is None else dataset.subset
    labels, known = labels[images], len(dataset.classes)
    bad = np.flatnonzero((labels < 0) | (labels >= known))
    if len(bad):
        raise InputError(
            f"{dataset.path}: record {images[bad[0]]} has the label {labels[bad[0]]}, which is not "
            f"a class of 0 to {known - 1}; pack the set again"
        )
    return images, labels


def sample_weights(settings: FitSettings, dataset: Dataset) -> np.ndarray:
    """The weight of an image of each class in the sampling: float64 (classes,)."""
    return _weights(settings, "sample_weights", dataset)[0]


def loss_weights(settings: FitSettings, dataset: Dataset) -> Tuple[float, ...]:
    """The weights of --class-weights, whose mean over the images is 1; () without the flag."""
    if not settings.class_weights:
        return ()
    if settings.bce_loss:
        raise InputError("--class-weights: are those of the cross-entropy; omit them or --bce-loss")
    weights, counts = _weights(settings, "class_weights", dataset)
    return tuple((weights * counts.sum() / (weights * counts).sum()).tolist())


def _weights(settings: FitSettings, name: str, dataset: Dataset) -> Tuple[np.ndarray, np.ndarray]:
    """The weight of an image of each class by a flag, and the numbers of images: (classes,)."""
    counts = np.bincount(training_labels(dataset)[1], minlength=len(dataset.classes))
    with attributed_to(flag_of(name), " "):
        return class_weights(getattr(settings, name), dataset.classes, counts), counts
