"""The training images that a network finds most similar to some others.

Similarity is the cosine of the features, which are what the classifier takes. One pass over the
training images keeps the nearest only, so memory does not grow with their number. An interrupted
pass continues.
"""

import contextlib
import os
import time
from pathlib import Path
from typing import Dict, Iterator, Optional, Sequence, Tuple

import numpy as np

from imagenet_trainer.config import EvaluateSettings
from imagenet_trainer.data.bad_records import SKIP, STOP
from imagenet_trainer.data.dataset import Classes, Dataset
from imagenet_trainer.data.loader import loader_threads
from imagenet_trainer.data.matching import open_matching_dataset
from imagenet_trainer.data.order import subset
from imagenet_trainer.data.parts import divide, labels_of
from imagenet_trainer.data.records.shards import Shards
from imagenet_trainer.data.views import Views, ViewTransform
from imagenet_trainer.engines import Engine
from imagenet_trainer.errors import InputError, attributed_to
from imagenet_trainer.eval.inference import (
    ViewBatch,
    ViewBatches,
    check_finite,
    predict_in_batches,
)
from imagenet_trainer.eval.network import Log
from imagenet_trainer.graph import Symbol, sym
from imagenet_trainer.metrics.nearest import NearestVectors
from imagenet_trainer.runs.checkpoint import Preprocessing, read_arrays
from imagenet_trainer.runs.run import Run, parts_in
from imagenet_trainer.symbols.classifier import with_features
from imagenet_trainer.system.arrays import Arrays, write_arrays
from imagenet_trainer.system.progress_bar import progress

_SEED = 0  # of the sample of training images
_SAVE_EVERY = 30.0  # seconds
# What is kept of a neighbour besides its similarity; `record` is its number in the sample.
_COLUMNS: Dict[str, type] = {
    "record": np.int64, "label": np.int64, "predicted": np.int64, "probability": np.float32,
}  # fmt: skip


def open_training_images(
    settings: EvaluateSettings, run: Run, classes: Classes
) -> Tuple[Optional[Dataset], str]:
    """The images that the run was trained on, or those of --data-train, at most some of them.

    None, and the reason, where the run does not know them or their shards are missing. Raises
    InputError for shards of --data-train that are missing, damaged, or have other classes.
    """
    if settings.data_train:
        with attributed_to("--data-train", " "):
            dataset = open_matching_dataset(
                settings.data_train, "", classes, run.prefix, settings.on_bad_record == STOP,
                run.label_index(settings.label_index),
            )  # fmt: skip
        return _sample(dataset, settings.explain_images, np.arange(len(dataset))), ""
    trained_on = run.read_json(run.config_path).get("data", {}).get("train")
    if not trained_on:
        return None, "the run does not name its training images"
    path, index = run.shard("train")
    try:
        dataset = open_matching_dataset(
            path, index, classes, run.prefix, settings.on_bad_record == STOP, run.label_index()
        )
    except InputError as error:
        return None, str(error)
    if trained_on not in (dataset.fingerprint, dataset.old_fingerprint):
        return None, f"{path} has other images than those that the run was trained on"
    used = run.settings()
    parts, among = parts_in(used), None
    if parts:
        among = divide(labels_of(dataset.shards), parts).train
    among = subset(parts.seed, used.get("train_fraction", 1), len(dataset), among)
    among = np.arange(len(dataset)) if among is None else among
    return _sample(dataset, settings.explain_images, among), ""


def _sample(dataset: Dataset, most: int, among: np.ndarray) -> Dataset:
    """These images of a dataset, int64 (n,) ascending; if they are more than `most`, a sample."""
    if 0 < most < len(among):
        chosen = subset(_SEED, most / len(among), len(dataset), among)
        assert chosen is not None
        among = chosen
    return dataset if len(among) == len(dataset) else dataset.part(dataset.path, among)


def features_symbol(symbol: Symbol) -> Symbol:
    """The network whose output is its features, then its probabilities: (n, d + classes)."""
    features, probabilities = with_features(symbol)
    return sym.Concat(features, sym.Flatten(probabilities), dim=1)


