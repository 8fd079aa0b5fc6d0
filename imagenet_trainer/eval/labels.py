"""Right classes of images from files: corrected labels, and several right classes for an image.

- ReaL labels (Beyer et al. 2020, "Are we done with ImageNet?"), `real.json`: a list with the right
  classes of each of ImageNet's 50,000 validation images in the order of their file names. An image
  whose list is empty is left out.
- A CSV file with the columns `image` (its path or name in the list) or `key` (its index in the
  list), and `label`: id, name or number of a class, several with `;` between them, or nothing
  to leave the image out. Kaggle's LOC_val_solution.csv is read too.
"""

import csv
import json
import os
import re
from functools import cache
from pathlib import Path
from typing import Dict, Iterable, Iterator, List, Mapping, Sequence, Set, Tuple, TypeVar

import numpy as np

from imagenet_trainer.data.classes import (
    IMAGENET_CLASSES,
    Classes,
    OtherClasses,
    default_classes,
    label_finder,
    match,
)
from imagenet_trainer.data.dataset import Dataset
from imagenet_trainer.data.parts import labels_of
from imagenet_trainer.data.records.headers import read_summary
from imagenet_trainer.data.records.label_vectors import LabelVectors, binary_classes
from imagenet_trainer.data.records.lst import paths_by_key
from imagenet_trainer.data.records.manifest import manifest_path
from imagenet_trainer.errors import InputError
from imagenet_trainer.system.files import file_error, read_bytes

_IMAGENET_NAME = re.compile(r"ILSVRC2012_val_(\d{8})\.\w+")
_WORDNET_ID = re.compile(r"\bn\d{8}\b")
_LEAST_AGREEMENT = 0.5  # of ReaL labels with the shard's own; it is about 0.9 for ImageNet

Right = List[List[int]]
"""The right classes of each image, in the order of the shards."""

_Name = TypeVar("_Name", int, str)


def real_labels(path: str, dataset: Dataset, own: Right) -> Right:
    """The right classes of each image from a file of ReaL labels; `own` are those of the shards.

    Raises InputError, which begins with the path, for a file that does not belong to the images.
    """
    try:
        lists = json.loads(read_bytes(Path(path)))
        if not lists or not all(
            isinstance(one, list) and all(isinstance(n, int) and n >= 0 for n in one)
            for one in lists
        ):
            raise ValueError("it is not a list of lists of classes")
    except ValueError as error:
        raise InputError(f"{path}: {error}; give real.json of ReaL") from error
    numbers = _imagenet_to(dataset.classes, path)
    beyond = max((n for one in lists for n in one), default=0)
    if beyond >= len(numbers):
        raise InputError(f"{path}: has class {beyond}, but ImageNet has {len(numbers)}")
    right = [
        [int(numbers[n]) for n in lists[place] if numbers[n] >= 0]
        for place in _places(path, file_names(dataset), len(lists))
    ]
    agree = [not {*before}.isdisjoint(one) for before, one in zip(own, right) if one]
    if not agree or np.mean(agree) < _LEAST_AGREEMENT:
        share = 100 * np.mean(agree) if agree else 0
        raise InputError(
            f"{path}: agrees with the labels of {dataset.path} for {share:.0f} % of the images, "
            "so it is not for these images, or the classes are in another order"
        )
    return right


def _imagenet_to(classes: Classes, path: str) -> np.ndarray:
    """The network's class of each of ImageNet's, -1 for one that it does not have."""
    imagenet = default_classes(IMAGENET_CLASSES)
    if len(classes) == IMAGENET_CLASSES:
        found = match(imagenet, classes, "the network")
        return np.arange(IMAGENET_CLASSES) if found is None else found
    positions = {one: label for label, (one, _) in enumerate(classes)}
    numbers = np.array([positions.get(one, -1) for one, _ in imagenet])
    if (numbers < 0).all():
        raise InputError(f"{path}: has ImageNet's classes, of which the network has none")
    return numbers


def _places(path: str, names: Sequence[str], count: int) -> List[int]:
    """The place of each image in a list that follows the sorted names of all."""
    base = [os.path.basename(name) for name in names]
    numbers = [_IMAGENET_NAME.fullmatch(one) for one in base]
    if all(numbers):
        places = [int(one[1]) - 1 for one in numbers if one]
        if max(places) < count:
            return places
    if len(base) != count or len(set(base)) != count:
        raise InputError(
            f"{path}: has {count:,} images, and the shard has {len(base):,} whose names do not "
            "tell their places; pack ImageNet's validation images with their names"
        )
    order = {name: place for place, name in enumerate(sorted(base))}
    return [order[name] for name in base]


