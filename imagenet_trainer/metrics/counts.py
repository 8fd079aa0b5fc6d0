"""Counts of hits, ranks, losses and confusions from class probabilities and true classes.

Classes with equal probabilities are ordered by their index everywhere, so ranks, top-k and the
confusion matrix always agree.
"""

import math
from dataclasses import dataclass
from typing import Optional

import numpy as np

# The smallest normal float32: a probability that underflowed costs 87.3 nats, not infinity.
SMALLEST = 1.2e-38
MEAN_AVERAGE_PRECISION = "mean_average_precision"  # its name in files
HALF_STEP = 2.0**-25  # half the distance between 1 and the float32 below it
_FEW = 100  # for k up to this, k maxima are faster than a partition


@dataclass(frozen=True)
class Scores:
    """Counts over some images. Add batches with `+` or `sum(batches, Scores())`.

    `rank1`, `rank5` and `rank_k` count the images whose true class is the most probable one, or
    among the five or `top_k` most probable; `loss` is the sum of their cross-entropies in nats.
    """

    images: int = 0
    rank1: int = 0
    rank5: int = 0
    loss: float = 0.0
    rank_k: int = 0
    top_k: int = 5  # 0: of parts with different ones, so that rank_k means nothing
    # Of images with several classes (see `score_vectors`); a sum of scores has none.
    mean_precision: Optional[float] = None

    def __add__(self, other: "Scores") -> "Scores":
        counted = {part.top_k for part in (self, other) if part.images} or {self.top_k}
        return Scores(
            self.images + other.images,
            self.rank1 + other.rank1,
            self.rank5 + other.rank5,
            self.loss + other.loss,
            self.rank_k + other.rank_k,
            counted.pop() if len(counted) == 1 else 0,
        )

    @property
    def rank1_accuracy(self) -> float:
        """Share of images whose true class is the most probable one; nan without images."""
        return self._mean(self.rank1)

    @property
    def rank5_accuracy(self) -> float:
        """Share of images whose true class is among the five most probable; nan without images."""
        return self._mean(self.rank5)

    @property
    def rank_k_accuracy(self) -> float:
        """Share of images whose true class is among the `top_k` most probable; nan if unknown."""
        return self._mean(self.rank_k) if self.top_k else math.nan

    @property
    def mean_loss(self) -> float:
        """Cross-entropy per image in nats; nan without images."""
        return self._mean(self.loss)

    @property
    def merit(self) -> float:
        """What selects the best epoch: mean average precision if it is known, or rank-1."""
        return self.rank1_accuracy if self.mean_precision is None else self.mean_precision

    def _mean(self, total: float) -> float:
        return total / self.images if self.images else math.nan


def score(probabilities: np.ndarray, labels: np.ndarray, top_k: int = 5) -> Scores:
    """Count a batch: float32 (n, classes) and int64 (n,)."""
    rank = ranks(probabilities, labels)
    return Scores(
        images=len(labels),
        rank1=int((rank < 1).sum()),
        rank5=int((rank < 5).sum()),
        loss=math.fsum(log_loss(probabilities, labels)),
        rank_k=int((rank < top_k).sum()),
        top_k=top_k,
    )


def score_vectors(probabilities: np.ndarray, vectors: np.ndarray, top_k: int = 5) -> Scores:
    """Count a batch of images with several classes: float32 (n, classes), 0 or 1 (n, classes).

    An image has the rank of its most probable right class, and none without a class. Its loss is
    the mean over the classes of the binary cross-entropies.
    """
    right = vectors > 0
    best = np.where(right, probabilities, -1.0).argmax(axis=1)
    rank = np.where(right.any(axis=1), ranks(probabilities, best), np.iinfo(np.int64).max)
    hits = [int((rank < k).sum()) for k in (1, 5, top_k)]
    loss = math.fsum(binary_log_loss(probabilities, vectors))
    return Scores(len(vectors), hits[0], hits[1], loss, hits[2], top_k)


def binary_log_loss(probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The mean over the classes of the binary cross-entropies, in nats: float64 (n,).

    Takes float32 (n, classes) both. A probability of 1 where the target is 0 costs 17.3 nats.
    """
    p, t = probabilities.astype(np.float64), targets.astype(np.float64)
    losses = -t * np.log(p + SMALLEST) - (1 - t) * np.log(1 - p + HALF_STEP)
    return losses.mean(axis=1)


def ranks(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Rank of each true class among all classes, 0 for the most probable: int64 (n,).

    Takes float32 (n, classes), finite, and int64 (n,).
    """
    true = _of_label(probabilities, labels)[:, None]  # n, 1
    ahead = np.count_nonzero(probabilities > true, axis=1)
    equal = probabilities == true
    # Few images have other classes with exactly the probability of the true one.
    for image in np.flatnonzero(np.count_nonzero(equal, axis=1) > 1):
        ahead[image] += np.count_nonzero(equal[image, : labels[image]])
    return ahead.astype(np.int64)


def top_classes(probabilities: np.ndarray, k: int) -> np.ndarray:
    """The k most probable classes of each row, the most probable first: int64 (n, min(k, classes)).

    Takes float32 (n, classes), finite. The result is that of a stable descending sort, but it
    costs only k maxima or a partition.
    """
    images, classes = probabilities.shape
    k = min(k, classes)
    if k <= _FEW:
        # NumPy's argmax uses vector instructions and returns the first of equal maxima.
        rest, rows = probabilities.copy(), np.arange(images)
        best = np.empty((images, k), np.int64)
        for column in range(k):
            best[:, column] = rest.argmax(axis=1)
            rest[rows, best[:, column]] = -np.inf
        return best
    last = np.partition(probabilities, classes - k, axis=1)[:, classes - k, None]  # n, 1
    above, equal = probabilities > last, probabilities == last
    # The first of the classes equal to the k-th fill the columns that those above it leave free.
    free = k - above.sum(axis=1, keepdims=True)
    chosen = above | (equal & (equal.cumsum(axis=1) <= free))
    top = chosen.nonzero()[1].reshape(images, k)  # ascending index
    order = np.argsort(-np.take_along_axis(probabilities, top, axis=1), axis=1, kind="stable")
    return np.take_along_axis(top, order, axis=1)


def log_loss(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Cross-entropy of each image in nats, -ln(p + 1.2e-38): float64 (n,)."""
    return loss_of(_of_label(probabilities, labels))


def loss_of(true: np.ndarray) -> np.ndarray:
    """Cross-entropy from the probabilities of the true classes, float32 (n,): float64 (n,)."""
    return -np.log(true.astype(np.float64) + SMALLEST)


def has_rank5(classes: int) -> bool:
    """Whether rank-5 says anything: up to five classes it is 100 % for any network."""
    return classes > 5


def confusion_top(classes: int) -> int:
    """The number of predictions that each image adds to the confusion matrix: 5, or 1.

    Up to five classes it is 1: five predictions would be all classes, and all cells of a row
    equal.
    """
    return 5 if has_rank5(classes) else 1


def _of_label(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return np.take_along_axis(probabilities, labels[:, None], axis=1)[:, 0]
