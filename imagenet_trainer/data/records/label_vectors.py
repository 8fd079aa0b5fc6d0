"""Label vectors: all classes of an image, for records with several labels.

Where all records of a set have as many labels as there are classes, each 0 or 1, a 1 means that
the image has the class. Otherwise the labels of a record are its classes.
"""

from dataclasses import dataclass
from typing import NamedTuple, Optional, Sequence

import numpy as np


class LabelSummary(NamedTuple):
    """What decides how labels are read, of each record: arrays (records,)."""

    number: np.ndarray  # int64: how many
    most: np.ndarray  # float64: the largest one
    valid: np.ndarray  # bool: all are integers from 0 on
    binary: np.ndarray  # bool: all are 0 or 1


def summary_of(rows: Sequence[Sequence[float]]) -> LabelSummary:
    """The summary of records with these labels, each with at least one."""
    found = [
        (len(one), max(one), all(label >= 0 and label.is_integer() for label in one),
         {*one} <= {0.0, 1.0})
        for one in rows
    ]  # fmt: skip
    count, most, valid, binary = np.array(found, float).reshape(-1, 4).T
    return LabelSummary(count.astype(np.int64), most, valid.astype(bool), binary.astype(bool))


@dataclass(frozen=True)
class LabelVectors:
    """How the labels of a record are read.

    Attributes
    ----------
    classes
        their number.
    is_binary
        the labels are 0 or 1 for each class; otherwise they are classes.

    """

    classes: int
    is_binary: bool

    def of(self, labels: Sequence[float], mapping: Optional[np.ndarray] = None) -> np.ndarray:
        """0 or 1 for each class: uint8 (classes,).

        `mapping` has the class of each label, int64 (labels,), where the two differ. Raises
        ValueError with the reason for labels that are neither.
        """
        if self.is_binary:
            if len(labels) != self.classes or not {*labels} <= {0.0, 1.0}:
                raise ValueError(f"its labels are not {self.classes} numbers 0 and 1")
            return np.array(labels, np.uint8)
        known = self.classes if mapping is None else len(mapping)
        vector = np.zeros(self.classes, np.uint8)
        for label in labels:
            if not (label.is_integer() and 0 <= label < known):
                raise ValueError(
                    f"its label {label:g} is not a class of 0 to {known - 1}; records have "
                    f"classes, or {self.classes} numbers 0 and 1"
                )
            vector[int(label) if mapping is None else int(mapping[int(label)])] = 1
        return vector


def binary_classes(summary: LabelSummary) -> int:
    """The number of classes if all records have as many labels, each 0 or 1; 0 otherwise."""
    count = int(summary.number.max(initial=0))
    same = count > 1 and bool((summary.number == count).all() and summary.binary.all())
    return count if same else 0
