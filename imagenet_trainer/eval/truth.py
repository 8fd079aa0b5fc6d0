"""Which classes of an image are right, and which classes compete, where a label does not say it."""

from dataclasses import dataclass
from typing import Callable, NamedTuple, Optional

import numpy as np

from imagenet_trainer.metrics.right import RightClasses


class Judged(NamedTuple):
    """A batch as it is counted: n images, of which some may be left out."""

    positions: np.ndarray  # int64 (n,), in the dataset
    probabilities: np.ndarray  # float32 (n, classes)
    labels: np.ndarray  # int64 (n,)


@dataclass(frozen=True)
class Truth:
    """How predictions are counted.

    Attributes
    ----------
    allowed
        bool (classes,): the classes that compete. The probabilities of the others become 0, and
        those of a row are divided by their sum. None: all compete.
    right
        bool (images, classes), sparse: the right classes of each image of the dataset, instead of
        its label. An image without one is left out. The label of an image with several is the most
        probable of them: it is correct if that is the best of all. None: the labels are right.
    observe
        called with positions int64 (n,) and probabilities float32 (n, classes) of each batch, also
        those of images that are left out.

    """

    allowed: Optional[np.ndarray] = None
    right: Optional[RightClasses] = None
    observe: Callable[[np.ndarray, np.ndarray], object] = lambda positions, probabilities: None

    def competing(self, classes: int) -> int:
        """The number of classes that compete, of all classes."""
        return classes if self.allowed is None else int(self.allowed.sum())

    def judge(self, positions: np.ndarray, probabilities: np.ndarray, labels: np.ndarray) -> Judged:
        """Apply it to positions int64 (n,), float32 (n, classes), labels int64 (n,)."""
        if self.allowed is not None:
            probabilities = among(probabilities, self.allowed)
        self.observe(positions, probabilities)
        if self.right is not None:
            right = self.right[positions].toarray()
            counted = right.any(axis=1)
            labels = np.where(right, probabilities, -1.0).argmax(axis=1)
            return Judged(positions[counted], probabilities[counted], labels[counted])
        return Judged(positions, probabilities, labels)


PLAIN = Truth()


def among(probabilities: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Probabilities float32 (n, classes) given that the class is an allowed one, bool (classes,).

    Where all allowed classes have the probability 0, they become equally probable.
    """
    kept = np.where(allowed, probabilities.astype(np.float64), 0.0)
    total = kept.sum(axis=1, keepdims=True)
    equal = np.broadcast_to(allowed / allowed.sum(), kept.shape)
    return np.divide(kept, total, out=equal.copy(), where=total > 0).astype(np.float32)
