"""Batches: threads read, decode and transform images into a ring of reused buffers.

What is in a batch is settled by `order` and `augment`; threads only decide how soon it is there.
"""

import contextlib
import os
import threading
import time
import weakref
from collections import deque
from dataclasses import dataclass
from typing import Any, Deque, Iterator, List, Optional, Tuple

import cv2
import numpy as np

from imagenet_trainer.data.augment import Transform, decode
from imagenet_trainer.data.encoded import Encoded
from imagenet_trainer.data.mixup import Mixed, Mixup, partners
from imagenet_trainer.data.order import Order
from imagenet_trainer.data.records.shards import Shards
from imagenet_trainer.errors import InputError
from imagenet_trainer.system.machine import keep_freed_memory, processors

# Few enough that threads end a batch together, enough that the lock costs nothing; even, so that
# pairs are mixed by the thread that made them.
_CHUNK = 4
PACK_AGAIN = "pack the set again with tools/im2rec.py, which leaves such images out"

# Read ahead for every chunk, once a worker is behind: at the beginning of a run, a whole window.
_ASKED = 8 * _CHUNK
# OpenCV's level that keeps its warnings of damaged images away: our error says more.
_ERRORS = 2

# Of each batch to come: update, images int64 (n,), their epochs int64 (n,), and the images
# int64 (m,) to ask the disk for when the batch is begun.
Plan = Iterator[Tuple[int, np.ndarray, np.ndarray, np.ndarray]]


@dataclass
class Batch:
    """Images with their labels. The arrays are valid until the next batch is asked for."""

    images: Any  # uint8 (n, height, width, 3), RGB; Encoded where the loader does not decode
    labels: np.ndarray  # int64 (n,)
    update: int
    indices: np.ndarray  # int64 (n,), places in the set
    wait: float  # seconds that the consumer waited for it
    mix: Optional[Mixed] = None  # with mixup


class Loader:
    """Iterates over the batches of a plan; a context manager that ends its threads.

    The threads also end when the last batch was made, when one of them met an error, and when
    the loader is no longer referred to. Made by `training_batches` and `evaluation_batches`.

    Raises
    ------
    RecordError
        from `next`, as soon as a thread met it: a record cannot be read or decoded, or its label
        is no class. It says shard, record, offset and the way out.

    """

    def __init__(self, work: "_Work", threads: int):
        # OpenCV's own threads would compete with ours and with the network's.
        cv2.setNumThreads(0)
        cv2.setLogLevel(_ERRORS)
        keep_freed_memory()
        self._work = work
        # The threads know the work, not the loader: so it can be collected, and then they end.
        self._threads = [
            threading.Thread(target=work.run, name=f"loader-{number}", daemon=True)
            for number in range(threads)
        ]
        self._end = weakref.finalize(self, _end, work, self._threads)
        for thread in self._threads:
            thread.start()

    def __iter__(self) -> "Loader":
        return self

    def __next__(self) -> Batch:
        start = time.perf_counter()
        slot = None
        try:
            slot = self._work.take()
        finally:
            if slot is None:  # the end, an error, or Ctrl-C
                self.close()
        if slot is None:
            raise StopIteration
        wait = time.perf_counter() - start
        mix = None if slot.shares is None else (partners(slot.labels), slot.shares)
        return Batch(slot.images, slot.labels, slot.update, slot.indices, wait, mix)

    def close(self) -> None:
        """End all threads; each finishes at most the image that it is at."""
        self._end()

    def __enter__(self) -> "Loader":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def training_batches(
    shards: Shards,
    order: Order,
    transform: Transform,
    num_classes: int,
    first_update: int,
    last_update: int,
    rank: int = 0,
    world: int = 1,
    threads: int = 1,
    prefetch: int = 4,
    nice: int = 0,
    mixup: Optional[Mixup] = None,
    encoded: bool = False,
) -> Loader:
    """One worker's part of the batches of a stretch of updates.

    Parameters
    ----------
    shards, order, transform
        where images come from, which go where, and what happens to them.
    num_classes
        labels must be whole numbers below it.
    first_update, last_update
        which updates of the order, the last one not included.
    rank, world
        this worker and how many there are; each batch has order.batch_size / world images.
    threads, prefetch
        how many threads make batches, and how many batches they may be ahead; the disk is asked
        for images as many batches earlier still. Neither changes any image.
    nice
        is added to the threads' niceness where the system has one for each thread (Linux).
    mixup
        mixes neighbours of a batch.
    encoded
        leaves decoding, and all that follows it, to somebody else: images are `Encoded`.

    Raises
    ------
    InputError
        the workers cannot share the batch evenly, or a share has an odd number of images where
        they are mixed in pairs; from `next`, see Loader.

    """
    share = order.share(world)
    if mixup and share % 2:
        raise InputError(
            f"--batch-size {order.batch_size}: --mixup mixes pairs, and of the {share} images "
            f"of a worker one is left over; take a multiple of {2 * world}"
        )
    updates = range(first_update, last_update)
    reads = order.reads(first_update, last_update, prefetch, rank, world)
    plan = ((update, *order.batch(update, rank, world), next(reads)) for update in updates)
    work = _Work(shards, transform, num_classes, plan, share, prefetch, nice, mixup, encoded)
    return Loader(work, threads)


