"""Flags of the commands that use a trained network."""

from dataclasses import dataclass
from typing import Optional, Tuple

from imagenet_trainer.config.data import CacheSettings
from imagenet_trainer.config.figures import FigureSettings
from imagenet_trainer.config.flags import option
from imagenet_trainer.config.training import DeviceSettings
from imagenet_trainer.config.values import (
    INTERPOLATIONS,
    epoch_number,
    epochs,
    image_shape,
    integer,
    integers,
    number,
    rgb_mean,
    rgb_std,
    strings,
    subset,
    switch,
)


@dataclass(frozen=True)
class TrainedRunSettings:
    """Which trained network."""

    model_prefix: Optional[str] = option(
        None,
        "prefix of the run, or SageMaker's model.tar.gz; by default the newest run in runs/",
        str,
        metavar="PREFIX",
    )


@dataclass(frozen=True)
class CheckpointSettings(TrainedRunSettings):
    """Which epoch of it."""

    epoch: Optional[int] = option(
        None, "epoch of the run, or best; by default the newest", epoch_number, metavar="N"
    )


@dataclass(frozen=True)
class NormalisationSettings:
    """How images become the network's input; the default is that of the run or its publication."""

    val_resize: Optional[int] = option(
        None,
        "short side in pixels to which images are resized before the centre crop; 0: the crop's "
        "side times 256/224; by default as in training",
        integer(0),
    )
    val_interp: Optional[str] = option(
        None,
        "how images are resized, as in fit; by default as in training",
        str,
        choices=INTERPOLATIONS,
    )
    rgb_mean: Optional[Tuple[float, ...]] = option(
        None,
        "mean of red, green, blue (0-255), which is subtracted; by default as in training, needed "
        "for checkpoints of other programs",
        rgb_mean,
        metavar="R,G,B",
    )
    rgb_std: Optional[Tuple[float, ...]] = option(
        None,
        "standard deviation of red, green, blue, which divides the difference; by default as in "
        "training, 1,1,1 for checkpoints of other programs",
        rgb_std,
        metavar="R,G,B",
    )
    bgr: Optional[bool] = option(
        None, "1: the network takes blue, green, red; by default as in training", switch
    )


@dataclass(frozen=True)
class PreparationSettings(NormalisationSettings):
    """Preprocessing; the default is that of the checkpoint."""

    image_shape: Optional[Tuple[int, ...]] = option(
        None,
        "shape of the network's input, such as 3,288,288; by default the checkpoint's",
        image_shape,
        metavar="3,H,W",
    )
    classes: str = option(
        "",
        "names of the network's outputs, in their order, for checkpoints of other programs: "
        "imagenet; a text file with a class per line, a JSON file or a manifest; the PREFIX of a "
        "run; by default the checkpoint's, or ImageNet's for 1000 outputs",
        metavar="FILE",
    )
    calibrated: bool = option(
        False,
        "1: divide the logits by the temperature that evaluate --calibrate fitted for the epoch",
        switch,
    )


@dataclass(frozen=True)
class ViewSettings(PreparationSettings):
    """Which views of an image a network classifies."""

    crops: int = option(
        1,
        "10: corners and centre, and their mirror images; predictions are averaged",
        choices=(1, 10),
    )
    flip: bool = option(False, "average the predictions for the image and its mirror image")


