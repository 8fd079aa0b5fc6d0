"""Datasets and loaders for training loops of others: PyTorch, JAX, NumPy.

No engine is needed. `docs/api.md` has examples.
"""

from dataclasses import fields
from typing import Any, Dict, Iterator, Optional, Sequence, Tuple, TypeVar

import numpy as np

from imagenet_trainer.config import AugmentSettings
from imagenet_trainer.config.python_values import settings_of
from imagenet_trainer.data.augment import EvalTransform, TrainTransform
from imagenet_trainer.data.dataset import Classes, Dataset, open_dataset
from imagenet_trainer.data.loader import (
    Batches,
    Threads,
    Worker,
    evaluation_batches,
    training_batches,
)
from imagenet_trainer.data.order import Order, updates_before
from imagenet_trainer.errors import ArgumentError, InputError
from imagenet_trainer.system.files import AnyPath
from imagenet_trainer.system.machine import processors

T = TypeVar("T")
LoadedBatch = Tuple[np.ndarray, np.ndarray]  # images uint8 (n, h, w, 3) RGB, labels int64 (n,)


class _OfDataset:
    """What is read from a dataset; a context manager that closes it."""

    _dataset: Dataset

    @property
    def classes(self) -> Classes:
        """(id, name) of the classes, in the order of the labels."""
        return self._dataset.classes

    def close(self) -> None:
        """Close the shards."""
        self._dataset.shards.close()

    def __enter__(self: T) -> T:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class RecordDataset(_OfDataset):
    """The images of shards by their position: `dataset[i]` is (encoded image, label).

    With `all_labels` it is (encoded image, labels), float32 (k,), or float64 where the records
    have such; `k` may differ between records.

    It has what `torch.utils.data.DataLoader` needs. Processes may share it, by fork or as a copy.

    Parameters
    ----------
    path
        shards, as `--data-train` takes them: `data/train.rec`, or several with commas between them.
    transform
        a function of the encoded image, bytes; its result is returned in place of the image.
    num_classes
        of shards without a manifest.
    index
        the `.idx` files with commas between them; "" if they are beside the shards.
    label_index
        which label of a record is its class, from 0; None: the only one.
    all_labels
        return all labels of a record, which need not be classes.

    Raises
    ------
    InputError
        a shard is missing or damaged; from `[]`, a record has changed since it was packed, or its
        label is not a class.

    """

    def __init__(
        self,
        path: AnyPath,
        transform: Any = None,
        num_classes: Optional[int] = None,
        index: str = "",
        label_index: Optional[int] = None,
        all_labels: bool = False,
    ):
        self._arguments = (path, transform, num_classes, index, label_index, all_labels)
        self._transform, self._all_labels = transform, all_labels
        self._dataset = open_dataset(
            str(path), index, num_classes, label_index=label_index, any_labels=all_labels
        )

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, position: int) -> Tuple[Any, Any]:
        if position < 0:
            position += len(self)
        shards = self._dataset.shards
        record = shards.record(position)
        label: Any = np.array(record.labels, record.dtype)
        if not self._all_labels:
            label = shards.class_of(position, record.labels, len(self.classes))
        image = bytes(record.image)
        return (self._transform(image) if self._transform else image), label

    def __getstate__(self) -> Tuple[Any, ...]:
        return self._arguments

    def __setstate__(self, arguments: Tuple[Any, ...]) -> None:
        self.__init__(*arguments)  # type: ignore[misc]


