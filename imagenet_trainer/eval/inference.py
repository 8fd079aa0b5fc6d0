"""Inference over a dataset: decoding, computing and counting run at the same time.

The loader's threads decode the next batches while the devices compute one, and another thread
counts the previous one. To evaluate several checkpoints, the decoded images can stay in memory, so
they are read and decoded once.
"""

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Callable, Deque, Iterator, List, Optional, Protocol, Tuple

import numpy as np

from imagenet_trainer.data.bad_records import SKIP, STOP, Report
from imagenet_trainer.data.dataset import Dataset
from imagenet_trainer.data.loader import ONE_THREAD, Threads, evaluation_batches
from imagenet_trainer.data.views import Views, ViewTransform
from imagenet_trainer.engines import Engine
from imagenet_trainer.errors import InputError, NonFiniteError
from imagenet_trainer.eval.truth import PLAIN, Truth
from imagenet_trainer.metrics.predictions import Collector, Predictions

# Positions in the dataset int64 (n,), views uint8 (n, positions x height, width, 3), labels (n,).
ViewBatch = Tuple[np.ndarray, np.ndarray, np.ndarray]

_SKIPPED = -1  # the label of an image that is left out
_WAITING = 2  # batches of predictions that may wait to be counted


class ViewBatches:
    """The views of all images in shard order; can be iterated several times.

    Parameters
    ----------
    dataset, transform
        The images, and the views of each.
    batch
        Images per batch.
    threads
        Threads of the loader.
    keep
        Keep the views of the first pass in memory (`size` bytes) for the next ones.
    on_bad
        What happens to a record that cannot be used: see `data.bad_records`.

    Attributes
    ----------
    reports
        The records of the latest pass that could not be used as they are.

    """

    def __init__(
        self,
        dataset: Dataset,
        transform: ViewTransform,
        batch: int,
        threads: Threads = ONE_THREAD,
        keep: bool = False,
        on_bad: str = STOP,
    ):
        self.dataset, self.transform, self.batch = dataset, transform, batch
        self._threads, self.keep, self._on_bad = threads, keep, on_bad
        self.reports: List[Report] = []
        self._kept: Optional[Tuple[np.ndarray, np.ndarray]] = None

    @property
    def size(self) -> int:
        """Bytes of all decoded views."""
        high, wide = self.transform.size
        return len(self.dataset) * high * wide * 3

    def __iter__(self) -> Iterator[ViewBatch]:
        if self._kept is None:
            yield from self._decoded()
            return
        images, labels = self._kept
        for first in range(0, len(labels), self.batch):
            part = slice(first, first + self.batch)
            usable = labels[part] >= 0
            yield (
                np.arange(len(labels))[part][usable], images[part][usable], labels[part][usable]
            )  # fmt: skip

    def _decoded(self) -> Iterator[ViewBatch]:
        count = len(self.dataset)
        # Pages that are not written to take no memory.
        images = np.empty((count if self.keep else 0, *self.transform.size, 3), np.uint8)
        all_labels, images_seen = np.full(count, _SKIPPED), 0
        self.reports = []
        with evaluation_batches(
            self.dataset.shards, self.transform, len(self.dataset.classes), self.batch,
            self._threads, on_bad=self._on_bad,
        ) as batches:  # fmt: skip
            for batch in batches:
                self.reports += batch.reports
                usable = batch.usable
                images_seen += len(usable)
                found = batch.indices, batch.images, batch.labels
                if not usable.all():
                    found = batch.indices[usable], batch.images[usable], batch.labels[usable]
                if self.keep:
                    images[found[0]], all_labels[found[0]] = found[1], found[2]
                yield found
        if self.keep and images_seen == count:
            self._kept = images, all_labels


class Sink(Protocol):
    """Receives the probabilities of every batch."""

    def add(self, positions: np.ndarray, probabilities: np.ndarray, labels: np.ndarray) -> None:
        """Add positions int64 (n,), probabilities float32 (n, classes), labels int64 (n,)."""


