"""The predictions of a network for each image of a dataset: the source of all its metrics.

Ranks, loss, recall, calibration, the confusion matrix, the comparison of two networks and the
reports are functions of `Predictions`. They are saved beside the checkpoint, so nothing is computed
twice: 4 MB for ImageNet's 50,000 validation images.
"""

import contextlib
import zipfile
from dataclasses import dataclass, fields
from typing import IO, Any, Optional

import numpy as np
from scipy.sparse import csr_matrix

from imagenet_trainer.metrics.confusion import top_k_confusion
from imagenet_trainer.metrics.counts import confusion_top, ranks, top_classes
from imagenet_trainer.system.arrays import DAMAGED, write_arrays
from imagenet_trainer.system.files import AnyPath, atomic_write

TOP = 5
"""Predicted classes that are saved of each image, at least."""


@dataclass(frozen=True)
class Predictions:
    """Predictions for n images, each image once, in the order of the shards.

    `top` and `rank` order classes with equal probabilities by their index.
    """

    keys: np.ndarray  # int64 (n,): keys of the images in the .idx
    labels: np.ndarray  # int64 (n,): true classes
    top: np.ndarray  # int64 (n, k): the k most probable classes, best first
    probabilities: np.ndarray  # float32 (n, k): of the classes in `top`
    true: np.ndarray  # float32 (n,): probability of the true class
    rank: np.ndarray  # int64 (n,): rank of the true class among all, 0 for the first
    classes: int  # of the network
    key: str = ""  # digest of parameters, preprocessing and images

    def __post_init__(self) -> None:
        images, k = self.top.shape
        shapes = [array.shape for array in (self.keys, self.labels, self.true, self.rank)]
        if shapes != [(images,)] * 4 or self.probabilities.shape != (images, k):
            raise ValueError("predictions: the shapes of the arrays do not match")
        for name, array in (("label", self.labels), ("class", self.top), ("rank", self.rank)):
            if array.size and (array.min() < 0 or array.max() >= self.classes):
                raise ValueError(f"predictions: a {name} is not in 0..{self.classes - 1}")

    def __len__(self) -> int:
        return len(self.labels)

    def confusion(self, k: int = 0) -> csr_matrix:
        """Counts of (true class, predicted class), sparse int64 (classes, classes).

        Each image adds its k most probable classes, by default `confusion_top` of them; k = 1
        gives the usual confusion matrix. `.toarray()` makes an array of it.
        """
        k = k or confusion_top(self.classes)
        return top_k_confusion(self.labels, self.top[:, :k], self.classes)

    def save(self, path: AnyPath) -> None:
        """Write an .npz atomically; InputError when it cannot be written."""
        write_arrays(path, {one.name: getattr(self, one.name) for one in fields(self)})


_INDICES = "indices"  # an array that saved Predictions do not have


class ProbabilitiesFile:
    """Writes the probabilities of all classes batch by batch, so they need no memory.

    An .npz with `probabilities` float32 (n, classes), `indices` int64 (n,) (the keys in the
    .idx), `labels` int64 (n,), `top` int64 (n, k), and `key`. A context manager: the file appears
    at the end of the block if `finish` was called, otherwise not at all.
    """

    def __init__(self, path: AnyPath, images: int, classes: int):
        self._path, self._shape = path, (images, classes)
        self._next, self._finished = 0, False
        self._used = np.zeros(images, bool)
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "ProbabilitiesFile":
        file = self._stack.enter_context(atomic_write(self._path))
        self._archive = self._stack.enter_context(zipfile.ZipFile(file, "w"))
        self._rows: IO[bytes] = self._stack.enter_context(
            self._archive.open(_member("probabilities"), "w", force_zip64=True)
        )
        about = {"descr": "<f4", "fortran_order": False, "shape": self._shape}
        np.lib.format.write_array_header_1_0(self._rows, about)
        return self

    def add(self, positions: np.ndarray, probabilities: np.ndarray, labels: np.ndarray) -> None:
        """Write a batch. Batches must come in the order of the shards."""
        if len(positions) and positions[0] < self._next:
            raise ValueError(f"got image {positions[0]}, expected image {self._next}")
        rows = np.full((int(positions[-1]) + 1 - self._next, self._shape[1]), np.nan, "<f4")
        rows[positions - self._next] = probabilities
        self._used[positions] = True
        self._next += len(rows)
        self._rows.write(rows.tobytes())

    def finish(self, predictions: Predictions) -> None:
        """Write the other arrays, which are small; ValueError for those of other images."""
        if self._used.sum() != len(predictions):
            raise ValueError(f"{self._used.sum()} rows for {len(predictions)} predictions")
        missing = self._shape[0] - self._next
        self._rows.write(np.full((missing, self._shape[1]), np.nan, "<f4").tobytes())
        self._rows.close()
        arrays = {"key": np.array(predictions.key)}
        known = {_INDICES: predictions.keys, "labels": predictions.labels, "top": predictions.top}
        for name, array in known.items():
            arrays[name] = np.full((self._shape[0], *array.shape[1:]), -1, array.dtype)
            arrays[name][self._used] = array
        for name, array in arrays.items():
            with self._archive.open(_member(name), "w") as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
        self._finished = True

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is None and not self._finished:
            unfinished = ValueError(f"{self._path}: finish() was not called")
            self._stack.__exit__(ValueError, unfinished, None)
            raise unfinished
        self._stack.__exit__(kind, error, trace)


