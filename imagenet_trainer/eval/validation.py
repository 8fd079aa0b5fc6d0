"""The validation pass over a dataset: predictions batch by batch."""

from typing import Callable, Iterator, Optional, Protocol, Tuple

import numpy as np

from imagenet_trainer.data.augment import EvalTransform
from imagenet_trainer.data.bad_records import STOP, Report
from imagenet_trainer.data.dataset import Dataset
from imagenet_trainer.data.loader import Threads, evaluation_batches
from imagenet_trainer.errors import InputError
from imagenet_trainer.eval.inference import check_finite
from imagenet_trainer.runs.checkpoint import Preprocessing


class Predictor(Protocol):
    """The part of an engine that inference needs."""

    batch_size: int

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Probabilities float32 (n, classes) of uint8 (n, h, w, 3)."""


def predict_batches(
    engine: Predictor,
    dataset: Dataset,
    preprocessing: Preprocessing,
    threads: Threads,
    part: Optional[range] = None,
    on_bad: str = STOP,
    on_report: Callable[[Report], object] = lambda report: None,
) -> Iterator[Tuple[np.ndarray, np.ndarray]]:
    """Probabilities float32 (n, classes) and labels int64 (n,), batch by batch in shard order.

    `part` is a range of the images, for a worker that shares them with others. `on_bad` says what
    happens to a record that cannot be used (see `data.bad_records`), and `on_report` is called
    with each. Raises InputError if the number of images differs from the index, NonFiniteError if
    a probability is infinite or undefined.
    """
    transform = EvalTransform(*preprocessing.geometry)
    expected, count = len(dataset if part is None else part), 0
    with evaluation_batches(
        dataset.shards, transform, len(dataset.classes), engine.batch_size, threads, part, on_bad,
    ) as batches:  # fmt: skip
        for batch in batches:
            probabilities = engine.predict(batch.images)
            check_finite(probabilities)
            for report in batch.reports:
                on_report(report)
            usable = batch.usable
            yield probabilities[usable], batch.labels[usable]
            count += len(batch.labels)
    if count != expected:
        raise InputError(f"{dataset.path}: {count} images evaluated, the index has {expected}")
