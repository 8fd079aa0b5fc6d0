"""Which image goes where: pure functions of (seed, epoch, update).

The permutations of all epochs, laid end to end, make one endless sequence. Update u of a run
takes positions [uB, (u + 1)B) of it, B being the batch over all workers. So every epoch visits
every image exactly once, and a tail shorter than B opens the first batch of the next epoch.

A permutation mixes the whole set, or (for slow disks) only windows of it: see `permutation`.
"""

from typing import Dict, Iterator, Optional, Tuple

import numpy as np

from imagenet_trainer.data import philox as counter
from imagenet_trainer.errors import ArgumentError

# A window's images come from this many places of the shards: enough that neighbours in a shard
# (of one class, where it was packed unshuffled) are a small part of it, few enough that each
# place is one long read.
BLOCKS_IN_WINDOW = 64
_CHOICE = 1 << 31  # draws of `subset` begin at this block; augmentation's and mixup's lie below


def updates_before(epoch: int, images: int, batch: int) -> int:
    """How many updates end by the start of an epoch: epoch e is [before(e), before(e + 1))."""
    return epoch * images // batch


def share_of(fraction: float, images: int) -> int:
    """How many images a share in (0, 1] of a set is: at least one."""
    return max(1, round(fraction * images))


def subset(seed: int, fraction: float, images: int) -> Optional[np.ndarray]:
    """The images of a share of the set, ascending: int64 (share_of(fraction, images),).

    Each image has a draw of its own, and those with the lowest are taken; so 10 % of a set are
    among its 30 %, whatever their order. None for the whole set.
    """
    if fraction == 1:
        return None
    draws = counter.uniform(seed, np.zeros(1, np.int64), np.arange(images), 1, _CHOICE)[:, 0]
    return np.sort(np.argsort(draws, kind="stable")[: share_of(fraction, images)])


