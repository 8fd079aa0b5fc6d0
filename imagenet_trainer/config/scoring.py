"""Flags of the commands that use a trained network."""

from dataclasses import dataclass
from typing import Optional, Tuple

from imagenet_trainer.config.training import DeviceSettings
from imagenet_trainer.flags import (
    epochs,
    integer,
    option,
)


@dataclass(frozen=True)
class EvaluateSettings(DeviceSettings):
    """Everything that `evaluate` takes; preprocessing comes from the checkpoint."""

    model_prefix: Optional[str] = option(
        None, "the run's PREFIX as given to fit; by default the newest below runs/", str
    )
    epochs: Optional[Tuple[int, ...]] = option(
        None, "which checkpoints: 7, 1-30, 1,5,9 or all; by default the newest", epochs
    )
    data_val: str = option("", "another shard than the one the run was validated on", metavar="REC")
    data_val_idx: str = option("", "its index, if it is not beside it as .idx", metavar="IDX")
    batch_size: int = option(64, "pictures at a time; the numbers do not depend on it", integer(1))
    data_nthreads: int = option(0, "decoding threads; 0: as fit chooses", integer(0, 256))
    gif: bool = option(False, "also draw the GIF of the confusion matrix over the epochs")


@dataclass(frozen=True)
class PredictSettings(DeviceSettings):
    """Everything that `predict` takes."""

    pictures: Tuple[str, ...] = option((), "picture files", positional="many")
    model_prefix: Optional[str] = option(
        None, "the run's PREFIX as given to fit; by default the newest below runs/", str
    )
    epoch: Optional[int] = option(None, "by default the newest", integer(0))
    top_k: int = option(5, "classes told for each picture", integer(1))


@dataclass(frozen=True)
class PublishedSettings:
    """Everything that `published` takes."""

    name: str = option(
        "", "e.g. resnet-50, vgg16 or gluoncv/resnet50_v1b; without it a table of MXNet's own"
    )
    model_prefix: Optional[str] = option(
        None, "the run to make; by default runs/published-NAME/model", str
    )
