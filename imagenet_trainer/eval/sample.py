"""Some images of a dataset in memory, evenly spaced, prepared in different ways."""

from typing import Sequence, Tuple

import numpy as np

from imagenet_trainer.data.augment import EvalTransform, decode
from imagenet_trainer.data.dataset import Dataset
from imagenet_trainer.engines import Engine
from imagenet_trainer.eval.inference import check_finite, predict_in_batches
from imagenet_trainer.eval.truth import Judged, Truth
from imagenet_trainer.runs.checkpoint import Preprocessing


class Sample:
    """Encoded images of a dataset.

    Parameters
    ----------
    dataset, count
        The dataset, and the number of images, at most all.

    Attributes
    ----------
    positions, keys, labels
        int64 (n,) each: positions in the dataset, keys in the index, classes.

    """

    def __init__(self, dataset: Dataset, count: int) -> None:
        shards, classes = dataset.shards, len(dataset.classes)
        self.positions = evenly_spaced(dataset, count)
        self.keys = shards.keys[self.positions]
        records = [(number, shards.record(number)) for number in self.positions.tolist()]
        self._encoded = [bytes(record.image) for _, record in records]
        self.labels = np.array(
            [shards.class_of(number, record.labels, classes) for number, record in records]
        )
        self._prepared: Tuple[object, np.ndarray] = None, np.empty(0)

    def __len__(self) -> int:
        return len(self.labels)

    def images(self, how: Preprocessing) -> np.ndarray:
        """The images as a network takes them, uint8 (n, height, width, 3); the latest are kept."""
        if self._prepared[0] != how.geometry:
            self._prepared = how.geometry, prepared(self._encoded, how)
        return self._prepared[1]

    def judged(self, engine: Engine, images: np.ndarray, truth: Truth) -> Judged:
        """The predictions for the prepared images, uint8 (n, height, width, 3), by a truth.

        Raises NonFiniteError if a probability is infinite or undefined.
        """
        probabilities = predict_in_batches(engine, images)
        check_finite(probabilities)
        return truth.judge(self.positions, probabilities, self.labels)


def evenly_spaced(dataset: Dataset, count: int) -> np.ndarray:
    """Positions of `count` images of a dataset, at most all: int64 (n,)."""
    return np.linspace(0, len(dataset) - 1, min(count, len(dataset))).astype(np.int64)


def prepared(encoded: Sequence[bytes], how: Preprocessing) -> np.ndarray:
    """Encoded images as a network takes them, uint8 (n, height, width, 3).

    Raises the errors of `images.decode`.
    """
    transform = EvalTransform(*how.geometry)
    images = np.empty((len(encoded), *transform.size, 3), np.uint8)
    for data, out in zip(encoded, images):
        transform.apply(decode(data), None, 0, out)
    return images
