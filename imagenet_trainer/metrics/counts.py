"""Counting: class probabilities and true classes in, numbers out.

Two classes of the same probability are ordered by their index, the lower first, everywhere:
so a rank, the top-k and the confusion matrix never contradict each other.
"""

import math
from dataclasses import dataclass

import numpy as np

# The least normal float32: a probability that underflowed costs 87.3 nats and not infinity.
_SMALLEST = 1.2e-38
_FEW = 100  # up to here as many maxima are faster than a partition


@dataclass(frozen=True)
class Scores:
    """Counts over some images; those of two batches add up with `+`, `sum(batches, Scores())`.

    `rank1` and `rank5` count the images whose true class is the first, or among the first five;
    `loss` is the cross-entropy summed over the images, in nats.
    """

    images: int = 0
    rank1: int = 0
    rank5: int = 0
    loss: float = 0.0

    def __add__(self, other: "Scores") -> "Scores":
        return Scores(
            self.images + other.images,
            self.rank1 + other.rank1,
            self.rank5 + other.rank5,
            self.loss + other.loss,
        )

    @property
    def rank1_accuracy(self) -> float:
        """Share of images whose true class came first; nan without images."""
        return self._mean(self.rank1)

    @property
    def rank5_accuracy(self) -> float:
        """Share of images whose true class was among the first five; nan without images."""
        return self._mean(self.rank5)

    @property
    def mean_loss(self) -> float:
        """Cross-entropy per image in nats; nan without images."""
        return self._mean(self.loss)

    def _mean(self, total: float) -> float:
        return total / self.images if self.images else math.nan


def score(probabilities: np.ndarray, labels: np.ndarray) -> Scores:
    """Count a batch: float32 (n, classes) and int64 (n,)."""
    places = ranks(probabilities, labels)
    return Scores(
        images=len(labels),
        rank1=int((places < 1).sum()),
        rank5=int((places < 5).sum()),
        loss=math.fsum(log_loss(probabilities, labels)),
    )


def ranks(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Place of each true class among all classes, 0 being the first: int64 (n,).

    Takes float32 (n, classes), finite, and int64 (n,).
    """
    true = _of_label(probabilities, labels)[:, None]  # n, 1
    ahead = np.count_nonzero(probabilities > true, axis=1)
    level = probabilities == true
    # Hardly any image has a class level with the true one, and then only a few.
    for image in np.flatnonzero(np.count_nonzero(level, axis=1) > 1):
        ahead[image] += np.count_nonzero(level[image, : labels[image]])
    return ahead.astype(np.int64)


def top_classes(probabilities: np.ndarray, k: int) -> np.ndarray:
    """The k most probable classes of each row, the most probable first: int64 (n, min(k, classes)).

    Equal to a stable descending sort, at the price of a few maxima or of a partition. Takes
    float32 (n, classes), finite.
    """
    images, classes = probabilities.shape
    k = min(k, classes)
    if k <= _FEW:
        # NumPy's argmax uses vector instructions and names the first of equal maxima.
        rest, rows = probabilities.copy(), np.arange(images)
        best = np.empty((images, k), np.int64)
        for place in range(k):
            best[:, place] = rest.argmax(axis=1)
            rest[rows, best[:, place]] = -np.inf
        return best
    last = np.partition(probabilities, classes - k, axis=1)[:, classes - k, None]  # n, 1
    above, level = probabilities > last, probabilities == last
    # Of the classes level with the k-th, the first few fill what those above it leave free.
    free = k - above.sum(axis=1, keepdims=True)
    chosen = above | (level & (level.cumsum(axis=1) <= free))
    top = chosen.nonzero()[1].reshape(images, k)  # ascending index
    order = np.argsort(-np.take_along_axis(probabilities, top, axis=1), axis=1, kind="stable")
    return np.take_along_axis(top, order, axis=1)


def log_loss(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Cross-entropy of each image in nats, -ln(p + 1.2e-38): float64 (n,)."""
    return loss_of(_of_label(probabilities, labels))


def loss_of(true: np.ndarray) -> np.ndarray:
    """The same of the probabilities of the true classes alone, float32 (n,): float64 (n,)."""
    return -np.log(true.astype(np.float64) + _SMALLEST)


def confusion_top(classes: int) -> int:
    """How many predictions of an image the confusion matrix counts: five, or the first alone where
    five would be all classes and every cell of a row the same.
    """
    return 5 if classes > 5 else 1


def top_k_confusion(labels: np.ndarray, top: np.ndarray, classes: int) -> np.ndarray:
    """Count (true class, predicted class) for every column of `top`: int64 (classes, classes).

    Rows are true classes, columns predicted ones, so n images with k predictions each make n * k
    counts. Takes int64 (n,) and int64 (n, k), as `top_classes` gives it. Raises ValueError for a
    class outside 0..classes-1.
    """
    cells = np.ravel_multi_index((labels[:, None], top), (classes, classes))
    return np.bincount(cells.ravel(), minlength=classes * classes).reshape(classes, classes)


def _of_label(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return np.take_along_axis(probabilities, labels[:, None], axis=1)[:, 0]
