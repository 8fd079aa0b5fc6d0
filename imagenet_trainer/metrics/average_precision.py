"""Average precision of each class, for images that have several classes.

The definition is scikit-learn's (`average_precision_score`): the images sorted by the probability
of the class, AP = sum over the thresholds of precision times the increase of recall, without
interpolation. Images of equal probability share a threshold. The mean is over the classes that
have images (`average="macro"`).
"""

from typing import List

import numpy as np

from imagenet_trainer.metrics.right import RightClasses


def average_precision(probabilities: np.ndarray, right: np.ndarray) -> float:
    """AP of one class from its probabilities, float (n,), and bool (n,); nan without a positive."""
    positives = int(right.sum())
    if not positives:
        return float("nan")
    order = np.argsort(-probabilities, kind="stable")
    hits = np.cumsum(right[order])
    ordered = probabilities[order]
    last = np.append(ordered[1:] != ordered[:-1], True)  # the last image of each threshold
    hits, images = hits[last], np.flatnonzero(last) + 1
    gained = np.diff(hits, prepend=0) / positives
    return float((gained * hits / images).sum())


def mean_average_precision(probabilities: np.ndarray, right: np.ndarray) -> float:
    """The mean over the classes that have images: float (n, classes), bool (n, classes)."""
    found = [average_precision(*columns) for columns in zip(probabilities.T, right.T)]
    known = [value for value in found if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


class PrecisionCollector:
    """Collects the probabilities of all images, in any order.

    Parameters
    ----------
    right
        Bool (images, classes): the classes of each image.

    """

    def __init__(self, right: RightClasses) -> None:
        self._right = right.tocsc()
        self._positions: List[np.ndarray] = []
        self._parts: List[np.ndarray] = []

    def add(self, positions: np.ndarray, probabilities: np.ndarray) -> None:
        """Add a batch: positions int64 (n,), float32 (n, classes)."""
        self._positions.append(positions.copy())
        self._parts.append(probabilities.copy())

    def by_class(self) -> np.ndarray:
        """AP of each class, float64 (classes,), nan for classes without images; then forget all."""
        positions, probabilities = np.concatenate(self._positions), np.concatenate(self._parts)
        self._positions, self._parts = [], []
        found = [
            average_precision(
                probabilities[:, label], self._right[:, label].toarray()[positions, 0]
            )
            for label in range(probabilities.shape[1])
        ]
        return np.array(found)
