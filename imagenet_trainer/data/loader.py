"""Batches: threads read, decode and transform images into a ring of reused buffers.

`order` and `augment` determine what is in a batch; the threads only determine when it is ready.
"""

import threading
import time
import weakref
from dataclasses import dataclass
from typing import Any, List, Optional, Sequence

import numpy as np

from imagenet_trainer.data.augment import Transform
from imagenet_trainer.data.bad_records import SKIP, STOP, ZERO, OnBad, Report
from imagenet_trainer.data.images.decode import decode_in_own_threads
from imagenet_trainer.data.mixup import Mixed, Mixup, partners
from imagenet_trainer.data.order import Order
from imagenet_trainer.data.records.shards import Shards
from imagenet_trainer.data.ring import Memory, Plan, Ring, pageable
from imagenet_trainer.errors import ArgumentError
from imagenet_trainer.system.machine import keep_freed_memory, processes_here, processors


@dataclass
class Batch:
    """Images with their labels. The arrays are valid until the next batch is requested."""

    images: Any  # uint8 (n, height, width, 3), RGB; Encoded where the loader does not decode
    labels: np.ndarray  # int64 (n,), or uint8 (n, classes) with `Shards.label_vectors`
    update: int
    indices: np.ndarray  # int64 (n,), positions in the dataset
    wait: float  # seconds for which the consumer waited for the batch
    mix: Optional[Mixed] = None  # with mixup
    reports: Sequence[Report] = ()  # of records that could not be used as they are

    @property
    def usable(self) -> np.ndarray:
        """Which images of an evaluation are not skipped: bool (n,)."""
        usable = np.ones(len(self.labels), bool)
        usable[[one.position for one in self.reports if one.action == SKIP]] = False
        return usable


@dataclass(frozen=True)
class Worker:
    """One of the workers that share each batch."""

    rank: int = 0
    world: int = 1


@dataclass(frozen=True)
class Threads:
    """The threads of a loader. No image depends on them.

    Attributes
    ----------
    count
        number of threads.
    nice
        added to their niceness, where the system has one for each thread (Linux).
    prefetch
        number of batches that the threads may be ahead. Images are requested from the disk
        another `prefetch` batches earlier.
    memory
        allocates memory for the images of a batch, uint8 of a shape; see `Engine.host_memory`. It
        is called when the loader is made, once for each batch that exists at a time.

    """

    count: int = 1
    nice: int = 0
    prefetch: int = 4
    memory: Memory = pageable


ONE_WORKER, ONE_THREAD = Worker(), Threads()


class Batches:
    """Iterates over the batches of a plan; a context manager that ends its threads.

    The threads also end after the last batch, after an error, and when the loader is
    garbage-collected. Made by `training_batches` and `evaluation_batches`.

    Raises
    ------
    RecordError
        from `next`, as soon as a thread meets it: a record cannot be read or decoded, has changed
        since it was packed, or its label is not a class. The message names the shard, the record,
        its offset and the way out. See `bad_records` for the alternatives.

    """

    def __init__(self, ring: Ring, threads: Threads):
        decode_in_own_threads()
        keep_freed_memory()
        self._ring = ring
        # The threads refer to the ring, not to the loader. So the loader can be collected, and
        # then they end.
        self._threads = [
            threading.Thread(
                target=ring.work, args=(threads.nice,), name=f"loader-{number}", daemon=True
            )
            for number in range(threads.count)
        ]
        self._end = weakref.finalize(self, _end, ring, self._threads)
        for thread in self._threads:
            thread.start()

    def __iter__(self) -> "Batches":
        return self

    def __next__(self) -> Batch:
        start = time.perf_counter()
        try:
            slot = self._ring.take()
        except BaseException:  # an error of a thread, or Ctrl-C
            self.close()
            raise
        if slot is None:
            self.close()
            raise StopIteration
        wait = time.perf_counter() - start
        mix = None if slot.shares is None else (partners(slot.labels), slot.shares)
        reports = sorted(slot.reports, key=lambda one: one.position)
        return Batch(slot.images, slot.labels, slot.update, slot.indices, wait, mix, reports)

    def close(self) -> None:
        """End all threads; each finishes at most the image that it is working on."""
        self._end()

    def __enter__(self) -> "Batches":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def check_pairs(order: Order, world: int) -> None:
    """ArgumentError if the images of a worker cannot be mixed in pairs."""
    share = order.share(world)
    if share % 2:
        raise ArgumentError(
            "batch_size",
            order.batch_size,
            f"mixup and cutmix mix pairs, and the {share} images of a worker are an odd number; "
            f"use a multiple of {2 * world}",
        )


