"""Classes of a dataset that are matched with those of a network or of another dataset."""

from dataclasses import replace
from typing import Optional

import numpy as np

from imagenet_trainer.config import commands
from imagenet_trainer.data.classes import Classes, OtherClasses, are_placeholders, match
from imagenet_trainer.data.dataset import Dataset, join_notes, open_dataset
from imagenet_trainer.data.parts import labels_of


def open_matching_dataset(
    path: str,
    index: str,
    classes: Classes,
    reference: str,
    all_labels: bool = True,
    label_index: Optional[int] = None,
    multi_label: bool = False,
) -> Dataset:
    """Open a dataset whose classes must be those of `reference`; see `with_classes_of`."""
    dataset = open_dataset(
        path, index, len(classes), all_labels, label_index, multi_label=multi_label
    )
    try:
        return with_classes_of(dataset, classes, reference)
    except BaseException:
        dataset.shards.close()
        raise


def with_classes_of(dataset: Dataset, classes: Classes, reference: str) -> Dataset:
    """The dataset with the classes of `reference`, and its labels as theirs.

    Classes are matched by identity, see `classes.match`; a dataset may lack classes of the
    reference. A dataset without a manifest has the reference's labels. Raises OtherClasses for
    classes with images that the reference does not have.
    """
    if not dataset.has_manifest:
        same = len(dataset.classes) == len(classes)
        return replace(dataset, classes=classes) if same else dataset
    try:
        labels = match(dataset.classes, classes, reference, dataset.counts)
    except OtherClasses as error:
        advice = commands.pack_classes(reference)
        raise OtherClasses(f"{dataset.path}: {error}; {advice}") from error
    if [one for one, _ in dataset.classes] == [one for one, _ in classes]:
        return dataset
    has = len(dataset.classes)
    if dataset.counts is not None:
        has = int((dataset.counts > 0).sum())
    notes = []
    if has < len(classes):
        notes.append(f"has images of {has} of the {len(classes)} classes of {reference}")
    vectors = dataset.shards.label_vectors
    if vectors is not None:
        dataset.shards.label_vectors = replace(vectors, classes=len(classes))
    if labels is not None:
        dataset.shards.classes_of_labels = labels
        notes.append("labels are matched by name")
    elif are_placeholders(dataset.classes):
        notes.append(f"its classes have no names; labels are those of {reference}")
    note = f"{dataset.path}: {'; '.join(notes)}" if notes else ""
    return replace(dataset, classes=classes, note=join_notes(dataset.note, note))


def present_classes(dataset: Dataset) -> np.ndarray:
    """The classes that have images, ascending: int64 (n,)."""
    if dataset.counts is not None:
        labels = np.flatnonzero(dataset.counts)
    else:
        labels = np.unique(labels_of(dataset.shards))
        labels = labels[(labels >= 0) & (labels < len(dataset.classes))]
    mapping = dataset.shards.classes_of_labels
    return labels if mapping is None else np.sort(mapping[labels])