def permutation(seed: int, epoch: int, images: int, window: int = 0) -> np.ndarray:
    """The order of an epoch: int64 (images,), each of 0..images-1 once.

    With a `window` of 1 to images - 1, the set is cut into blocks of window / BLOCKS_IN_WINDOW
    neighbours (rounded up), the blocks are laid end to end in random order, and this sequence is
    cut into windows whose images are shuffled among themselves. So places [kW, (k + 1)W) of the
    epoch hold the images of at most BLOCKS_IN_WINDOW + 2 stretches of the shards.

    All random choices are raw 64-bit words of Philox, the part of NumPy's generators that stays
    the same from version to version; `Generator.permutation` may change.
    """
    philox = np.random.Philox(key=np.array([seed, epoch], np.uint64))
    if not 0 < window < images:
        return _shuffle(philox.random_raw(images))
    block = -(-window // BLOCKS_IN_WINDOW)
    blocks = _shuffle(philox.random_raw(-(-images // block)))
    sequence = (blocks[:, None] * block + np.arange(block)).ravel()
    sequence = sequence[sequence < images]  # the last block may be shorter
    words = philox.random_raw(images)
    whole = images // window * window
    for first, last in ((0, whole), (whole, images)):
        if first < last:
            rows = sequence[first:last].reshape(-1, min(window, last - first))
            mixed = _shuffle(words[first:last].reshape(rows.shape))
            rows[:] = np.take_along_axis(rows, mixed, axis=1)
    return sequence


def _shuffle(words: np.ndarray) -> np.ndarray:
    """0..n-1 in the order of random words: uint64 (..., n) to int64 (..., n), by the last axis.

    The number of a word takes the place of its lowest bits. That makes all different, so that
    every way of sorting gives one result, and sorting numbers is several times faster than
    `argsort`. 43 random bits are left for ImageNet.
    """
    count = words.shape[-1]
    mask = np.uint64((1 << (count - 1).bit_length()) - 1)
    keys = words & ~mask | np.arange(count, dtype=np.uint64)
    keys.sort(axis=-1)
    return (keys & mask).astype(np.int64)


class Order:
    """The batches of a run. Its cache of permutations makes it fit for one thread at a time.

    Parameters
    ----------
    seed, images, batch_size
        of the run, the set, and all workers together.
    window
        images that are mixed with each other, 0 for the whole set; see `permutation`.
    subset
        int64 (images,), ascending: these images of the shards instead of the first ones.

    """

    def __init__(
        self,
        seed: int,
        images: int,
        batch_size: int,
        window: int = 0,
        subset: Optional[np.ndarray] = None,
    ):
        if batch_size > images:
            raise ArgumentError(
                "batch_size",
                batch_size,
                f"the dataset has only {images} images; use {images} or less, or pack more images",
            )
        self.seed = seed
        self.images = images
        self.batch_size = batch_size
        self.window = window if window < images else 0
        self._subset = subset
        self._permutations: Dict[int, np.ndarray] = {}

    def share(self, world: int) -> int:
        """How many images of each batch one of `world` workers takes; InputError if uneven."""
        if self.batch_size % world:
            raise ArgumentError(
                "batch_size",
                self.batch_size,
                f"cannot be divided evenly among {world} workers; use a multiple of {world}",
            )
        return self.batch_size // world

    def batch(self, update: int, rank: int = 0, world: int = 1) -> Tuple[np.ndarray, np.ndarray]:
        """One worker's part of the global batch of an update.

        Returns the images and the epoch that each belongs to, int64 (batch / world,) both; the
        parts of ranks 0..world-1 one after another are the batch of one worker alone. Raises
        InputError when the workers cannot share the batch evenly.
        """
        share = self.share(world)
        first = update * self.batch_size + rank * share
        return self._at(np.arange(first, first + share))

    def reads(
        self, first_update: int, last_update: int, ahead: int, rank: int = 0, world: int = 1
    ) -> Iterator[np.ndarray]:
        """For each update of a stretch, the images to ask the disk for when it is begun.

        A worker's own images only, sorted by their places in the shards. With a window they
        are those of a whole window, about a window before it is needed and at least `ahead`
        batches; without one, those of the batch that comes `ahead` batches later. The first
        array also holds everything from the stretch's beginning up to there.

        Returns
        -------
        arrays int64 (images,), many of them empty if there is a window.

        """
        share, batch = self.share(world), self.batch_size
        lead = max(self.window, ahead * batch)
        known = self._window_before(first_update * batch)
        for update in range(first_update, last_update):
            until = self._window_after((update + 1) * batch + lead)
            positions = np.arange(known, until)
            own = positions[positions % batch // share == rank]
            known = until
            yield np.sort(self._at(own)[0])

    def _window_before(self, position: int) -> int:
        """Where the window that holds a position begins."""
        return position - position % self.images % self.window if self.window else position

    def _window_after(self, position: int) -> int:
        """Where the first window begins that does not begin before a position."""
        if not self.window:
            return position
        epoch, place = divmod(position, self.images)
        return epoch * self.images + min(-(-place // self.window) * self.window, self.images)

    def _at(self, positions: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
        """Images and epochs at ascending positions of the endless sequence."""
        epochs, places = np.divmod(positions, self.images)
        indices = np.empty_like(places)
        for epoch in range(epochs[0], epochs[-1] + 1) if len(epochs) else ():
            here = epochs == epoch
            indices[here] = self._permutation(epoch)[places[here]]
        return indices, epochs

    def _permutation(self, epoch: int) -> np.ndarray:
        if epoch not in self._permutations:
            # A batch and what is read ahead of it touch three epochs at most, unless the set is
            # so small that a permutation costs nothing; and training goes forward.
            while len(self._permutations) > 2:
                del self._permutations[min(self._permutations)]
            order = permutation(self.seed, epoch, self.images, self.window)
            self._permutations[epoch] = order if self._subset is None else self._subset[order]
        return self._permutations[epoch]
