"""A ring of reused buffers in which several threads make batches, in the order of a plan."""

import contextlib
import os
import threading
from collections import deque
from typing import Any, Callable, Deque, Iterator, List, Optional, Tuple

import numpy as np

from imagenet_trainer.data.augment import Transform
from imagenet_trainer.data.bad_records import STOP, USE, ZERO, OnBad, Report
from imagenet_trainer.data.decoded import decode_for
from imagenet_trainer.data.encoded import Encoded
from imagenet_trainer.data.mixup import Mixture, Mixup
from imagenet_trainer.data.records.label_vectors import LabelVectors
from imagenet_trainer.data.records.record_file import RecordError
from imagenet_trainer.data.records.shards import Shards
from imagenet_trainer.system.storage_faults import Abandoned, abandon_if

# Images that a thread claims at a time. Few enough that threads finish a batch together, enough
# that the lock costs nothing; even, so that a pair is mixed by the thread that made it.
_CHUNK = 4
# Images that a thread requests from the disk before it makes a chunk. So a whole window, as at the
# start of a run, is requested in parts, between which images are made.
_REQUEST = 8 * _CHUNK
PACK_AGAIN = "pack the set again with tools/im2rec.py, which rejects such images"

# For each batch to come: update, images int64 (n,), their epochs int64 (n,), and the images
# int64 (m,) to request from the disk when the batch is started.
Plan = Iterator[Tuple[int, np.ndarray, np.ndarray, np.ndarray]]

Memory = Callable[[Tuple[int, ...]], np.ndarray]


def pageable(shape: Tuple[int, ...]) -> np.ndarray:
    """Uint8 memory of a shape, as NumPy allocates it."""
    return np.empty(shape, np.uint8)


class Slot:
    """A buffer of the ring, and the batch that is being made in it."""

    def __init__(
        self, count: int, transform: Transform, memory: Memory,
        label_vectors: Optional[LabelVectors],
    ):  # fmt: skip
        self._transform = transform
        self._labels = np.empty(count, np.int64)
        if label_vectors:
            self._labels = np.empty((count, label_vectors.classes), np.uint8)
        self._allocate(count, memory)

    def _allocate(self, count: int, memory: Memory) -> None:
        self._images = memory((count, *self._transform.size, 3))

    def begin(
        self, update: int, indices: np.ndarray, drawn: Any, mixture: Optional[Mixture]
    ) -> None:
        """Begin a batch: its number, its images, and what was drawn for them."""
        self.update, self.indices, self.drawn = update, indices, drawn
        self.shares = mixture.shares if mixture else None
        self._cuts = mixture.cuts if mixture else None
        self.images: Any = self._batch_of(len(indices))
        self.labels = self._labels[: len(indices)]
        self.reports: List[Report] = []
        self.claimed = 0
        self.left = len(indices)

    def _batch_of(self, count: int) -> Any:
        return self._images[:count]

    def put(self, i: int, data: Any, remarks: List[str], trusted: bool) -> None:
        """Make image i from its encoded bytes; ValueError if they are not an image.

        `remarks` and `trusted` as in `augment.decode`.
        """
        image, steps = decode_for(data, self._transform, self.drawn, i, remarks, trusted)
        self._transform.execute(steps, image, self.images[i])

    def put_black(self, i: int) -> None:
        """Make image i black."""
        self.images[i] = 0

    def mix(self, mixup: Mixup, first: int, last: int) -> None:
        """Mix images first to last - 1, which are whole pairs."""
        if self.shares is not None:
            cuts = self._cuts and self._cuts[first:last]
            mixup.mix(self.images[first:last], self.shares[first:last], cuts)


class _EncodedSlot(Slot):
    """A slot whose images stay encoded, with what will happen to them.

    None of them can be made black: the steps that follow would change the colour.
    """

    def _allocate(self, count: int, memory: Memory) -> None:
        pass

    def _batch_of(self, count: int) -> Encoded:
        # New lists, because the consumer that decodes may be some batches behind.
        images: List[Any] = [None] * count
        steps: List[Any] = [None] * count
        return Encoded(images, steps, self._transform.size, self.shares)

    def put(self, i: int, data: Any, remarks: List[str], trusted: bool) -> None:
        self.images.put(i, data, self._transform, self.drawn, remarks, trusted)

    def mix(self, mixup: Mixup, first: int, last: int) -> None:
        """The consumer mixes, after decoding."""


