"""Parts of a training set that are not trained on: a fold of several, and a minival.

Which images a part has follows from the seed and the labels of the set alone. The images are
sorted by class, and in each class by their own random numbers; of this sequence fold f of k has the
positions f - 1, f - 1 + k, f - 1 + 2k ... So the folds have equally many images of each class, up
to one. The minival has evenly spaced positions of what the fold leaves, for the same reason.

A path may name a part: `data/train.rec#fold=2of5+seed=3`, `data/train.rec#minival=0.01`.
"""

import os
import re
import weakref
from dataclasses import dataclass
from typing import NamedTuple, Tuple

import numpy as np

from imagenet_trainer.data import philox
from imagenet_trainer.data.records.headers import read_labels
from imagenet_trainer.data.records.shards import Shards
from imagenet_trainer.errors import InputError

_PARTS = (1 << 31) + 1  # the first block of draws; `order.subset` has the one before
_NAME = re.compile(
    r"(?P<path>.+)#(?=.)(?:fold=(?P<fold>\d{1,4})of(?P<folds>\d{1,4}))?"
    r"\+?(?:minival=(?P<minival>\d+(?:\.\d+)?(?:e-\d+)?))?\+?(?:seed=(?P<seed>\d{1,19}))?"
)


@dataclass(frozen=True)
class Parts:
    """How a training set is divided.

    Attributes
    ----------
    seed
        of the run.
    folds, fold
        the images of fold `fold` (1 to `folds`) are held back; 0: there are no folds.
    minival
        share (below 1) or number of the images that remain, held back too; 0: none.

    """

    seed: int = 0
    folds: int = 0
    fold: int = 0
    minival: float = 0

    def __bool__(self) -> bool:
        return bool(self.folds or self.minival)

    def name(self, path: str, minival: bool = False) -> str:
        """The path of a part of a set: of the fold, or of the minival."""
        words = [f"fold={self.fold}of{self.folds}"] if self.folds else []
        words += [f"minival={self.minival:.12g}"] if minival else []
        words += [f"seed={self.seed}"] if self.seed else []
        return f"{path}#{'+'.join(words)}"


class Division(NamedTuple):
    """The images of the parts, int64 (n,) each, ascending: each image is in one of them."""

    train: np.ndarray
    minival: np.ndarray
    fold: np.ndarray


def split_name(name: str) -> Tuple[str, Parts]:
    """A path, and the part of the set that its end names; no parts without such an end.

    A file whose name has such an end is that file. Raises InputError for a part that cannot be.
    """
    match = _NAME.fullmatch(name)
    if not match or not (match["fold"] or match["minival"]) or os.path.exists(name):
        return name, Parts()
    fold, folds = int(match["fold"] or 0), int(match["folds"] or 0)
    if match["fold"] and not 1 <= fold <= folds:
        raise InputError(f"{name}: has no fold {fold} of {folds}; give one of 1 to {folds}")
    minival = float(match["minival"] or 0)
    if match["minival"] and not minival:
        raise InputError(f"{name}: is no image; give a share or a number of images above 0")
    return match["path"], Parts(int(match["seed"] or 0), folds, fold, minival)


def labels_of(shards: Shards) -> np.ndarray:
    """The labels of all records, int64 (records,); the first of several unless one is chosen.

    They are read once: 3 microseconds a record.
    """
    if shards not in _labels:
        found = read_labels(shards, shards.label_index or 0)
        _labels[shards] = np.nan_to_num(found, nan=-1).astype(np.int64)
    return _labels[shards]


# Of the shards that are in use.
_labels: "weakref.WeakKeyDictionary[Shards, np.ndarray]" = weakref.WeakKeyDictionary()


def divide(labels: np.ndarray, parts: Parts) -> Division:
    """Divide the images with these labels, int64 (images,)."""
    images = np.arange(len(labels))
    draws = philox.uniform(parts.seed, np.zeros(1, np.int64), images, 1, _PARTS)[:, 0]
    sequence = np.lexsort((draws, labels))
    fold = sequence[:0]
    if parts.folds:
        number = np.arange(len(sequence)) % parts.folds
        fold, sequence = sequence[number == parts.fold - 1], sequence[number != parts.fold - 1]
    count = minival_images(parts.minival, len(sequence))
    held = np.zeros(len(sequence), bool)
    if count:
        held[((np.arange(count) + 0.5) * len(sequence) / count).astype(np.int64)] = True
    return Division(np.sort(sequence[~held]), np.sort(sequence[held]), np.sort(fold))


def minival_images(minival: float, images: int) -> int:
    """Number of images of a minival out of `images`: at least one, unless `minival` is 0."""
    if not minival:
        return 0
    return min(images, max(1, round(minival * images)) if minival < 1 else int(minival))