def _member(name: str) -> zipfile.ZipInfo:
    return zipfile.ZipInfo(f"{name}.npy")  # dated 1980: equal predictions give equal bytes


def probabilities_key(path: AnyPath) -> Optional[str]:
    """The key of a ProbabilitiesFile; None for a file that is missing, damaged or another one."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return str(file["key"]) if _INDICES in file.files else None
    except DAMAGED:
        return None


def holds_probabilities(path: AnyPath) -> bool:
    """Whether a file is a ProbabilitiesFile, whatever its name; False for Predictions."""
    return probabilities_key(path) is not None


def load(path: AnyPath, key: Optional[str] = None) -> Optional[Predictions]:
    """Saved predictions; None for a file that is missing, damaged or has another key."""
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {one.name: file[one.name] for one in fields(Predictions)}
        found["classes"], found["key"] = int(found["classes"]), str(found["key"])
        predictions = Predictions(**found)  # type: ignore[arg-type]
    except DAMAGED:
        return None
    return predictions if key in (None, predictions.key) else None


class Collector:
    """Collects the predictions for n images from batches in any order.

    Parameters
    ----------
    keys
        Keys of all images in the order of the shards, int64 (n,).
    classes
        Number of classes of the network.
    k
        Number of most probable classes to keep for each image: at least 5, at most all.

    """

    def __init__(self, keys: np.ndarray, classes: int, k: int = TOP):
        images, self.k = len(keys), min(max(k, TOP), classes)
        self.classes, self.keys = classes, keys
        self._counts = np.zeros(images, np.int64)  # how often each image was added
        self._labels = np.zeros(images, np.int64)
        self._top = np.zeros((images, self.k), np.int64)
        self._probabilities = np.zeros((images, self.k), np.float32)
        self._true = np.zeros(images, np.float32)
        self._rank = np.zeros(images, np.int64)

    def add(self, positions: np.ndarray, probabilities: np.ndarray, labels: np.ndarray) -> None:
        """Add a batch: positions in the dataset int64 (m,), float32 (m, classes), int64 (m,)."""
        top = top_classes(probabilities, self.k)
        np.add.at(self._counts, positions, 1)
        self._labels[positions] = labels
        self._top[positions] = top
        self._probabilities[positions] = np.take_along_axis(probabilities, top, axis=1)
        self._true[positions] = np.take_along_axis(probabilities, labels[:, None], axis=1)[:, 0]
        self._rank[positions] = ranks(probabilities, labels)

    @property
    def seen(self) -> int:
        """Predictions added so far."""
        return int(self._counts.sum())

    def complete(self, key: str = "", skipped: int = 0) -> Predictions:
        """All predictions, without the images that were not added: `skipped` of them.

        ValueError unless every other image was added exactly once.
        """
        if (self._counts > 1).any() or (self._counts == 0).sum() != skipped:
            raise ValueError(f"{self.seen} images evaluated, the index has {len(self.keys)}")
        if skipped == len(self.keys):
            raise ValueError("no image could be evaluated")
        columns = (
            self.keys, self._labels, self._top, self._probabilities, self._true, self._rank
        )  # fmt: skip
        if skipped:
            columns = tuple(column[self._counts == 1] for column in columns)
        return Predictions(*columns, self.classes, key)
