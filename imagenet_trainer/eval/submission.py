"""Predictions as files: a table of the best classes, and what Kaggle's competitions ask for.

- label: `id,label` with the name of the class.
- probability: `id,label` with the probability of one class, as "Dogs vs. Cats Redux" (1 = dog).
- probabilities: `id` and a column for each class, as "Dog Breed Identification".
- imagenet: `ImageId,PredictionString`, five times WordNet id and box, as "ImageNet Object
  Localization Challenge"; the box is the whole image, since a classifier knows no other.
"""

import csv
import re
from pathlib import Path
from typing import IO, Any, Dict, Iterable, List, Sequence, Set, Tuple

import numpy as np

from imagenet_trainer.errors import InputError
from imagenet_trainer.eval.classify import FilePrediction
from imagenet_trainer.metrics.counts import top_classes

Classes = Sequence[Tuple[str, str]]
KINDS = ("label", "probability", "probabilities", "imagenet")
_BOXES = 5  # that the ImageNet challenge takes


class Table:
    """Rows of `--csv`: the file, then id, name and probability of its best classes.

    Written as they come; `file` is a text file.
    """

    def __init__(self, file: IO[str], classes: Classes, top_k: int):
        self._classes, self._k = classes, min(top_k, len(classes))
        self._writer = csv.writer(file, lineterminator="\n")
        places = range(1, self._k + 1)
        heads = (f"{word}{place}" for place in places for word in ("id", "name", "probability"))
        self._writer.writerow(("file", *heads))

    def add(self, one: FilePrediction) -> None:
        """Write one file's row."""
        row: List[Any] = [one.path]
        for label in top_classes(one.probabilities[None], self._k)[0]:
            row += [*self._classes[label], f"{one.probabilities[label]:.6f}"]
        self._writer.writerow(row)


class Submission:
    """Rows of `--submission`, one for each image, sorted by id.

    Parameters
    ----------
    kind
        one of KINDS.
    classes
        of the network, in the order of its outputs.
    of_class
        for `probability`: id or name of the class; '' for the second of two.
    clip
        probabilities stay between this and 1 minus it, so that one sure mistake does not cost a
        log loss of infinity; where every class has a column, they are made to add up to 1 again.

    Raises InputError where kind and classes do not fit.

    """

    def __init__(self, kind: str, classes: Classes, of_class: str = "", clip: float = 0.0):
        self._kind, self._classes, self._clip = kind, classes, clip
        self._of = _class_named(of_class, classes) if kind == "probability" else 0
        if clip and kind in ("label", "imagenet"):
            raise InputError(f"--clip {clip:g}: --submission-kind {kind} holds no probabilities")
        if clip * len(classes) >= 1:
            raise InputError(
                f"--clip {clip:g}: is not below 1 / {len(classes)}, the number of classes"
            )
        stranger = next((one for one, _ in classes if not re.fullmatch(r"n\d{8}", one)), None)
        if kind == "imagenet" and stranger is not None:
            raise InputError(
                f"--submission-kind imagenet: class {stranger} is no WordNet id such as n01440764, "
                "which that competition takes; take label or probabilities"
            )
        self._rows: Dict[str, List[str]] = {}

    def add(self, one: FilePrediction) -> None:
        """Take in one image."""
        self._rows[id_of(one.path)] = self._cells(one)

    def _cells(self, one: FilePrediction) -> List[str]:
        p = one.probabilities.astype(np.float64)
        if self._kind == "label":
            return [self._classes[int(top_classes(p[None], 1)[0, 0])][0]]
        if self._kind == "imagenet":
            high, wide = one.size
            best = top_classes(p[None], _BOXES)[0]
            return [" ".join(f"{self._classes[label][0]} 0 0 {wide} {high}" for label in best)]
        p = np.clip(p, self._clip, 1 - self._clip)
        if self._kind == "probability":
            return [f"{p[self._of]:.6f}"]
        return [f"{value:.6f}" for value in p / p.sum()]

    def write(self, file: IO[str]) -> None:
        """Write all rows: by number where all ids are whole numbers, otherwise by name."""
        heads = {
            "label": ["id", "label"],
            "probability": ["id", "label"],
            "probabilities": ["id", *(name for name, _ in self._classes)],
            "imagenet": ["ImageId", "PredictionString"],
        }
        numbers = all(re.fullmatch(r"\d+", name) for name in self._rows)
        names = sorted(self._rows, key=int) if numbers else sorted(self._rows)
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(heads[self._kind])
        writer.writerows([name, *self._rows[name]] for name in names)


def id_of(path: str) -> str:
    """An image's id: the name of the file without its ending."""
    return Path(path).stem


def check_ids(paths: Iterable[str]) -> None:
    """InputError unless each image has an id of its own."""
    seen: Set[str] = set()
    for path in paths:
        if id_of(path) in seen:
            raise InputError(
                f"{path}: there is another image with the id {id_of(path)}; each needs its own "
                "row, so name one of them, or rename it"
            )
        seen.add(id_of(path))


def _class_named(name: str, classes: Classes) -> int:
    if not name and len(classes) == 2:
        return 1
    if not name:
        raise InputError(
            "--submission-kind probability: the network has "
            f"{len(classes)} classes; say which one with --submission-class, or take probabilities"
        )
    for label, both in enumerate(classes):
        if name in both:
            return label
    raise InputError(f"--submission-class {name}: no such class; the first is {classes[0][0]}")