class Ring:
    """The state that the threads share, guarded by one condition, `_changed`.

    Parameters
    ----------
    shards, transform, num_classes, mixup, encoded, on_bad
        as in `training_batches`.
    plan
        the batches, none with more than `batch_size` images.
    prefetch
        number of batches that the threads may be ahead.
    memory
        allocates the images of a slot.

    """

    def __init__(
        self,
        shards: Shards,
        transform: Transform,
        num_classes: int,
        plan: Plan,
        batch_size: int,
        prefetch: int,
        memory: Memory,
        on_bad: OnBad,
        mixup: Optional[Mixup] = None,
        encoded: bool = False,
    ):
        self._mixup, self._on_bad = mixup, on_bad
        self._shards, self._transform, self._num_classes = shards, transform, num_classes
        self._plan = plan
        self._changed = threading.Condition()
        slot = _EncodedSlot if encoded else Slot
        vectors = shards.label_vectors
        self._free = [slot(batch_size, transform, memory, vectors) for _ in range(prefetch + 1)]
        self._begun: Deque[Slot] = deque()  # in the order of the plan
        self._taken: Optional[Slot] = None
        self._wanted: Deque[np.ndarray] = deque()  # images to request from the disk
        self._error: Optional[BaseException] = None
        self._planned = False  # the plan has no more batches
        self._stopped = False

    def take(self) -> Optional[Slot]:
        """The next finished batch, None after the last; the previous one is reused."""
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
        """End `take` and the threads."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def work(self, nice: int = 0) -> None:
        """Make images until there are no more; the target of each thread."""
        _add_niceness(nice)
        try:
            with abandon_if(lambda: self._stopped):
                self._work()
        except Abandoned:
            return
        except BaseException as error:  # whatever it is, `take` raises it
            with self._changed:
                self._error = self._error or error
                self._stopped = True
                self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                claim = self._claim()
                wanted = self._wanted.popleft() if self._wanted else None
            if claim is None:
                return
            # Outside the lock: a busy disk may take a while to accept the request.
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

    def _claim(self) -> Optional[Tuple[Slot, int, int]]:
        """A chunk that no thread has claimed yet; None when there is no more work."""
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
        """Begin the plan's next batch in a free slot."""
        step = next(self._plan, None)
        if step is None:
            self._planned = True
            self._changed.notify_all()
            return
        update, indices, epochs, wanted = step
        self._wanted.extend(wanted[i : i + _REQUEST] for i in range(0, len(wanted), _REQUEST))
        # The slot that was free longest: a ring.
        slot = self._free.pop(0)
        transform, mixup = self._transform, self._mixup
        mixture = mixup.draw(indices, epochs, transform.size) if mixup else None
        slot.begin(update, indices, transform.draw(indices, epochs), mixture)
        self._begun.append(slot)

    def _make(self, slot: Slot, i: int) -> None:
        """Make image i of a batch and set its label, or what replaces it."""
        index = int(slot.indices[i])
        try:
            self._make_from(slot, i, index)
        except RecordError as error:
            action = self._on_bad.action
            if action == STOP:
                raise
            if action == ZERO:
                record = self._shards.record(index, compare=False)
                slot.labels[i] = self._shards.label_of(index, record.labels, self._num_classes)
                slot.put_black(i)
            elif self._on_bad.successors is None:
                slot.labels[i] = 0
                slot.put_black(i)  # whatever it is, it is left out
            else:
                self._make_from_next(slot, i, index, error)
            slot.reports.append(Report(i, error, action))

    def _make_from_next(self, slot: Slot, i: int, index: int, error: RecordError) -> None:
        """Make image i from the first usable image after `index`; raise `error` if none is."""
        assert self._on_bad.successors is not None
        for other in self._on_bad.successors(index):
            with contextlib.suppress(RecordError):
                return self._make_from(slot, i, other)
        raise error

    def _make_from(self, slot: Slot, i: int, index: int) -> None:
        """Make image i and its label from a record; RecordError if it is unusable."""
        shards = self._shards
        remarks: List[str] = []
        image, slot.labels[i], trusted = shards.example(index, self._num_classes)
        try:
            slot.put(i, image, remarks, trusted)
        except ValueError as error:
            raise shards.error(index, f"{error}; {PACK_AGAIN}") from error
        if remarks:
            slot.reports.append(Report(i, shards.error(index, remarks[0]), USE))


def _add_niceness(nice: int) -> None:
    """Lower the priority of this thread; only Linux has a niceness for each thread."""
    if nice:
        with contextlib.suppress(OSError, AttributeError):
            thread = threading.get_native_id()
            now = os.getpriority(os.PRIO_PROCESS, thread)
            os.setpriority(os.PRIO_PROCESS, thread, now + nice)
