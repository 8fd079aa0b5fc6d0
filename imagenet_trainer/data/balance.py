"""Balanced sampling: epochs in which some classes are visited more often than others.

An epoch has as many positions as the set has images. Class c gets a share of them that is
proportional to its weight times its number of images; the number in an epoch is that share rounded
up or down, by one random number for all classes (systematic sampling), so it is right on average.
A class visits its images pass by pass: each pass is a permutation of them that follows from the
seed, and continues in the next epoch. So no image of a class is visited twice before all others
were visited once, and the k-th visit of an image is the same whatever else was trained: a function
of (seed, image, k), with an augmentation of its own.
"""

from typing import List, Tuple

import numpy as np

from imagenet_trainer.data import philox

_ROUNDING, _PASSES = (1 << 31) + 2, (1 << 31) + 3  # first blocks of draws; see `order` and `parts`


class Balance:
    """The visits of every epoch, before they are shuffled.

    Parameters
    ----------
    seed
        of the run.
    images
        int64 (n,): the images of the set.
    labels
        int64 (n,): their classes.
    weights
        float64 (classes,): how much more often than those of other classes an image of each class
        is visited; above 0 for the classes that have images.

    """

    def __init__(self, seed: int, images: np.ndarray, labels: np.ndarray, weights: np.ndarray):
        self._seed = seed
        self._images = images[np.argsort(labels, kind="stable")]  # class by class
        self._counts = np.bincount(labels, minlength=len(weights))
        self._first = np.cumsum(self._counts) - self._counts
        totals = np.cumsum(weights * self._counts)
        self._edges = np.concatenate([[0.0], totals / totals[-1]])
        self._starts: List[np.ndarray] = [np.zeros(len(weights), np.int64)]  # by epoch

    def visits(self, epoch: int) -> Tuple[np.ndarray, np.ndarray]:
        """The images of an epoch and the pass of each, int64 (n,) both, class by class."""
        start, quota = self._start(epoch), self._quota(epoch)
        counts = self._counts
        sizes = np.maximum(counts, 1)
        first_pass = start // sizes
        passes = np.where(quota > 0, (start + quota - 1) // sizes - first_pass + 1, 0)
        # Every pair of an image and a pass that the epoch may need, class by class.
        pairs = passes * counts
        label = np.repeat(np.arange(len(counts)), pairs)
        begin = np.cumsum(pairs) - pairs
        place = np.arange(len(label)) - begin[label]
        number = place // sizes[label]
        image = self._images[self._first[label] + place % sizes[label]]
        visit = first_pass[label] + number
        draws = philox.uniform(self._seed, visit, image, 1, _PASSES)[:, 0]
        group = (np.cumsum(passes) - passes)[label] + number
        order = np.argsort(group + draws, kind="stable")
        taken = np.repeat(begin + start - first_pass * sizes, quota)
        taken += np.arange(len(taken)) - np.repeat(np.cumsum(quota) - quota, quota)
        return image[order[taken]], visit[order[taken]]

    def _quota(self, epoch: int) -> np.ndarray:
        """How many positions of an epoch each class has: int64 (classes,)."""
        shift = philox.uniform(self._seed, np.array([epoch]), np.zeros(1, np.int64), 1, _ROUNDING)
        edges = np.floor(self._edges * len(self._images) + shift[0]).astype(np.int64)
        return np.diff(edges)

    def _start(self, epoch: int) -> np.ndarray:
        """How many positions each class had in the epochs before: int64 (classes,)."""
        while len(self._starts) <= epoch:
            before = len(self._starts) - 1
            self._starts.append(self._starts[before] + self._quota(before))
        return self._starts[epoch]