class _Counted:
    """Counts batches of predictions by a truth, into a collector and a sink."""

    def __init__(self, collector: Collector, truth: Truth, sink: Optional[Sink]) -> None:
        self._collector, self._truth, self._sink = collector, truth, sink
        self.left_out = 0  # images without a right class

    def add(self, positions: np.ndarray, probabilities: np.ndarray, labels: np.ndarray) -> None:
        """Count a batch; NonFiniteError if a probability is infinite or undefined."""
        check_finite(probabilities)
        judged = self._truth.judge(positions, probabilities, labels)
        self.left_out += len(positions) - len(judged.positions)
        if len(judged.positions):
            self._collector.add(*judged)
            if self._sink is not None:
                self._sink.add(*judged)


def predict_dataset(
    engine: Engine,
    batches: ViewBatches,
    top_k: int,
    key: str = "",
    sink: Optional[Sink] = None,
    advance: Callable[[int], object] = lambda images: None,
    truth: Truth = PLAIN,
) -> Predictions:
    """Predict the classes of every image once.

    Parameters
    ----------
    engine
        The engine, with its parameters set.
    batches
        The images.
    top_k
        Number of most probable classes to keep for each image, at least 5.
    key
        The key of the predictions.
    sink
        Also receives all probabilities, batch by batch in shard order.
    advance
        Called with the number of images after each batch.
    truth
        How the predictions are counted.

    Images that were skipped (`--on-bad-record skip`) are not in the predictions. Raises InputError
    if a probability is not finite or another image is missing or repeated.

    """
    dataset, views = batches.dataset, batches.transform.views
    collector = Collector(dataset.shards.keys, len(dataset.classes), top_k)
    counted = _Counted(collector, truth, sink)
    with ThreadPoolExecutor(1) as counter:
        waiting: Deque[Future] = deque()
        for positions, images, labels in batches:
            if not len(labels):
                continue
            probabilities = predict_views(engine, images, views)
            # The loader reuses its buffers.
            waiting.append(counter.submit(counted.add, positions, probabilities, labels.copy()))
            if len(waiting) > _WAITING:
                waiting.popleft().result()
            advance(len(labels))
        for one in waiting:
            one.result()
    try:
        skipped = sum(one.action == SKIP for one in batches.reports)
        return collector.complete(key, skipped + counted.left_out)
    except ValueError as error:
        raise InputError(f"{dataset.path}: {error}") from error


def predict_views(engine: Engine, images: np.ndarray, views: Views) -> np.ndarray:
    """Probabilities float32 (n, classes) of views uint8 (n, positions x height, width, 3).

    Each row is the mean over the views of an image.
    """
    count, high, wide, _ = images.shape
    crops = images.reshape(count * views.positions, high // views.positions, wide, 3)
    sides = [crops, crops[:, :, ::-1]] if views.mirrored else [crops]
    if len(sides) * views.positions == 1 and count <= engine.batch_size:
        return engine.predict(images)
    total: Any = 0.0
    for side in sides:
        probabilities = predict_in_batches(engine, side)
        total = total + probabilities.reshape(count, views.positions, -1).sum(
            axis=1, dtype=np.float64
        )
    return (total / (len(sides) * views.positions)).astype(np.float32)


def predict_in_batches(engine: Engine, images: np.ndarray) -> np.ndarray:
    """Probabilities float32 (n, classes) of any number of images uint8 (n, height, width, 3)."""
    size = engine.batch_size
    parts = [engine.predict(images[at : at + size]) for at in range(0, len(images), size)]
    return np.concatenate(parts)


def check_finite(probabilities: np.ndarray) -> None:
    """NonFiniteError if a probability is infinite or undefined."""
    if not np.isfinite(probabilities).all():
        raise NonFiniteError(
            "the predictions are not finite, so the parameters are unusable",
            "train again with a lower --lr and another --model-prefix",
        )


def share_of_batch(batch_size: int, views: Views, devices: int) -> Tuple[int, int]:
    """Images per batch, and views per batch of the engine.

    With one crop per image both are `batch_size`. With several, a batch holds about `batch_size`
    views: all those of its images, in a number that the devices can divide.
    """
    if views.positions == 1:
        return batch_size, batch_size
    images = max(1, batch_size // views.positions)
    while images * views.positions % devices:
        images += 1
    return images, images * views.positions
