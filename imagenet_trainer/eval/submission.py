"""Files of predictions: a table of the most probable classes, and submissions to Kaggle.

- label: `id,label` with the name of the class.
- probability: `id,label` with the probability of one class, as in "Dogs vs. Cats Redux" (1 = dog).
- probabilities: `id` and a column per class, as in "Dog Breed Identification".
- imagenet: `ImageId,PredictionString`, five times WordNet id and box, as in "ImageNet Object
  Localization Challenge"; the box is the whole image, because a classifier has no other.
"""

import re
from pathlib import Path
from typing import IO, Any, Dict, Iterable, Iterator, List, Sequence, Set, Tuple

import numpy as np

from imagenet_trainer.errors import InputError
from imagenet_trainer.eval.classify import FilePrediction
from imagenet_trainer.metrics.counts import top_classes
from imagenet_trainer.system import parquet
from imagenet_trainer.text import CsvWriter, csv_cell

Classes = Sequence[Tuple[str, str]]
KINDS = ("label", "probability", "probabilities", "imagenet")
_BOXES = 5  # allowed by the ImageNet challenge


class PredictionTable:
    """Writes the rows of `--csv`: the file, then id, name, probability of its top classes.

    Rows are written immediately; `file` is a text file.
    """

    def __init__(self, file: IO[str], classes: Classes, top_k: int):
        self._classes, self._k = classes, min(top_k, len(classes))
        self._writer = CsvWriter(file)
        self._writer.writerow(_columns(self._k))

    def add(self, one: FilePrediction) -> None:
        """Write the row of a file."""
        cells = _cells(one, self._classes, self._k)
        self._writer.writerow(f"{cell:.6f}" if isinstance(cell, float) else cell for cell in cells)


class ParquetTable:
    """The same rows as Parquet, written at the end; names as in the CSV file."""

    def __init__(self, classes: Classes, top_k: int):
        self._classes, self._k = classes, min(top_k, len(classes))
        self._columns: Dict[str, List[Any]] = {name: [] for name in _columns(self._k)}

    def add(self, one: FilePrediction) -> None:
        """Keep the row of a file."""
        for column, cell in zip(self._columns.values(), _cells(one, self._classes, self._k)):
            column.append(round(cell, 6) if isinstance(cell, float) else csv_cell(cell))

    def write(self, path: str) -> None:
        """Write the file."""
        parquet.write_table(path, self._columns)


def _columns(k: int) -> List[str]:
    """The names of the columns of a table of the k most probable classes."""
    words = ("id", "name", "probability")
    return ["file", *(f"{word}{place}" for place in range(1, k + 1) for word in words)]


def _cells(one: FilePrediction, classes: Classes, k: int) -> Iterator[Any]:
    """A row of such a table."""
    yield one.path
    for label in top_classes(one.probabilities[None], k)[0]:
        yield from (*classes[label], float(one.probabilities[label]))


class Submission:
    """Collects the rows of `--submission`, one per image, sorted by id.

    Parameters
    ----------
    kind
        One of KINDS.
    classes
        The classes of the network, in the order of its outputs.
    of_class
        For `probability`: id or name of the class; '' for the second of two.
    clip
        Probabilities are clipped to clip ... 1 - clip, so that one confident error does not cost
        an infinite log loss. With a column per class they are normalised to a sum of 1 again.
    has_several
        Images have several classes: the probabilities of classes have no sum.

    Raises InputError if kind and classes do not fit.

    """

    def __init__(
        self, kind: str, classes: Classes, of_class: str = "", clip: float = 0.0,
        has_several: bool = False,
    ):  # fmt: skip
        self._kind, self._classes, self._clip = kind, classes, clip
        self._has_several = has_several
        self._of = _class_named(of_class, classes) if kind == "probability" else 0
        if clip and kind in ("label", "imagenet"):
            raise InputError(
                f"--clip {clip:g}: --submission-kind {kind} has no probabilities; omit --clip"
            )
        outcomes = len(classes) if kind == "probabilities" and not has_several else 2
        if clip * outcomes >= 1:
            raise InputError(
                f"--clip {clip:g}: must be below 1/{outcomes} for --submission-kind {kind}"
            )
        if has_several and kind == "label":
            raise InputError(
                "--submission-kind label: has one class of each image, but those of this network "
                "have several (fit --multi-label); use probabilities, and choose the least that "
                "counts for each class"
            )
        other = next((one for one, _ in classes if not re.fullmatch(r"n\d{8}", one)), None)
        if kind == "imagenet" and other is not None:
            raise InputError(
                f"--submission-kind imagenet: class {other} is not a WordNet id such as n01440764, "
                "which that competition needs; use label or probabilities"
            )
        self._rows: Dict[str, List[str]] = {}

    def add(self, one: FilePrediction) -> None:
        """Add the row of an image."""
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
            return [_text(p[self._of])]
        return list(map(_text, p if self._has_several else p / p.sum()))

    def write(self, file: IO[str]) -> None:
        """Write all rows: sorted by number if all ids are integers, otherwise by name."""
        heads = {
            "label": ["id", "label"],
            "probability": ["id", "label"],
            "probabilities": ["id", *(name for name, _ in self._classes)],
            "imagenet": ["ImageId", "PredictionString"],
        }
        numbers = all(re.fullmatch(r"\d+", name) for name in self._rows)
        names = sorted(self._rows, key=int) if numbers else sorted(self._rows)
        writer = CsvWriter(file)
        writer.writerow(heads[self._kind])
        writer.writerows([name, *self._rows[name]] for name in names)


def _text(probability: float) -> str:
    """As many digits as float32 has: as 0.000000 it would cost an infinite log loss."""
    return f"{probability:.8g}"


def id_of(path: str) -> str:
    """The id of an image: the name of the file without its extension."""
    return Path(path).stem


def check_ids(paths: Iterable[str]) -> None:
    """InputError if two images have the same id."""
    seen: Set[str] = set()
    for path in paths:
        if id_of(path) in seen:
            raise InputError(
                f"{path}: another image has the same id {id_of(path)}; each id needs one row, so "
                "give only one of the images, or rename it"
            )
        seen.add(id_of(path))


def _class_named(name: str, classes: Classes) -> int:
    if not name and len(classes) == 2:
        return 1
    if not name:
        raise InputError(
            "--submission-kind probability: the network has "
            f"{len(classes)} classes; choose one with --submission-class, or use probabilities"
        )
    for label, both in enumerate(classes):
        if name in both:
            return label
    raise InputError(f"--submission-class {name}: no such class; the first is {classes[0][0]}")