def table_labels(path: str, dataset: Dataset, own: Right) -> Tuple[Right, int]:
    """The right classes of each image from a CSV file, and the number of images that it has.

    The others keep their `own` classes, those of the shards. Raises InputError, which begins with
    the path and the line, for an image or a class that is unknown, for a key of several images, and
    for the second line of an image.
    """
    right = list(own)
    by_key = _places_of([{key} for key in dataset.shards.keys.tolist()])
    by_name: Dict[str, int] = {}
    find = label_finder(dataset.classes)
    lines: Dict[int, int] = {}  # of the images that were found
    for line, kind, image, words in _rows(path):
        if kind == "image" and not by_name:
            by_name = _by_name(file_names(dataset))
        places: Mapping = by_name if kind == "image" else by_key
        place = places.get(image if kind == "image" else _number(image))
        if place is None or place < 0:
            reason = "is no image of" if place is None else "names several images of"
            raise InputError(f"{path}: line {line}: {image!r} {reason} {dataset.path}")
        if place in lines:
            raise InputError(
                f"{path}: line {line}: {image!r} is also in line {lines[place]}; write several "
                "right classes into one line, with ; between them"
            )
        try:
            right[place] = [find(word) for word in words]
        except OtherClasses as error:
            raise InputError(f"{path}: line {line}: {error}") from error
        lines[place] = line
    if not lines:
        raise InputError(f"{path}: has no labels; write the columns image or key, and label")
    return right, len(lines)


def _rows(path: str) -> Iterator[Tuple[int, str, str, List[str]]]:
    """Line number, image or key, its value, and the classes of each row."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            names = set(reader.fieldnames or ())
            if {"ImageId", "PredictionString"} <= names:
                for row in reader:
                    ids = _WORDNET_ID.findall(row["PredictionString"] or "")
                    yield reader.line_num, "image", row["ImageId"], list(dict.fromkeys(ids))
                return
            kind = "key" if "key" in names else "image"
            if not {kind, "label"} <= names:
                raise InputError(f"{path}: has no columns image or key, and label")
            for row in reader:
                words = [word.strip() for word in (row["label"] or "").split(";")]
                yield reader.line_num, kind, row[kind].strip(), [word for word in words if word]
    except OSError as error:
        raise file_error(path, error) from error
    except (UnicodeDecodeError, csv.Error, AttributeError) as error:
        raise InputError(f"{path}: is not a CSV file in UTF-8 ({error})") from error


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else -1


def _by_name(names: Sequence[str]) -> Dict[str, int]:
    """The place of each path, file name and file name without extension; -1 for several."""
    bases = map(os.path.basename, names)
    return _places_of([{name, b, os.path.splitext(b)[0]} for name, b in zip(names, bases)])


def _places_of(names: Iterable[Set[_Name]]) -> Dict[_Name, int]:
    """The place of the image with each name, given those of each image; -1 for several images."""
    found: Dict[_Name, int] = {}
    for place, ones in enumerate(names):
        for one in ones:
            found[one] = -1 if one in found else place
    return found


def all_labels(dataset: Dataset) -> Right:
    """The classes of each image by all labels of its record.

    They are read as `LabelVectors` does. Raises RecordError for a label that is no class.
    """
    shards, classes = dataset.shards, len(dataset.classes)
    is_binary = binary_classes(read_summary(shards)) == classes
    vectors, rows = LabelVectors(classes, is_binary), []
    for number in range(len(shards)):
        labels = shards.record(number, compare=False).labels
        try:
            vector = vectors.of(labels, shards.classes_of_labels)
        except ValueError as error:
            raise shards.error(number, str(error)) from error
        rows.append(np.flatnonzero(vector).tolist())
    return rows


def own_labels(dataset: Dataset) -> Right:
    """The class of each image by its record, where it is one of the network."""
    labels, mapping = labels_of(dataset.shards), dataset.shards.classes_of_labels
    if mapping is not None:
        known = (labels >= 0) & (labels < len(mapping))
        labels = np.where(known, mapping[np.where(known, labels, 0)], -1)
    return [[label] * (0 <= label < len(dataset.classes)) for label in labels.tolist()]


def list_path(rec_path: str) -> str:
    """The list of the pack to which a shard belongs, which im2rec leaves beside it."""
    return os.path.splitext(manifest_path(rec_path))[0] + ".lst"


def named_images(dataset: Dataset) -> Iterator[Tuple[int, str]]:
    """Key and path of each image, as far as lists lie beside the shards."""
    read = cache(paths_by_key)  # several shards have one list
    for file in dataset.shards.files:
        names = read(list_path(file.path))
        yield from ((key, names[key]) for key in file.keys.tolist() if key in names)


def names_by_key(dataset: Dataset) -> Dict[int, str]:
    """The path of each image by its key; none of a key that images of several shards have."""
    keys, times = np.unique(dataset.shards.keys, return_counts=True)
    several = set(keys[times > 1].tolist())
    return {key: name for key, name in named_images(dataset) if key not in several}


def file_names(dataset: Dataset) -> List[str]:
    """The path of each image, from the lists beside the shards; InputError without them."""
    names: List[str] = []
    read = cache(paths_by_key)
    for file in dataset.shards.files:
        path = list_path(file.path)
        found = read(path)
        if not found:
            raise InputError(
                f"{path}: does not exist, so the names of the images are unknown; copy the list "
                "beside the shard"
            )
        try:
            names += [found[int(key)] for key in file.keys]
        except KeyError as error:
            raise InputError(f"{path}: has no image {error}; it is not the shard's list") from None
    return names