def evaluation_batches(
    shards: Shards,
    transform: Transform,
    num_classes: int,
    batch_size: int,
    threads: int = 1,
    prefetch: int = 4,
    nice: int = 0,
    part: Optional[range] = None,
) -> Loader:
    """Every image once, in the order of the shards; the last batch may be shorter.

    `Batch.update` is the batch's number, `part` a stretch of the images instead of all; other
    parameters and errors as `training_batches`.
    """
    indices = np.arange(len(shards)) if part is None else np.arange(part.start, part.stop)
    images = len(indices)
    starts = range(0, images, batch_size)
    plan = (
        (
            number,
            indices[start : start + batch_size],
            np.zeros(min(batch_size, images - start), np.int64),
            indices[start + prefetch * batch_size :][:batch_size],
        )
        for number, start in enumerate(starts)
    )
    size = min(batch_size, images)
    return Loader(_Work(shards, transform, num_classes, plan, size, prefetch, nice), threads)


class _Slot:
    """A buffer of the ring, and the batch that is being made in it."""

    def __init__(self, count: int, transform: Transform):
        self._transform = transform
        self._labels = np.empty(count, np.int64)
        self._make_room(count)

    def _make_room(self, count: int) -> None:
        self._images = np.empty((count, *self._transform.size, 3), np.uint8)

    def open(
        self, update: int, indices: np.ndarray, drawn: Any, shares: Optional[np.ndarray]
    ) -> None:
        self.update, self.indices, self.drawn, self.shares = update, indices, drawn, shares
        self.images: Any = self._opened(len(indices))
        self.labels = self._labels[: len(indices)]
        self.claimed = 0
        self.left = len(indices)

    def _opened(self, count: int) -> Any:
        return self._images[:count]

    def put(self, i: int, data: Any) -> None:
        """Make image i of an encoded one; ValueError where it is none."""
        self._transform.apply(decode(data), self.drawn, i, self.images[i])

    def mix(self, mixup: Mixup, first: int, last: int) -> None:
        """Mix the images of a stretch, which is whole pairs."""
        if self.shares is not None:
            mixup.mix(self.images[first:last], self.shares[first:last])


class _EncodedSlot(_Slot):
    """One whose images stay as they are, with what will happen to them."""

    def _make_room(self, count: int) -> None:
        pass

    def _opened(self, count: int) -> Encoded:
        # New lists, for whoever decodes may be some batches behind.
        images: List[Any] = [None] * count
        steps: List[Any] = [None] * count
        return Encoded(images, steps, self._transform.size, self.shares)

    def put(self, i: int, data: Any) -> None:
        self.images.put(i, data, self._transform, self.drawn)

    def mix(self, mixup: Mixup, first: int, last: int) -> None:
        """That comes after decoding."""


