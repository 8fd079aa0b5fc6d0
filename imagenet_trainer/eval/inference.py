"""Asks a network about every image of a set, and keeps devices, decoding and counting busy.

Threads of the loader decode the next batches while the devices compute one, and another thread
counts the one before. For several checkpoints the decoded images are kept in memory, if they
fit, so they are read and decoded once.
"""

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Callable, Deque, Iterator, Optional, Protocol, Tuple

import numpy as np

from imagenet_trainer.data.dataset import Dataset
from imagenet_trainer.data.loader import ONE_THREAD, Threads, evaluation_batches
from imagenet_trainer.data.views import Views, ViewTransform
from imagenet_trainer.engines import Engine
from imagenet_trainer.errors import InputError, NonFiniteError
from imagenet_trainer.metrics.predictions import Collector, Predictions

# Places in the set int64 (n,), views uint8 (n, positions x height, width, 3), labels int64 (n,).
Views_of_batch = Tuple[np.ndarray, np.ndarray, np.ndarray]

_UNCOUNTED = 2  # batches of predictions that may wait to be counted


class ViewBatches:
    """The views of all images in shard order, as often as they are asked for.

    Parameters
    ----------
    images, transform
        which, and what is shown of them.
    batch
        images at a time.
    threads
        of the loader.
    keep
        whether the first pass leaves them in memory for the next ones: `size` bytes.

    """

    def __init__(
        self,
        dataset: Dataset,
        transform: ViewTransform,
        batch: int,
        threads: Threads = ONE_THREAD,
        keep: bool = False,
    ):
        self.dataset, self.transform, self.batch = dataset, transform, batch
        self._threads, self.keep = threads, keep
        self._kept: Optional[Tuple[np.ndarray, np.ndarray]] = None

    @property
    def size(self) -> int:
        """Bytes of all decoded views."""
        high, wide = self.transform.size
        return len(self.dataset) * high * wide * 3

    def __iter__(self) -> Iterator[Views_of_batch]:
        if self._kept is None:
            yield from self._decoded()
            return
        images, labels = self._kept
        for first in range(0, len(labels), self.batch):
            part = slice(first, first + self.batch)
            yield np.arange(len(labels))[part], images[part], labels[part]

    def _decoded(self) -> Iterator[Views_of_batch]:
        count = len(self.dataset)
        # Pages that are not written yet take no memory.
        images = np.empty((count if self.keep else 0, *self.transform.size, 3), np.uint8)
        all_labels, seen = np.empty(count, np.int64), 0
        with evaluation_batches(
            self.dataset.shards, self.transform, len(self.dataset.classes), self.batch,
            self._threads,
        ) as batches:  # fmt: skip
            for batch in batches:
                if self.keep:
                    images[batch.indices] = batch.images
                    all_labels[batch.indices] = batch.labels
                    seen += len(batch.labels)
                yield batch.indices, batch.images, batch.labels
        if self.keep and seen == count:
            self._kept = images, all_labels


class Sink(Protocol):
    """Takes the probabilities of every batch."""

    def add(self, places: np.ndarray, probabilities: np.ndarray, labels: np.ndarray) -> None:
        """Places int64 (n,), float32 (n, classes), int64 (n,)."""


def predict_dataset(
    engine: Engine,
    source: ViewBatches,
    top_k: int,
    key: str = "",
    sink: Optional[Sink] = None,
    advance: Callable[[int], object] = lambda images: None,
) -> Predictions:
    """Ask about every image once.

    Parameters
    ----------
    engine
        with its parameters set.
    source
        the images.
    top_k
        classes that are kept of each image, at least 5.
    key
        of the predictions.
    sink
        also gets all probabilities, batch by batch in shard order.
    advance
        is told how many images more have been answered.

    Raises InputError where predictions are not finite, or an image did not come exactly once.

    """
    dataset, views = source.dataset, source.transform.views
    collector = Collector(dataset.shards.keys, len(dataset.classes), top_k)

    def count(places: np.ndarray, probabilities: np.ndarray, labels: np.ndarray) -> None:
        check_finite(probabilities)
        collector.add(places, probabilities, labels)
        if sink is not None:
            sink.add(places, probabilities, labels)

    with ThreadPoolExecutor(1) as counter:
        waiting: Deque[Future] = deque()
        for places, images, labels in source:
            probabilities = predict_views(engine, images, views)
            # The loader uses its buffers again.
            waiting.append(counter.submit(count, places, probabilities, labels.copy()))
            if len(waiting) > _UNCOUNTED:
                waiting.popleft().result()
            advance(len(labels))
        for one in waiting:
            one.result()
    try:
        return collector.whole(key)
    except ValueError as error:
        raise InputError(f"{dataset.path}: {error}") from error


def predict_views(engine: Engine, images: np.ndarray, views: Views) -> np.ndarray:
    """Probabilities float32 (n, classes) of uint8 (n, positions x height, width, 3).

    The mean over the views of each image.
    """
    count, high, wide, _ = images.shape
    crops = images.reshape(count * views.positions, high // views.positions, wide, 3)
    shown = [crops, crops[:, :, ::-1]] if views.mirrored else [crops]
    if len(shown) * views.positions == 1 and count <= engine.batch_size:
        return engine.predict(images)
    total: Any = 0.0
    for some in shown:
        parts = [
            engine.predict(some[first : first + engine.batch_size])
            for first in range(0, len(some), engine.batch_size)
        ]
        found = np.concatenate(parts)
        total = total + found.reshape(count, views.positions, -1).sum(axis=1, dtype=np.float64)
    return (total / (len(shown) * views.positions)).astype(np.float32)


def check_finite(probabilities: np.ndarray) -> None:
    """NonFiniteError unless all are numbers."""
    if not np.isfinite(probabilities).all():
        raise NonFiniteError(
            "the network's predictions are not finite, its parameters are of no use",
            "train anew with a lower --lr and another --model-prefix",
        )


def share_of_batch(batch_size: int, views: Views, devices: int) -> Tuple[int, int]:
    """Images at a time, and views that an engine takes at a time.

    A batch of `batch_size` views holds whole images where there are several places, and what
    the devices can share; with one place it is what the user asked for.
    """
    if views.positions == 1:
        return batch_size, batch_size
    dataset = max(1, batch_size // views.positions)
    while dataset * views.positions % devices:
        dataset += 1
    return dataset, dataset * views.positions
