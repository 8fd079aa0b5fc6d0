"""The order of images: pure functions of (seed, epoch, update).

The permutations of all epochs, one after the other, make one endless sequence. Update u of a run
takes its positions [uB, (u + 1)B), where B is the batch size over all workers. So every epoch
visits every image exactly once, and a remainder shorter than B begins the first batch of the next
epoch.

A permutation shuffles the whole dataset, or (for slow disks) only windows of it: see `permutation`.
With balanced sampling an epoch has as many positions, and `balance` says which images they have.
"""

from typing import Dict, Iterator, Optional, Tuple

import numpy as np

from imagenet_trainer.data import philox
from imagenet_trainer.data.balance import Balance
from imagenet_trainer.errors import ArgumentError

# A window's images come from this many blocks of the shards: enough that neighbours in a shard
# (of one class, if it was packed unshuffled) are a small part of it, few enough that each block
# is one long read.
BLOCKS_IN_WINDOW = 64
_CHOICE = 1 << 31  # the first block of draws of `subset`; augmentation and mixup use lower ones


def updates_before(epoch: int, images: int, batch: int) -> int:
    """Number of updates before an epoch: epoch e has the updates [before(e), before(e + 1))."""
    return epoch * images // batch


def share_of(fraction: float, images: int) -> int:
    """Number of images in a share in (0, 1] of a dataset, at least one."""
    return max(1, round(fraction * images))


def subset(
    seed: int, fraction: float, images: int, among: Optional[np.ndarray] = None
) -> Optional[np.ndarray]:
    """The images of a share of a dataset, or of some of its images, `among`: int64, ascending.

    Each image has its own random number, and those with the lowest are taken. So the images of a
    10 % share are also in the 30 % share. None for the whole dataset.
    """
    if fraction == 1:
        return among
    among = np.arange(images) if among is None else among
    draws = philox.uniform(seed, np.zeros(1, np.int64), among, 1, _CHOICE)[:, 0]
    chosen = np.argsort(draws, kind="stable")[: share_of(fraction, len(among))]
    return np.sort(among[chosen])


