"""Weights of classes (--sample-weights): from their numbers of images, or from a file."""

import csv
import io
import math
from pathlib import Path
from typing import Dict, List

import numpy as np

from imagenet_trainer.data.dataset import Classes
from imagenet_trainer.errors import InputError
from imagenet_trainer.system.files import read_bytes

INVERSE, SQRT = "inverse", "sqrt"


def class_weights(value: str, classes: Classes, counts: np.ndarray) -> np.ndarray:
    """The weight of an image of each class: float64 (classes,).

    Parameters
    ----------
    value
        `inverse`: one over the number of images of its class; `sqrt`: one over its square root;
        else the path of a CSV file with a line `class,weight` for each class. A class is given by
        its id or its name; the first line may be a header.
    classes
        (id, name) in the order of the labels.
    counts
        int64 (classes,): images of each class. A class without images gets 0.

    Raises InputError for a file that cannot be read, names another class, or lacks one.

    """
    with np.errstate(divide="ignore"):
        if value == INVERSE:
            weights = 1.0 / counts
        elif value == SQRT:
            weights = 1.0 / np.sqrt(counts)
        else:
            weights = _read(value, classes)
    return np.where(counts > 0, weights, 0.0)


def _read(path: str, classes: Classes) -> np.ndarray:
    labels: Dict[str, int] = {name: label for label, (_, name) in enumerate(classes)}
    labels.update({id_: label for label, (id_, _) in enumerate(classes)})
    weights = np.full(len(classes), np.nan)
    for number, row in enumerate(_rows(path), 1):
        if not row or (number == 1 and [cell.strip() for cell in row] == ["class", "weight"]):
            continue
        where = f"{path}: line {number}"
        if len(row) != 2:
            raise InputError(f"{where}: is not `class,weight`; a comma separates the two")
        name, weight = row[0].strip(), _weight(row[1], where)
        if name not in labels:
            raise InputError(
                f"{where}: {name!r} is not a class of the training set, such as {classes[0][0]}"
            )
        if not np.isnan(weights[labels[name]]):
            raise InputError(f"{where}: gives {name} a second weight; remove one")
        weights[labels[name]] = weight
    missing = np.flatnonzero(np.isnan(weights))
    if len(missing):
        raise InputError(
            f"{path}: has no weight of {len(missing)} of the {len(classes)} classes, the first is "
            f"{classes[missing[0]][0]}; add a line for each"
        )
    return weights


def _rows(path: str) -> List[List[str]]:
    text = read_bytes(Path(path)).decode("utf-8-sig", "replace")
    try:
        return list(csv.reader(io.StringIO(text, newline="")))
    except csv.Error as error:
        raise InputError(f"{path}: is no CSV file ({error}); give one of `class,weight`") from error


def _weight(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise InputError(f"{where}: {text.strip()!r} is not a weight, which is a number above 0")
    return value