@dataclass(frozen=True)
class EvaluateSettings(
    ViewSettings, CacheSettings, FigureSettings, DeviceSettings, TrainedRunSettings
):
    """Everything that `evaluate` takes."""

    epochs: Optional[Tuple[int, ...]] = option(
        None,
        "epochs to evaluate: 7, 1-30, 1,5,9, best or all; by default the newest",
        epochs,
        metavar="LIST",
    )
    compare: Tuple[str, ...] = option(
        (),
        "compare two checkpoints: epochs of the run (numbers or best), or PREFIX or PREFIX,EPOCH",
        nargs=2,
        metavar=("A", "B"),
    )
    audit: Tuple[str, ...] = option(
        (),
        "find labels of the training set that are probably wrong: prefixes of the runs of all "
        "folds (fit --folds), separated by commas, or a pattern in quotes",
        strings,
        metavar="PREFIXES",
    )
    calibrate: str = option(
        "",
        "fit a temperature for the probabilities of each epoch, on the images that --minival held "
        "back (without a value), or on shards; then evaluate without and with it",
        str,
        const="minival",
        metavar="REC",
    )
    data_val: str = option(
        "", "shard to evaluate on; by default the run's validation shard", metavar="REC"
    )
    data_val_idx: str = option(
        "",
        "index of --data-val; by default the file next to it with the extension .idx",
        metavar="IDX",
    )
    label_index: Optional[int] = option(
        None,
        "which label of a record is its class, from 0, where records have several; by default that "
        "of the training",
        integer(0),
    )
    find_preprocessing: bool = option(
        False, "try the usual preprocessings on some images and print which fits, with its flags"
    )
    find_images: int = option(200, "number of images of --find-preprocessing", integer(1))
    real_labels: str = option(
        "",
        "real.json of ReaL: the right classes of ImageNet's validation images, of which an image "
        "may have several or none",
        metavar="JSON",
    )
    labels: str = option(
        "",
        "CSV file with the columns image (or key) and label, which replace labels of the shard",
        metavar="CSV",
    )
    multi_label: bool = option(
        False,
        "the labels of a record are all classes of its image, as numbers or as 0 and 1 for each "
        "class; also report the mean average precision",
    )
    corruptions: bool = option(
        False, "accuracy in the 15 corruptions of ImageNet-C, in five strengths each"
    )
    corruption_images: int = option(
        500, "number of images of --corruptions, evenly spaced in the shard; 0: all", integer(0)
    )
    restrict_classes: bool = option(
        False, "only the classes of which the shard has images compete, as for ImageNet-A and -R"
    )
    top_k: Tuple[int, ...] = option(
        (), "also report the top-K accuracy, such as 3 or 3,10", integers(1), metavar="K"
    )
    save_predictions: bool = option(
        False, "also write the probabilities of all classes to probabilities-EPOCH.npz"
    )
    table: Tuple[str, ...] = option(
        (),
        "also write the predictions for each image as a table: csv, parquet (needs pyarrow), or "
        "csv,parquet",
        subset("csv", "parquet"),
        metavar="LIST",
    )
    batch_size: int = option(64, "images per batch; results do not depend on it", integer(1))
    data_nthreads: int = option(0, "decoding threads; 0: as in fit", integer(0, 256))
    on_bad_record: str = option(
        "stop",
        "reaction to a record that has changed since it was packed, or cannot be decoded; skip: "
        "leave it out of the result; zero: a black image with its label",
        choices=("stop", "skip", "zero"),
    )
    cache_memory: float = option(
        0.5,
        "fraction of the free memory for decoded images, so that several epochs decode them once; "
        "0: decode for every epoch",
        number(0, 1),
    )
    gif: bool = option(False, "also draw the confusion matrix over the epochs as a GIF")
    gif_axes: bool = option(
        False, "draw --gif and --video with axes, groups, legend and the curve of the accuracy"
    )
    video: str = option(
        "",
        "also draw the confusion matrix over the epochs as a video; needs ffmpeg",
        choices=("", "mp4", "webm"),
    )
    tensorboard: bool = option(
        False, "also write the figure of the matrix of each epoch as an image for TensorBoard"
    )
    output: str = option(
        "",
        "folder for all files that evaluate writes; by default the run's, or NAME-results in a "
        "folder with several networks. If the run's is read-only, results are only printed",
        metavar="FOLDER",
    )
    again: bool = option(False, "compute epochs again that were evaluated before")
    report: bool = option(
        False, "also write report.html: curves, matrix, classes and images of the last epoch"
    )
    open: bool = option(False, "open the report of --report in the browser, if there is a screen")
    thumbnails: str = option(
        "auto",
        "images with a thumbnail in the folder beside report.html; auto: all, or the errors of a "
        "dataset with more than 100,000 images",
        choices=("auto", "all", "errors", "none"),
    )
    features: bool = option(
        False,
        "also write what the layer before the classifier computes for each image of the last "
        "epoch, and the same for TensorBoard's projector",
    )
    explain: int = option(
        0,
        "also show why the N worst errors of the last epoch were made (24 without a value): which "
        "parts of the image speak for the predicted and for the labelled class (Grad-CAM), and the "
        "nearest training images; in explain-EPOCH.csv, .jpg and the report; 0: do not",
        integer(0, 100),
        const="24",
        metavar="N",
    )
    explain_nearest: int = option(
        5, "nearest training images of each error of --explain; 0: none", integer(0, 20)
    )
    explain_images: int = option(
        50_000,
        "number of training images among which --explain looks for the nearest, a random sample "
        "where there are more; 0: all",
        integer(0),
    )
    data_train: str = option("", "training shard of --explain; by default the run's", metavar="REC")
    map: str = option(
        "pca",
        "how --report draws the map of --features; pca: principal components; umap: neighbours, "
        "needs umap-learn",
        choices=("pca", "umap"),
    )
    review: str = option(
        "",
        "list of images with wrong or ambiguous labels, saved by the report or written by --audit: "
        "also print the accuracy without them, and with the right classes",
        metavar="CSV",
    )