class _Work:
    """What the threads share. All of it is guarded by one condition, `_changed`."""

    def __init__(
        self,
        shards: Shards,
        transform: Transform,
        num_classes: int,
        plan: Plan,
        batch_size: int,
        prefetch: int,
        nice: int,
        mixup: Optional[Mixup] = None,
        encoded: bool = False,
    ):
        self._mixup = mixup
        self._shards, self._transform, self._num_classes = shards, transform, num_classes
        self._plan, self._nice = plan, nice
        self._changed = threading.Condition()
        make = _EncodedSlot if encoded else _Slot
        self._free = [make(batch_size, transform) for _ in range(prefetch + 1)]
        self._begun: Deque[_Slot] = deque()  # in the order of the plan
        self._taken: Optional[_Slot] = None
        self._wanted: Deque[np.ndarray] = deque()  # images to ask the disk for
        self._error: Optional[BaseException] = None
        self._planned = False  # the plan has no more batches
        self._stopped = False

    def take(self) -> Optional[_Slot]:
        """The next finished batch, None after the last; the one taken before goes back."""
        with self._changed:
            if self._taken is not None:
                self._free.append(self._taken)
                self._taken = None
                self._changed.notify_all()
            while True:
                if self._error is not None:
                    raise self._error
                if self._stopped or (self._planned and not self._begun):
                    return None
                if self._begun and not self._begun[0].left:
                    self._taken = self._begun.popleft()
                    return self._taken
                self._changed.wait()

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def run(self) -> None:
        """A thread's life."""
        if self._nice:
            with contextlib.suppress(OSError, AttributeError):
                here = threading.get_native_id()  # on Linux a thread has its own niceness
                now = os.getpriority(os.PRIO_PROCESS, here)
                os.setpriority(os.PRIO_PROCESS, here, now + self._nice)
        try:
            while True:
                with self._changed:
                    claim = self._claim()
                    wanted = self._wanted.popleft() if self._wanted else None
                if claim is None:
                    return
                # Here, for a busy disk may have us wait before it takes the wish.
                if wanted is not None:
                    self._shards.will_need(wanted)
                slot, first, last = claim
                for i in range(first, last):
                    if self._stopped:
                        return
                    self._make(slot, i)
                if self._mixup:  # a chunk is made of whole pairs
                    slot.mix(self._mixup, first, last)
                with self._changed:
                    slot.left -= last - first
                    if not slot.left:
                        self._changed.notify_all()
        except BaseException as error:
            with self._changed:
                self._error = self._error or error
                self._stopped = True
                self._changed.notify_all()

    def _claim(self) -> Optional[Tuple[_Slot, int, int]]:
        """A few images that nobody makes yet; None when there is no more work."""
        while not self._stopped:
            if self._begun and self._begun[-1].claimed < len(self._begun[-1].indices):
                slot = self._begun[-1]
                first = slot.claimed
                slot.claimed = min(first + _CHUNK, len(slot.indices))
                return slot, first, slot.claimed
            if self._planned:
                return None
            if self._free:
                self._begin()
            else:
                self._changed.wait()
        return None

    def _begin(self) -> None:
        """Begin the plan's next batch in a free buffer."""
        step = next(self._plan, None)
        if step is None:
            self._planned = True
            self._changed.notify_all()
            return
        update, indices, epochs, wanted = step
        self._wanted.extend(wanted[i : i + _ASKED] for i in range(0, len(wanted), _ASKED))
        # The buffer that was free longest: a ring.
        slot = self._free.pop(0)
        shares = self._mixup.shares(indices, epochs) if self._mixup else None
        slot.open(update, indices, self._transform.draw(indices, epochs), shares)
        self._begun.append(slot)

    def _make(self, slot: _Slot, i: int) -> None:
        """Put image i of a batch and its label into their places."""
        index = int(slot.indices[i])
        record = self._shards.record(index)
        if len(record.labels) != 1:
            raise self._shards.error(
                index, f"it has {len(record.labels)} labels where a classifier takes one; "
                "pack the set again with one label a line",
            )  # fmt: skip
        if not (record.label.is_integer() and 0 <= record.label < self._num_classes):
            raise self._shards.error(
                index, f"its label {record.label:g} is no class of 0 to {self._num_classes - 1}; "
                "correct --num-classes or pack the set again",
            )  # fmt: skip
        slot.labels[i] = int(record.label)
        try:
            slot.put(i, record.image)
        except ValueError as error:
            raise self._shards.error(index, f"{error}; {PACK_AGAIN}") from error


def _end(work: _Work, threads: List[threading.Thread]) -> None:
    work.stop()
    # Garbage collection may bring one of the threads here, with the lock that the others need.
    if threading.current_thread() not in threads:
        for thread in threads:
            thread.join()


def loader_threads(asked: int, gpus: bool) -> Tuple[int, int]:
    """Number and niceness of the decoding threads.

    MXNet's OpenMP threads wait for each other after every operator, so beside CPU training one
    thread of the lowest priority decodes; with GPUs all processors but one do.
    """
    if gpus:
        # torchrun says how many workers of this machine share its processors.
        share = processors() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        return asked or max(1, min(16, share - 1)), 0
    return asked or 1, 19
