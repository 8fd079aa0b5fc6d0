"""What a training reads before it writes anything: data and network."""

from typing import Any, Callable, NamedTuple, Optional, Tuple

from imagenet_trainer.data.augment import EvalTransform, TrainTransform
from imagenet_trainer.data.dataset import Dataset
from imagenet_trainer.data.order import Order
from imagenet_trainer.train.datasets import (
    check_separate,
    open_minival,
    open_order,
    open_training_set,
    open_validation_set,
)
from imagenet_trainer.train.image_sizes import check_sizes
from imagenet_trainer.train.multi_label import check_same_labels
from imagenet_trainer.train.schedule_flags import schedule_of
from imagenet_trainer.train.setup import TrainingSetup


class Inputs(NamedTuple):
    """The datasets, the order of the training images, and the network."""

    train: Dataset
    val: Dataset
    minival: Optional[Dataset]
    order: Order
    symbol: Any
    messages: Tuple[str, ...]  # about the two datasets


def read_inputs(setup: TrainingSetup, with_data: Callable[[], None]) -> Inputs:
    """Data and network; InputError for flags that cannot work, before anything is written.

    `with_data` is called between the two: networks of other programs load their engine.
    """
    settings = setup.settings
    train = open_training_set(settings)
    val = open_validation_set(settings, train.classes, train.path)
    check_same_labels(train, val)
    minival = open_minival(settings, train)
    order = open_order(settings, train)
    # Created again later; here they only check the flags.
    TrainTransform(settings, settings.image_shape, settings.seed)
    EvalTransform(settings.image_shape, settings.val_resize)
    schedule_of(settings, len(train))
    messages = filter(None, (train.note, val.note, check_separate(settings, train, val)))
    with_data()
    symbol = setup.symbol(len(train.classes))
    check_sizes(settings, symbol, setup.name)
    return Inputs(train, val, minival, order, symbol, tuple(dict.fromkeys(messages)))