def training_batches(
    shards: Shards,
    order: Order,
    transform: Transform,
    num_classes: int,
    updates: range,
    worker: Worker = ONE_WORKER,
    threads: Threads = ONE_THREAD,
    mixup: Optional[Mixup] = None,
    encoded: bool = False,
    on_bad: str = STOP,
) -> Batches:
    """One worker's part of the batches of a range of updates.

    Parameters
    ----------
    shards, order, transform
        where images come from, their order, and what happens to them.
    num_classes
        labels must be integers below it.
    updates
        consecutive updates of the order.
    worker
        which part of each batch; it has order.batch_size / worker.world images.
    threads
        that make the batches.
    mixup
        mixes neighbours of a batch.
    encoded
        leaves decoding, and all that follows it, to the consumer: images are `Encoded`.
    on_bad
        what happens to a record that cannot be used: see `bad_records`.

    Raises
    ------
    ArgumentError
        the workers cannot share the batch evenly, a share has an odd number of images where they
        are mixed in pairs, or images are `encoded` with an `on_bad` of `zero`; from `next`, see
        Batches.

    """
    rank, world = worker.rank, worker.world
    share = order.share(world)
    if mixup:
        check_pairs(order, world)
    if encoded and on_bad == ZERO:
        raise ArgumentError("on_bad", on_bad, "needs images that the threads decode; use skip")
    reads = order.reads(updates.start, updates.stop, threads.prefetch, rank, world)
    plan = ((update, *order.batch(update, rank, world), next(reads)) for update in updates)
    ring = Ring(
        shards, transform, num_classes, plan, share, threads.prefetch, threads.memory,
        OnBad(on_bad, order.successors), mixup, encoded,
    )  # fmt: skip
    return Batches(ring, threads)


def evaluation_batches(
    shards: Shards,
    transform: Transform,
    num_classes: int,
    batch_size: int,
    threads: Threads = ONE_THREAD,
    part: Optional[range] = None,
    on_bad: str = STOP,
) -> Batches:
    """Every image once, in the order of the shards; the last batch may be shorter.

    `Batch.update` is the batch's number, `part` a range of images instead of all; other
    parameters and errors as in `training_batches`.
    """
    indices = np.arange(len(shards)) if part is None else np.arange(part.start, part.stop)
    plan = _evaluation_plan(indices, batch_size, threads.prefetch)
    size = min(batch_size, len(indices))
    ring = Ring(
        shards, transform, num_classes, plan, size, threads.prefetch, threads.memory,
        OnBad(on_bad),
    )  # fmt: skip
    return Batches(ring, threads)


def _evaluation_plan(indices: np.ndarray, batch_size: int, prefetch: int) -> Plan:
    known = 0  # images that are requested from the disk
    for number, start in enumerate(range(0, len(indices), batch_size)):
        batch = indices[start : start + batch_size]
        until = start + (prefetch + 1) * batch_size
        yield number, batch, np.zeros(len(batch), np.int64), indices[known:until]
        known = until


def _end(ring: Ring, threads: List[threading.Thread]) -> None:
    ring.stop()
    # Garbage collection may run in one of the threads, holding the lock that the others need.
    if threading.current_thread() not in threads:
        for thread in threads:
            thread.join()


def loader_threads(requested: int, gpus: bool, memory: Memory = pageable) -> Threads:
    """The decoding threads of a training or an evaluation; `requested` is 0 for the default.

    MXNet's OpenMP threads wait for each other after every operator, so beside CPU training one
    thread of the lowest priority decodes; with GPUs all processors but one do.
    """
    if gpus:
        threads = min(16, processors() // processes_here() - 1)
        return Threads(requested or max(1, threads), memory=memory)
    return Threads(requested or 1, nice=19, memory=memory)