class Loader(_OfDataset):
    """Batches of augmented training images; each iteration is the rest of an epoch.

        with Loader("data/train.rec", batch_size=256, seed=7) as loader:
            for epoch in range(90):
                for images, labels in loader:
                    ...

    The images, their order and their augmentation depend on the seed and the number of the batch
    alone: not on threads, on the number of workers, or on where a training was interrupted. Epochs
    follow each other without a pause, and a batch may lie in two. The arrays belong to the caller.

    Parameters
    ----------
    path
        shards, as `--data-train` takes them.
    batch_size
        images of a batch over all workers.
    image_shape
        3, height, width.
    augmentation
        the flags of `fit` of the same names; by default random resized crops and mirrors.
    seed
        0 to 2^63 - 1.
    rank, world
        this worker and their number; every worker gets its part of each batch.
    threads
        that decode; 0: one for each processor.
    prefetch
        batches that the threads may be ahead.
    shuffle_window
        number of images that are shuffled together, 0 for all: for disks that cannot seek.
    num_classes, index, label_index
        as in `RecordDataset`.
    multi_label
        labels are uint8 (n, classes), 0 or 1: all labels of a record are classes of its image.

    Raises
    ------
    ArgumentError
        an argument is out of its range, the batch is larger than the dataset, or the workers cannot
        share it evenly.
    InputError
        `augmentation` has a value that `fit` refuses; and as `RecordDataset`, from iteration when a
        thread meets it.

    """

    def __init__(
        self,
        path: AnyPath,
        batch_size: int,
        image_shape: Sequence[int] = (3, 224, 224),
        augmentation: Optional[AugmentSettings] = None,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        threads: int = 0,
        prefetch: int = 4,
        shuffle_window: int = 0,
        num_classes: Optional[int] = None,
        index: str = "",
        label_index: Optional[int] = None,
        multi_label: bool = False,
    ):
        _check_least(("batch_size", batch_size, 1), ("seed", seed, 0), ("threads", threads, 0),
                     ("prefetch", prefetch, 0), ("shuffle_window", shuffle_window, 0))  # fmt: skip
        _check_shape(image_shape)
        self._transform = TrainTransform(_checked(augmentation), image_shape, seed)
        self._worker = _worker(rank, world)
        self._threads = Threads(threads or processors(), prefetch=prefetch)
        self._dataset = open_dataset(
            str(path), index, num_classes, label_index=label_index, multi_label=multi_label
        )
        self._batches: Optional[Batches] = None
        try:
            self._order = Order(seed, len(self._dataset), batch_size, shuffle_window)
            self._order.share(world)  # ArgumentError unless the workers can share a batch
        except ArgumentError:
            self.close()
            raise
        self.update = 0
        """Number of the next batch since the beginning of the training."""

    @property
    def epoch(self) -> int:
        """The epoch of the next batch."""
        epoch = self.update * self._order.batch_size // self._order.images
        return epoch + (self._first_update(epoch + 1) <= self.update)

    def _first_update(self, epoch: int) -> int:
        return updates_before(epoch, self._order.images, self._order.batch_size)

    def __len__(self) -> int:
        """Number of batches in the current epoch."""
        return self._first_update(self.epoch + 1) - self._first_update(self.epoch)

    def __iter__(self) -> Iterator[LoadedBatch]:
        """The batches from the next one to the end of its epoch."""
        end = self._first_update(self.epoch + 1)
        while self.update < end:
            try:
                batch = next(self._running())
            except BaseException:  # Ctrl-C too: the next iteration starts threads again
                self._stop()
                raise
            self.update += 1
            yield batch.images.copy(), batch.labels.copy()

    def as_torch(self) -> Iterator[Tuple[Any, Any]]:
        """The same batches as PyTorch's tensors: uint8 (n, 3, h, w) in channels_last, int64 (n,).

        They are in pinned memory where there is a GPU, so `.to(device, non_blocking=True)` copies
        while the host goes on.
        """
        import torch

        pinned = torch.cuda.is_available()
        for arrays in self:
            images, labels = map(torch.from_numpy, arrays)
            pair = images.permute(0, 3, 1, 2), labels
            yield tuple(one.pin_memory() for one in pair) if pinned else pair

    def _running(self) -> Batches:
        if self._batches is None:
            self._batches = training_batches(
                self._dataset.shards, self._order, self._transform, len(self.classes),
                range(self.update, 1 << 62), self._worker, self._threads,
            )  # fmt: skip
        return self._batches

    def state_dict(self) -> Dict[str, Any]:
        """What a checkpoint needs to continue: the next batch, and what must be the same then."""
        return {"update": self.update, **self._fixed()}

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Continue where `state_dict` was called, with any number of workers and threads.

        Raises InputError if the images, the batch size, the seed or the window differ, which would
        be another order.
        """
        for name, value in self._fixed().items():
            if state.get(name) != value:
                raise InputError(
                    f"{self._dataset.path}: the state has {name} {state.get(name)!r}, and this "
                    f"loader {value!r}; use the same"
                )
        self._stop()
        self.update = int(state["update"])

    def _fixed(self) -> Dict[str, Any]:
        order = self._order
        return {
            "seed": order.seed, "batch_size": order.batch_size, "shuffle_window": order.window,
            "dataset": self._dataset.fingerprint,
        }  # fmt: skip

    def _stop(self) -> None:
        if self._batches is not None:
            self._batches.close()
            self._batches = None

    def close(self) -> None:
        """End the threads and close the shards."""
        self._stop()
        super().close()


class EvaluationLoader(_OfDataset):
    """Batches of resized and centrally cropped images, each image once, in the shards' order.

    Parameters as in `Loader`; `resize` is the short side in pixels before the crop, 0 for the
    default of `--val-resize`. A worker gets a range of the images. Errors as in `Loader`.
    """

    def __init__(
        self,
        path: AnyPath,
        batch_size: int,
        image_shape: Sequence[int] = (3, 224, 224),
        resize: int = 0,
        rank: int = 0,
        world: int = 1,
        threads: int = 0,
        num_classes: Optional[int] = None,
        index: str = "",
        label_index: Optional[int] = None,
        multi_label: bool = False,
    ):
        _check_least(("batch_size", batch_size, 1), ("threads", threads, 0))
        _check_shape(image_shape)
        self._transform = EvalTransform(image_shape, resize)
        worker = _worker(rank, world)
        self._threads = Threads(threads or processors())
        self._dataset = open_dataset(
            str(path), index, num_classes, label_index=label_index, multi_label=multi_label
        )
        images = len(self._dataset)
        self._part = range(images * rank // world, images * (worker.rank + 1) // world)
        self._batch_size = batch_size

    def __len__(self) -> int:
        """Number of batches."""
        return -(-len(self._part) // self._batch_size)

    def __iter__(self) -> Iterator[LoadedBatch]:
        if not self._part:
            return
        with evaluation_batches(
            self._dataset.shards, self._transform, len(self.classes), self._batch_size,
            self._threads, self._part,
        ) as batches:  # fmt: skip
            for batch in batches:
                yield batch.images.copy(), batch.labels.copy()


def _check_least(*arguments: Tuple[str, int, int]) -> None:
    """ArgumentError for the first of (name, value, least) whose value is below the least."""
    for name, value, least in arguments:
        if value < least:
            raise ArgumentError(name, value, f"must be at least {least}")


def _check_shape(image_shape: Sequence[int]) -> None:
    if len(image_shape) != 3 or image_shape[0] != 3 or min(image_shape) < 1:
        raise ArgumentError("image_shape", image_shape, "must be 3, height, width")


def _checked(augmentation: Optional[AugmentSettings]) -> AugmentSettings:
    """The augmentation, or the default one; InputError for a value that `fit` refuses."""
    if augmentation is None:
        return AugmentSettings()
    values = {one.name: getattr(augmentation, one.name) for one in fields(AugmentSettings)}
    return settings_of(AugmentSettings, values)


def _worker(rank: int, world: int) -> Worker:
    if not 0 <= rank < world:
        raise ArgumentError("rank", rank, f"must be from 0 to {world - 1}, below world {world}")
    return Worker(rank, world)
