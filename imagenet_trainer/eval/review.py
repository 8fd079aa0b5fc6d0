"""Accuracy without the images whose labels a person has marked, and with corrected labels.

The report saves the marks as a CSV file with the columns image, key, label, verdict, class.
"""

import csv
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence

import numpy as np

from imagenet_trainer.errors import InputError
from imagenet_trainer.metrics.confidence import wilson
from imagenet_trainer.metrics.evaluation import shown_ranks
from imagenet_trainer.metrics.predictions import Predictions
from imagenet_trainer.system.files import file_error

WRONG, AMBIGUOUS = "wrong label", "ambiguous"
_COLUMNS = ("image", "key", "label", "verdict", "class")


class Mark(NamedTuple):
    """A line of the file."""

    line: int
    image: int  # position in the predictions
    key: int
    label: int
    verdict: str  # WRONG or AMBIGUOUS
    right: Optional[int]  # the right class of an image with a wrong label, if it is known


def read_review(path: str) -> List[Mark]:
    """The marks in a file; InputError that names the line for what is not one."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = set(_COLUMNS) - set(reader.fieldnames or ())
            if missing:
                raise InputError(
                    f"--review {path}: has no column {sorted(missing)[0]}; save the file with the "
                    "button of the report"
                )
            return [_mark(path, reader.line_num, row) for row in reader]
    except OSError as error:
        raise file_error(path, error) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"--review {path}: is not a CSV file in UTF-8 ({error})") from error


def _mark(path: str, line: int, row: Dict[str, str]) -> Mark:
    try:
        image, key, label = (int(row[name]) for name in ("image", "key", "label"))
        right = int(row["class"]) if row["class"] else None
        if row["verdict"] not in (WRONG, AMBIGUOUS):
            raise ValueError(f"{row['verdict']!r} is neither {WRONG!r} nor {AMBIGUOUS!r}")
    except (TypeError, ValueError) as error:  # TypeError: a short line
        raise InputError(f"--review {path}: line {line}: {error}") from error
    right = right if row["verdict"] == WRONG else None
    return Mark(line, image, key, label, row["verdict"], right)


class Review:
    """Marks on the images of some predictions.

    Raises InputError, which names the line, for marks on other images or classes.
    """

    def __init__(self, path: str, marks: Sequence[Mark], predictions: Predictions) -> None:
        self.predictions, self.marks = predictions, marks
        self.labels = predictions.labels.copy()  # corrected
        self.marked = np.zeros(len(predictions), bool)
        self.corrected = np.zeros(len(predictions), bool)
        for mark in marks:
            known = 0 <= mark.image < len(predictions) and (
                (predictions.keys[mark.image], predictions.labels[mark.image])
                == (mark.key, mark.label)
            )
            if not known:
                raise InputError(
                    f"--review {path}: line {mark.line}: image {mark.image} is not the one with "
                    f"key {mark.key} and label {mark.label}; review a report on the same dataset"
                )
            if mark.right is not None and not 0 <= mark.right < predictions.classes:
                raise InputError(
                    f"--review {path}: line {mark.line}: class {mark.right} is not in "
                    f"0..{predictions.classes - 1}"
                )
            self.marked[mark.image] = True
            self.corrected[mark.image] = mark.right is not None
            if mark.right is not None:
                self.labels[mark.image] = mark.right

    def accuracy(self, kept: np.ndarray, k: int) -> List[float]:
        """Share of the kept images, bool (n,), with their label among the first k; its interval."""
        hits = (self.predictions.top[kept, :k] == self.labels[kept, None]).any(axis=1).sum()
        if not kept.any():
            return [np.nan] * 3
        return [hits / kept.sum(), *map(float, wilson(hits, np.array(kept.sum())))]

    def lines(self, top_k: Sequence[int] = ()) -> Iterator[str]:
        """The results as text."""
        wrong = sum(mark.verdict == WRONG for mark in self.marks)
        yield (
            f"reviewed: {wrong} with a wrong label, {int(self.corrected.sum())} of them with the "
            f"right class; {len(self.marks) - wrong} ambiguous"
        )
        titles = {
            "without them": ~self.marked,
            "with the right classes, without the others": ~self.marked | self.corrected,
        }
        for title, kept in titles.items():
            shares = [
                "rank-{} {:.2f} % ({:.2f} to {:.2f})".format(
                    name[4:], *(100 * value for value in self.accuracy(kept, int(name[4:])))
                )
                for name in shown_ranks(self.predictions.classes, top_k)
            ]
            yield f"{title}: {'  '.join(shares)}  {int(kept.sum()):,} images"
