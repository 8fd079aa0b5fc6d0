"""Flags of the commands that use a trained network."""

from dataclasses import dataclass
from typing import Optional, Tuple

from imagenet_trainer.config.training import DeviceSettings
from imagenet_trainer.flags import (
    epoch_number,
    epochs,
    integer,
    option,
    switch,
    words,
)


@dataclass(frozen=True)
class EvaluateSettings(DeviceSettings):
    """Everything that `evaluate` takes; preprocessing comes from the checkpoint."""

    model_prefix: Optional[str] = option(
        None, "the run's PREFIX as given to fit; by default the newest below runs/", str
    )
    epochs: Optional[Tuple[int, ...]] = option(
        None, "which checkpoints: 7, 1-30, 1,5,9, best or all; by default the newest", epochs
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
    epoch: Optional[int] = option(
        None, "its number, or best; by default the newest", epoch_number, metavar="N"
    )
    top_k: int = option(5, "classes told for each picture", integer(1))


@dataclass(frozen=True)
class ExportSettings:
    """Everything that `export` takes."""

    model_prefix: Optional[str] = option(
        None, "the run's PREFIX as given to fit; by default the newest below runs/", str
    )
    epoch: Optional[int] = option(None, "by default the newest", integer(0))
    to: Tuple[str, ...] = option(
        ("onnx", "mxnet"),
        "what to write, with commas between them: onnx; mxnet, a pair without label input; int8, "
        "such a pair in 8-bit integers",
        words("onnx", "mxnet", "int8"),
        metavar="LIST",
    )
    output: str = option(
        "", "PREFIX of the files; by default FOLDER/export/NAME of the run", metavar="PREFIX"
    )
    preprocessing: bool = option(
        False,
        "1: the ONNX file takes uint8 pictures (batch, height, width, 3) in RGB and normalises "
        "them itself",
        switch,
    )
    data_train: str = option(
        "",
        "shard to calibrate int8 with; by default the run's training shard, or where that is not "
        "there its validation shard",
        metavar="REC",
    )
    data_val: str = option(
        "", "shard to check onnx and score int8 with; by default the run's", metavar="REC"
    )
    check_pictures: int = option(
        32, "pictures for which the ONNX file must answer as MXNet does", integer(1)
    )
    calibration_pictures: int = option(
        512, "pictures from which int8 takes the ranges of all layers", integer(1)
    )
    calibration: str = option(
        "entropy",
        "how: entropy keeps most information, naive takes the least and greatest value and is "
        "faster",
        choices=("entropy", "naive"),
    )
    batch_size: int = option(32, "pictures at a time", integer(1))
    data_nthreads: int = option(0, "decoding threads; 0: one", integer(0, 256))