def permutation(seed: int, epoch: int, images: int, window: int = 0) -> np.ndarray:
    """The order of an epoch: int64 (images,), each of 0..images-1 once.

    With a `window` of 1 to images - 1, the dataset is cut into blocks of window / BLOCKS_IN_WINDOW
    neighbours (rounded up), the blocks are put in random order, and this sequence is cut into
    windows, in each of which the images are shuffled. So positions [kW, (k + 1)W) of the epoch
    hold the images of at most BLOCKS_IN_WINDOW + 2 ranges of the shards.

    All random choices are raw 64-bit words of Philox, the part of NumPy's generators that is
    stable from version to version; `Generator.permutation` may change.
    """
    generator = np.random.Philox(key=np.array([seed, epoch], np.uint64))
    if not 0 < window < images:
        return _shuffle(generator.random_raw(images))
    block = -(-window // BLOCKS_IN_WINDOW)
    blocks = _shuffle(generator.random_raw(-(-images // block)))
    sequence = (blocks[:, None] * block + np.arange(block)).ravel()
    sequence = sequence[sequence < images]  # the last block may be shorter
    words = generator.random_raw(images)
    full = images // window * window
    for first, last in ((0, full), (full, images)):
        if first < last:
            rows = sequence[first:last].reshape(-1, min(window, last - first))
            shuffled = _shuffle(words[first:last].reshape(rows.shape))
            rows[:] = np.take_along_axis(rows, shuffled, axis=1)
    return sequence


def _shuffle(words: np.ndarray) -> np.ndarray:
    """0..n-1 in the order of random words: uint64 (..., n) to int64 (..., n), along the last axis.

    The lowest bits of each word are replaced by its position. So all words differ, every sorting
    algorithm gives the same result, and sorting numbers is several times faster than `argsort`.
    43 random bits are left for ImageNet.
    """
    count = words.shape[-1]
    mask = np.uint64((1 << (count - 1).bit_length()) - 1)
    keys = words & ~mask | np.arange(count, dtype=np.uint64)
    keys.sort(axis=-1)
    return (keys & mask).astype(np.int64)


class Order:
    """The batches of a run. It caches permutations, so only one thread may use it at a time.

    Parameters
    ----------
    seed
        of the run.
    images
        number of images in the dataset.
    batch_size
        number of images in an update, over all workers.
    window
        number of images that are shuffled together, 0 for the whole dataset; see `permutation`.
    subset
        int64 (images,), ascending: use these images of the shards instead of the first ones.
    balance
        visits these images instead of each image once an epoch.
    repeats
        number of times that an image is in a batch (Hoffer et al. 2019, "Augment your batch",
        arXiv:1901.09335). Its augmentations differ, so `batch` returns other epochs.

    """

    def __init__(
        self,
        seed: int,
        images: int,
        batch_size: int,
        window: int = 0,
        subset: Optional[np.ndarray] = None,
        balance: Optional[Balance] = None,
        repeats: int = 1,
    ):
        if batch_size > images:
            raise ArgumentError(
                "batch_size",
                batch_size,
                f"is more than the {images} images of the dataset; use at most that, or pack more",
            )
        if batch_size % repeats:
            raise ArgumentError(
                "batch_size",
                batch_size,
                f"cannot hold each image {repeats} times; use a multiple of {repeats}",
            )
        self.seed = seed
        self._repeats = repeats
        self.images = images
        self.batch_size = batch_size
        self.window = window if window < images else 0
        self._subset, self._balance = subset, balance
        self._epochs: Dict[int, Tuple[np.ndarray, np.ndarray]] = {}

    def share(self, world: int) -> int:
        """Number of images of each batch for one of `world` workers.

        Raises ArgumentError if the workers cannot share the batch evenly.
        """
        if self.batch_size % world:
            raise ArgumentError(
                "batch_size",
                self.batch_size,
                f"cannot be divided evenly among {world} workers; use a multiple of {world}",
            )
        return self.batch_size // world

    def batch(self, update: int, rank: int = 0, world: int = 1) -> Tuple[np.ndarray, np.ndarray]:
        """One worker's part of the batch of an update.

        Returns the images and the epoch of each, int64 (batch_size / world,) both; with a balance
        the pass instead of the epoch. No image meets an epoch twice, so all of its augmentations
        differ. The parts of ranks 0..world-1, concatenated, are the batch of a single worker.
        Errors as in `share`.
        """
        share = self.share(world)
        first = update * self.batch_size + rank * share
        return self._at(np.arange(first, first + share))

    def reads(
        self, first_update: int, last_update: int, ahead: int, rank: int = 0, world: int = 1
    ) -> Iterator[np.ndarray]:
        """For each update of a range, the images to request from the disk when it begins.

        These are only the worker's own images, sorted by their positions in the shards. With a
        window they are those of a whole window, about a window before it is needed and at least
        `ahead` batches before; without one, those of the batch `ahead` batches later. The first
        array also holds everything from the start of the range up to there.

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
            wanted = self._at(own)[0]
            yield np.sort(wanted) if self._repeats == 1 else np.unique(wanted)

    def successors(self, image: int) -> Iterator[int]:
        """The other images of the dataset, from the one after `image` on, in the shards' order."""
        subset = self._subset
        place = image if subset is None else int(np.searchsorted(subset, image))
        for step in range(1, self.images):
            position = (place + step) % self.images
            yield position if subset is None else int(subset[position])

    def _window_before(self, position: int) -> int:
        """The start of the window that contains a position."""
        return position - position % self.images % self.window if self.window else position

    def _window_after(self, position: int) -> int:
        """The start of the first window that does not start before a position."""
        if not self.window:
            return position
        epoch, offset = divmod(position, self.images)
        return epoch * self.images + min(-(-offset // self.window) * self.window, self.images)

    def _at(self, positions: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
        """Images and epochs at ascending positions of the endless sequence.

        A batch is a shorter one `repeats` times, one repeat after the other. So neighbours, which
        may be mixed, and images of one worker are different where they can be.
        """
        shorter = self.batch_size // self._repeats
        updates, places = np.divmod(positions, self.batch_size)
        images, visits = self._visited(updates * shorter + places % shorter)
        return images, visits * self._repeats + places // shorter

    def _visited(self, positions: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
        """The same if each image is once in a batch; here the positions need not ascend."""
        epochs, offsets = np.divmod(positions, self.images)
        indices, visits = np.empty_like(offsets), epochs.copy()
        for epoch in range(epochs.min(), epochs.max() + 1) if len(epochs) else ():
            here = epochs == epoch
            images, passes = self._epoch(epoch)
            indices[here] = images[offsets[here]]
            if len(passes):
                visits[here] = passes[offsets[here]]
        return indices, visits

    def _epoch(self, epoch: int) -> Tuple[np.ndarray, np.ndarray]:
        """The images of an epoch in their order, and with a balance the pass of each."""
        if epoch not in self._epochs:
            # A batch and the images read ahead of it are of three epochs at most, unless the
            # dataset is so small that a permutation costs nothing; and training goes forward.
            while len(self._epochs) > 2:
                del self._epochs[min(self._epochs)]
            order = permutation(self.seed, epoch, self.images, self.window)
            passes = order[:0]
            if self._balance is not None:
                images, visits = self._balance.visits(epoch)
                order, passes = images[order], visits[order]
            elif self._subset is not None:
                order = self._subset[order]
            self._epochs[epoch] = order, passes
        return self._epochs[epoch]