class NeighbourSearch:
    """Looks for the nearest training images.

    Parameters
    ----------
    engine
        of `features_symbol`, with its parameters set.
    dataset, how
        The training images and the preprocessing.
    settings
        Those of `evaluate`.

    """

    def __init__(
        self, engine: Engine, dataset: Dataset, how: Preprocessing, settings: EvaluateSettings
    ) -> None:
        self._engine, self._dataset, self._settings = engine, dataset, settings
        self._transform = ViewTransform(how.image_shape, how.val_resize, Views(), how.val_interp)
        self._classes = len(dataset.classes)

    def find(self, images: np.ndarray, own: np.ndarray, path: Path, key: str, log: Log) -> Arrays:
        """The nearest of each image: `similarity`, and the columns above, (n, neighbours) each.

        Parameters
        ----------
        images
            uint8 (n, height, width, 3), as the network takes them.
        own
            int64 (n,): an image's own number among the training images, or -1.
        path, key
            A file of what was found, also by an interrupted call; a digest of everything that it
            depends on.
        log
            Called with a line about what was done before.

        """
        queries = predict_in_batches(self._engine, images)[:, : -self._classes]
        nearest = NearestVectors(queries, self._settings.explain_nearest, _COLUMNS)
        total, done = len(self._dataset), 0
        if not self._settings.again:
            done = _resume(path, key, nearest)
        if done:
            words = "as found before" if done == total else f"continues after {done:,} of them"
            log(f"--explain: nearest of {total:,} training images: {words}")
        if done < total:
            self._search(nearest, done, own, path, key)
        return nearest.found

    def _search(
        self, nearest: NearestVectors, done: int, own: np.ndarray, path: Path, key: str
    ) -> None:
        """Add the images from `done` on, and save what is found, also when it is interrupted."""
        state = nearest.found, done
        saved = time.monotonic()

        def save() -> None:
            found, count = state
            write_arrays(path, {**found, "done": np.array(count), "key": np.array(key)})

        total = len(self._dataset)
        with contextlib.ExitStack() as stack:
            stack.callback(save)
            advance = stack.enter_context(progress("training images", total))
            advance(done)
            for records, found, labels in self._features(done):
                probabilities = found[:, -self._classes :]
                nearest.add(
                    found[:, : -self._classes], own[:, None] == records, record=records,
                    label=labels, predicted=probabilities.argmax(axis=1),
                    probability=probabilities.max(axis=1),
                )  # fmt: skip
                before, state = state[1], (nearest.found, int(records[-1]) + 1)
                advance(state[1] - before)
                if time.monotonic() > saved + _SAVE_EVERY:
                    save()
                    saved = time.monotonic()
            state = nearest.found, total  # the last ones may have been skipped

    def _features(self, first: int) -> Iterator[ViewBatch]:
        """Numbers, features with probabilities, and labels of the images from `first` on."""
        dataset, settings = self._dataset, self._settings
        if first:
            dataset = dataset.part(dataset.path, np.arange(first, len(dataset)))
        threads = loader_threads(
            settings.data_nthreads, bool(settings.gpus), self._engine.host_memory
        )
        on_bad = STOP if settings.on_bad_record == STOP else SKIP
        batch = self._engine.batch_size
        for positions, images, labels in ViewBatches(
            dataset, self._transform, batch, threads, on_bad=on_bad
        ):
            if len(positions):
                found = self._engine.predict(images)
                check_finite(found)
                yield positions + first, found, labels


def _resume(path: Path, key: str, nearest: NearestVectors) -> int:
    """Read what was found before into `nearest`; the number of images that were compared."""
    try:
        arrays = read_arrays(path)
        if str(arrays["key"]) != key:
            return 0
        found = {name: arrays[name] for name in nearest.found}
        if any(one.shape != nearest.found[name].shape for name, one in found.items()):
            return 0
        nearest.found = found
        return int(arrays["done"])
    except (KeyError, ValueError):  # there is none, or it is damaged
        return 0


def own_records(shards: Shards, records: Sequence[int], others: Shards) -> np.ndarray:
    """The numbers that records have in other shards, if these are the same files: int64 (n,).

    -1 where they do not have the record.
    """
    starts = np.cumsum([0, *map(len, others.files)])
    found, keys = np.full(len(records), -1), shards.keys
    for place, record in enumerate(records):
        file = os.path.realpath(shards.locate(record)[0])
        for start, other in zip(starts.tolist(), others.files):
            if os.path.realpath(other.path) == file:
                here = np.flatnonzero(other.keys == keys[record])
                found[place] = start + here[0] if len(here) else found[place]
    return found