@dataclass(frozen=True)
class PredictSettings(ViewSettings, DeviceSettings, CheckpointSettings):
    """Everything that `predict` takes."""

    pictures: Tuple[str, ...] = option(
        (), "image files, folders, or patterns in quotes", positional="many", metavar="IMAGE"
    )
    top_k: int = option(5, "number of classes to report for each image", integer(1))
    batch_size: int = option(16, "images per batch; predictions do not depend on it", integer(1))
    data_nthreads: int = option(0, "decoding threads; 0: as in fit", integer(0, 256))
    csv: str = option(
        "", "write the most probable classes to a CSV file instead of printing them", metavar="FILE"
    )
    parquet: bool = option(
        False, "also write the table of --csv FILE as Parquet, with the ending .parquet"
    )
    submission: str = option(
        "", "write a submission file for Kaggle, one row per image", metavar="FILE"
    )
    submission_kind: str = option(
        "label",
        "columns of the submission; label: id,label with the class; probability: id,label with the "
        "probability of one class; probabilities: id and one column per class; imagenet: "
        "ImageId,PredictionString",
        choices=("label", "probability", "probabilities", "imagenet"),
    )
    submission_class: str = option(
        "", "class of kind probability; by default the second of two", metavar="NAME"
    )
    clip: float = option(
        0.0, "clip the probabilities of a submission to N ... 1 - N", number(0, 0.5)
    )
    latency: bool = option(
        False, "print the latency of inference, for one image and for --batch-size images"
    )
    latency_rounds: int = option(100, "timed calls of --latency", integer(1))


@dataclass(frozen=True)
class ExportSettings(PreparationSettings, CacheSettings, CheckpointSettings):
    """Everything that `export` takes."""

    to: Tuple[str, ...] = option(
        ("onnx", "mxnet"),
        "formats to write, separated by commas; onnx; mxnet: symbol and parameters without a label "
        "input; int8: the same in 8-bit integers, made by MXNet; torch: parameters for a network "
        "of torchvision or timm, or a traced program; safetensors: parameters with MXNet's names",
        subset("onnx", "mxnet", "int8", "torch", "safetensors", least=1),
        metavar="LIST",
    )
    output: str = option(
        "",
        "prefix of the files, or a folder; by default FOLDER/export/NAME of the run",
        metavar="PREFIX",
    )
    preprocessing: bool = option(
        False,
        "1: the ONNX model takes RGB images in uint8 (batch, height, width, 3) and normalises them",
        switch,
    )
    data_train: str = option(
        "",
        "shard for the calibration of int8; by default the run's training shard, or its validation "
        "shard if that is missing",
        metavar="REC",
    )
    data_val: str = option(
        "",
        "shard to check onnx and evaluate int8 on; by default the run's validation shard",
        metavar="REC",
    )
    check_pictures: int = option(
        32, "images on which predictions of onnx and torch must agree with the engine's", integer(1)
    )
    calibration_pictures: int = option(
        512, "images for the calibration of int8, which sets the range of each layer", integer(1)
    )
    calibration: str = option(
        "entropy",
        "method of calibration; entropy: least loss of information; naive: minimum and maximum, "
        "faster",
        choices=("entropy", "naive"),
    )
    batch_size: int = option(32, "images per batch", integer(1))
    data_nthreads: int = option(0, "decoding threads; 0: one", integer(0, 256))


@dataclass(frozen=True)
class PublishedSettings(NormalisationSettings):
    """Everything that `published` takes."""

    file: str = option(
        "",
        "parameters of torchvision or timm (.safetensors) or of Gluon (.params), or their address, "
        "such as hf://timm/resnet18.tv_in1k on Hugging Face, which is fetched once; by default the "
        "file of NAME in Gluon's cache",
        metavar="FILE",
    )
    name: str = option(
        "",
        "name of the network, such as resnet-50, vgg16, gluoncv/resnet50_v1b or, with --file, "
        "torchvision/resnet50; by default the network that the file fits, or a table of MXNet's "
        "own",
        metavar="NAME",
    )
    model_prefix: Optional[str] = option(
        None, "prefix of the new run; by default runs/published-NAME/model", str, metavar="PREFIX"
    )
