"""Images with several classes (--multi-label): flags that exclude it, its validation score."""

from typing import List

import numpy as np

from imagenet_trainer.config import FitSettings
from imagenet_trainer.config.flags import flag_with_value, is_set
from imagenet_trainer.data.dataset import Dataset
from imagenet_trainer.engines import Engine
from imagenet_trainer.errors import InputError
from imagenet_trainer.metrics.average_precision import mean_average_precision

# Flags that need one class for each image, with the reason.
_REFUSED = {
    "label_index": "chooses one label of a record, and --multi-label takes all",
    "cutmix": "cuts away what some classes of an image are about; --mixup blends",
    "label_smoothing": "spreads a target over the classes, which here are independent",
    "class_weights": "weighs the one class of an image, and here it may have several",
    "sample_weights": "weighs the one class of an image, and here it may have several",
    "teacher": "gives probabilities of one class of an image",
    "bce_loss": "is for images with one class; --multi-label has that loss in any case",
    "confusion_gif": "counts the one class of an image, and here it may have several",
    "loss": "names losses of one class; that of --multi-label is logged in any case",
}
_BLOCK = 1 << 20  # numbers that the workers sum at a time


def check_multi_label(settings: FitSettings) -> None:
    """InputError for a flag that does not go with --multi-label."""
    for name, reason in _REFUSED.items():
        if settings.multi_label and is_set(settings, name):
            raise InputError(f"{flag_with_value(settings, name)}: {reason}; omit one of the two")


def check_same_labels(train: Dataset, val: Dataset) -> None:
    """Read the labels of both sets in the same way; InputError if they have different ones.

    A few lists of classes 0 and 1 may look like one 0 or 1 for each class.
    """
    ours, theirs = train.shards.label_vectors, val.shards.label_vectors
    if ours is None or theirs is None or ours.is_binary == theirs.is_binary:
        return
    if ours.is_binary:
        raise InputError(
            f"{val.path}: its records have classes, and those of {train.path} have {ours.classes} "
            "numbers 0 and 1; pack both in the same way"
        )
    val.shards.label_vectors = ours


def made_labels(settings: FitSettings, labels: np.ndarray, classes: int) -> np.ndarray:
    """Labels for synthetic images: int64 (n,), or with --multi-label a vector of each."""
    return np.eye(classes, dtype=np.uint8)[labels] if settings.multi_label else labels


class MeanPrecision:
    """Collects a worker's validation, and computes the mean average precision of all workers."""

    def __init__(self) -> None:
        self._probabilities: List[np.ndarray] = []
        self._vectors: List[np.ndarray] = []

    def add(self, probabilities: np.ndarray, vectors: np.ndarray) -> None:
        """Add a batch: float32 (n, classes), uint8 (n, classes)."""
        self._probabilities.append(probabilities.copy())
        self._vectors.append(vectors.copy())

    def result(self, engine: Engine, classes: int) -> float:
        """The mean over the classes that have images; all workers call it, and get the same."""
        empty = np.zeros((0, classes), np.float32)
        probabilities = np.concatenate([empty, *self._probabilities])
        vectors = np.concatenate([empty, *self._vectors])
        if engine.world_size > 1:
            probabilities, vectors = _of_all(probabilities, engine), _of_all(vectors, engine)
        return mean_average_precision(probabilities, vectors > 0)


def _of_all(rows: np.ndarray, engine: Engine) -> np.ndarray:
    """The rows of all workers, in the order of their ranks: float32 (n, k) to (all, k)."""
    counts = np.zeros(engine.world_size)
    counts[engine.rank] = len(rows)
    ends = np.cumsum(engine.sum_over_workers(counts)).astype(np.int64)
    result = np.zeros((ends[-1], rows.shape[1]), np.float32)
    result[ends[engine.rank] - len(rows) : ends[engine.rank]] = rows
    step = max(1, _BLOCK // rows.shape[1])
    for first in range(0, len(result), step):
        part = result[first : first + step]
        part[:] = engine.sum_over_workers(part.astype(np.float64).ravel()).reshape(part.shape)
    return result
