"""Flags of the commands that use a trained network."""

from dataclasses import dataclass
from typing import Optional, Tuple

from imagenet_trainer.config.flags import option
from imagenet_trainer.config.training import DeviceSettings
from imagenet_trainer.config.values import (
    epoch_number,
    epochs,
    image_shape,
    integer,
    integers,
    number,
    numbers,
    switch,
    words,
)


@dataclass(frozen=True)
class PreparationSettings:
    """How images are prepared for a network; by default as its checkpoint says."""

    image_shape: Optional[Tuple[int, ...]] = option(
        None, "another input than the checkpoint's, such as 3,288,288", image_shape
    )
    val_resize: Optional[int] = option(
        None,
        "another short side in pixels before the crop; 0: the crop's times 256/224",
        integer(0),
    )
    rgb_mean: Optional[Tuple[float, ...]] = option(
        None, "for another program's checkpoint: subtracted from red, green, blue", numbers(3)
    )
    rgb_std: Optional[Tuple[float, ...]] = option(
        None, "likewise: they are divided by it; by default 1,1,1", numbers(3, 0, above=True)
    )
    bgr: bool = option(False, "likewise: the network takes blue, green, red")


@dataclass(frozen=True)
class ViewSettings(PreparationSettings):
    """What a network is shown of an image."""

    crops: int = option(
        1, "10: corners and centre, also mirrored; the answers are averaged", choices=(1, 10)
    )
    flip: bool = option(False, "average the answers to the image and its mirror image")


@dataclass(frozen=True)
class EvaluateSettings(ViewSettings, DeviceSettings):
    """Everything that `evaluate` takes; preprocessing comes from the checkpoint."""

    model_prefix: Optional[str] = option(
        None, "the run's PREFIX as given to fit; by default the newest below runs/", str
    )
    epochs: Optional[Tuple[int, ...]] = option(
        None, "which checkpoints: 7, 1-30, 1,5,9, best or all; by default the newest", epochs
    )
    compare: Tuple[str, ...] = option(
        (), "two epochs (numbers or best), or two of PREFIX or PREFIX,EPOCH: which one is better",
        words=2, metavar=("A", "B"),
    )  # fmt: skip
    data_val: str = option("", "another shard than the one the run was validated on", metavar="REC")
    data_val_idx: str = option("", "its index, if it is not beside it as .idx", metavar="IDX")
    top_k: Tuple[int, ...] = option(
        (), "also the share of images whose class is among the first K, e.g. 3 or 3,10",
        integers(1), metavar="K",
    )  # fmt: skip
    save_predictions: bool = option(
        False, "also write the probabilities of all classes, predictions-EPOCH.npz"
    )
    batch_size: int = option(64, "images at a time; the numbers do not depend on it", integer(1))
    data_nthreads: int = option(0, "decoding threads; 0: as fit chooses", integer(0, 256))
    cache_memory: float = option(
        0.5,
        "share of the free memory that decoded images may take, which then are decoded once for "
        "several epochs; 0: decode for every epoch",
        number(0, 1),
    )
    order: str = option(
        "imagenet",
        "of the classes in images: by label; by WordNet's groups; so that classes that are "
        "confused are neighbours",
        choices=("imagenet", "wordnet", "cluster"),
    )
    gif: bool = option(False, "also draw the GIF of the confusion matrix over the epochs")
    video: str = option(
        "", "also draw it as a video, which ffmpeg encodes", choices=("", "mp4", "webm")
    )
    report: bool = option(
        False, "also write report.html: curves, matrix, classes and images of the last epoch"
    )


@dataclass(frozen=True)
class PredictSettings(ViewSettings, DeviceSettings):
    """Everything that `predict` takes."""

    pictures: Tuple[str, ...] = option(
        (), "image files, folders, or patterns in quotes", positional="many"
    )
    model_prefix: Optional[str] = option(
        None, "the run's PREFIX as given to fit; by default the newest below runs/", str
    )
    epoch: Optional[int] = option(
        None, "its number, or best; by default the newest", epoch_number, metavar="N"
    )
    top_k: int = option(5, "classes told for each image", integer(1))
    batch_size: int = option(16, "images at a time; answers do not depend on it", integer(1))
    data_nthreads: int = option(0, "decoding threads; 0: as fit chooses", integer(0, 256))
    csv: str = option(
        "", "write the most probable classes into this table instead of printing", metavar="FILE"
    )
    submission: str = option("", "write a file for Kaggle, a row an image", metavar="FILE")
    submission_kind: str = option(
        "label",
        "label: id,label with the class; probability: id,label with the probability of one class; "
        "probabilities: id and a column a class; imagenet: ImageId,PredictionString",
        choices=("label", "probability", "probabilities", "imagenet"),
    )
    submission_class: str = option(
        "", "of kind probability: which class; by default the second of two", metavar="NAME"
    )
    clip: float = option(
        0.0, "keep probabilities of a submission between this and 1 - this", number(0, 0.5)
    )
    latency: bool = option(
        False, "print how long an answer takes, for one image and for --batch-size"
    )
    latency_rounds: int = option(100, "calls that are timed", integer(1))


@dataclass(frozen=True)
class ExportSettings(PreparationSettings):
    """Everything that `export` takes."""

    model_prefix: Optional[str] = option(
        None, "the run's PREFIX as given to fit; by default the newest below runs/", str
    )
    epoch: Optional[int] = option(
        None, "its number, or best; by default the newest", epoch_number, metavar="N"
    )
    to: Tuple[str, ...] = option(
        ("onnx", "mxnet"),
        "what to write, with commas between them: onnx; mxnet, a pair without label input; int8, "
        "such a pair in 8-bit integers",
        words("onnx", "mxnet", "int8"),
        metavar="LIST",
    )
    output: str = option(
        "",
        "PREFIX of the files, or a folder; by default FOLDER/export/NAME of the run",
        metavar="PREFIX",
    )
    preprocessing: bool = option(
        False,
        "1: the ONNX file takes uint8 images (batch, height, width, 3) in RGB and normalises "
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
        32, "images for which the ONNX file must answer as MXNet does", integer(1)
    )
    calibration_pictures: int = option(
        512, "images from which int8 takes the ranges of all layers", integer(1)
    )
    calibration: str = option(
        "entropy",
        "how: entropy keeps most information, naive takes the least and greatest value and is "
        "faster",
        choices=("entropy", "naive"),
    )
    batch_size: int = option(32, "images at a time", integer(1))
    data_nthreads: int = option(0, "decoding threads; 0: one", integer(0, 256))


@dataclass(frozen=True)
class PublishedSettings:
    """Everything that `published` takes."""

    name: str = option(
        "", "e.g. resnet-50, vgg16 or gluoncv/resnet50_v1b; without it a table of MXNet's own"
    )
    model_prefix: Optional[str] = option(
        None, "the run to make; by default runs/published-NAME/model", str
    )
