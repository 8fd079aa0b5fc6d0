"""Flags of images: which shards, and how images become the network's input."""

from dataclasses import dataclass
from typing import Optional, Tuple

from imagenet_trainer.config.flags import option
from imagenet_trainer.config.values import (
    INTERPOLATIONS,
    image_shape,
    integer,
    number,
    rgb_mean,
    rgb_std,
    share_or_count,
    size_schedule,
    switch,
)


@dataclass(frozen=True)
class CacheSettings:
    """The cache of shards on an object storage."""

    cache_dir: str = option(
        "",
        "folder that keeps parts of shards on an object storage (s3://, gs://, hf://, https://); "
        "by default imagenet-trainer/blocks in the user's cache folder",
        metavar="FOLDER",
        may_change=True,
    )
    cache_size: str = option(
        "",
        "most that --cache-dir may hold, such as 200GB: what was not used for the longest time is "
        "removed; 0: keep nothing; by default 50GB",
        metavar="SIZE",
        may_change=True,
    )


@dataclass(frozen=True)
class DataSettings(CacheSettings):
    """Validation shard and preprocessing."""

    data_val: str = option(
        "data/val.rec",
        "validation shard, or its URL; several: separated by commas, or a pattern in quotes",
        metavar="REC",
        may_change=True,
    )
    data_val_idx: str = option(
        "",
        "index of --data-val; by default the file next to it with the extension .idx",
        metavar="IDX",
        may_change=True,
    )
    label_index: Optional[int] = option(
        None,
        "which label of a record is its class, from 0, where records have several; default: the "
        "only one",
        integer(0),
    )
    image_shape: Tuple[int, ...] = option(
        (3, 224, 224),
        "shape of the network's input: channels,height,width in pixels",
        image_shape,
        metavar="3,H,W",
    )
    rgb_mean: Tuple[float, ...] = option(
        (123.68, 116.779, 103.939),
        "mean of red, green, blue (0-255), which is subtracted",
        rgb_mean,
        metavar="R,G,B",
    )
    rgb_std: Tuple[float, ...] = option(
        (1.0, 1.0, 1.0),
        "standard deviation of red, green, blue; divides the difference",
        rgb_std,
        metavar="R,G,B",
    )
    bgr: bool = option(
        False,
        "1: the network takes blue, green, red, as those converted from Caffe; --rgb-mean and "
        "--rgb-std stay in the order red, green, blue",
        switch,
    )
    val_resize: int = option(
        0,
        "short side in pixels to which validation images are resized before the centre crop; "
        "0: the crop's side times 256/224, or the crop's side for crops of up to 64 pixels",
        integer(0),
    )
    val_interp: str = option(
        "bilinear",
        "how validation images are resized; bilinear, area and bicubic all average areas if both "
        "sides are halved or more; pil-bilinear and pil-bicubic: bit for bit as Pillow and "
        "torchvision",
        choices=INTERPOLATIONS,
    )
    data_nthreads: int = option(
        0,
        "decoding threads; 0: one when training on CPUs, otherwise processors minus one, at most "
        "16. The order and content of images do not depend on it",
        integer(0, 256),
        may_change=True,
    )
    on_bad_record: str = option(
        "stop",
        "reaction to a record that has changed since it was packed, or cannot be decoded; skip: "
        "train on the next image instead, and leave it out of validation; zero: a black image "
        "with its label. Each is logged",
        choices=("stop", "skip", "zero"),
        may_change=True,
    )


@dataclass(frozen=True)
class TrainingDataSettings(DataSettings):
    """Training shard, and how it is read."""

    data_train: str = option(
        "data/train.rec",
        "training shard, or its URL; several: separated by commas, or a pattern in quotes",
        metavar="REC",
        may_change=True,
    )
    data_train_idx: str = option(
        "",
        "index of --data-train; by default the file next to it with the extension .idx",
        metavar="IDX",
        may_change=True,
    )
    multi_label: bool = option(
        False,
        "1: images have several classes: the labels of a record are all of them, as numbers or as "
        "0 and 1 for each class. The loss is the mean binary cross-entropy, and the best epoch is "
        "that of the highest mean average precision",
        switch,
    )
    image_size_schedule: str = option(
        "",
        "progressive resizing: height and width of the training images from each epoch on, such as "
        "0:160,11:176,13:192; by default --image-shape, which validation always has",
        size_schedule,
        metavar="EPOCH:SIZE,...",
    )
    shuffle_window: int = option(
        0,
        "for slow disks: shuffle within windows of N images. A window is read sequentially ahead "
        "of its use, and two must fit into memory; 0: shuffle all images",
        integer(0),
    )
    repeated_augmentation: int = option(
        1,
        "number of times that each image is in a batch, augmented differently (Hoffer et al. 2019; "
        "DeiT has 3); an epoch then has a part of the images",
        integer(1),
        metavar="TIMES",
    )
    decode: str = option(
        "cpu",
        "where training images are decoded and augmented; gpu: on the training GPUs, by NVIDIA "
        "DALI (--engine torch). Order and augmentation are the same, pixels differ by rounding",
        choices=("cpu", "gpu"),
        may_change=True,
    )
    train_fraction: float = option(
        1.0,
        "train on this fraction of the training images, sampled by --seed; a larger fraction "
        "contains the images of a smaller one",
        number(0, 1, above=True),
    )
    minival: float = option(
        0.0,
        "hold back this share of the training images (below 1), or this many, chosen by --seed: "
        "the best epoch, --patience and evaluate --calibrate then use their score instead of the "
        "validation score; 0: none",
        share_or_count,
    )
    folds: int = option(
        0,
        "divide the training images into N folds by --seed, for cross-validation; 0: do not",
        integer(0, 9999),
    )
    fold: int = option(
        0,
        "with --folds: hold back this fold, 1 to N. It is the validation set instead of --data-val",
        integer(0, 9999),
    )
    sample_weights: str = option(
        "",
        "balanced sampling: how often an image is visited, by its class; inverse: all classes "
        "equally often; sqrt: as often as the square root of their numbers of images; else a CSV "
        "file with a line CLASS,WEIGHT for each class. An epoch keeps its length",
        metavar="HOW",
    )
    num_classes: Optional[int] = option(
        None,
        "number of classes, checked against the shard's manifest; 1000 without a manifest",
        integer(2),
        may_change=True,
    )
    num_examples: Optional[int] = option(
        None,
        "training images in the shard, before --train-fraction; checked against its index",
        integer(1),
        may_change=True,
    )
    benchmark: bool = option(
        False,
        "1: train on synthetic images in memory, to measure throughput",
        switch,
        may_change=True,
    )
    test_io: bool = option(
        False, "1: read and augment the images without training", switch, may_change=True
    )


@dataclass(frozen=True)
class AugmentSettings:
    """Augmentation of training images; the defaults are the usual ones for ImageNet."""

    random_resized_crop: bool = option(
        True,
        "1: crop a random area with a random aspect ratio and resize it (Szegedy et al. 2014)",
        switch,
    )
    min_random_area: float = option(
        0.08, "smallest area of the crop, as a fraction of the image", number(0, 1, above=True)
    )
    max_random_area: float = option(
        1.0, "largest area of the crop, as a fraction of the image", number(0, 1, above=True)
    )
    min_random_aspect_ratio: float = option(
        3 / 4, "smallest aspect ratio (width / height) of the crop", number(0, above=True)
    )
    max_random_aspect_ratio: float = option(
        4 / 3, "largest aspect ratio (width / height) of the crop", number(0, above=True)
    )
    random_crop: bool = option(
        False,
        "1: without --random-resized-crop, crop at a random position instead of the centre",
        switch,
    )
    random_mirror: bool = option(True, "1: flip half of the images horizontally", switch)
    pad_size: int = option(0, "pixels added on every side before a random crop", integer(0))
    fill_value: int = option(
        127, "value of padding, and of the corners after rotation or shear", integer(0, 255)
    )
    decode_scale: bool = option(
        False,
        "1: decode JPEGs at half their size where the crop has at least twice the sides of "
        "--image-shape: faster for large images; pixels differ slightly. Training images only",
        switch,
    )
    max_random_rotate_angle: float = option(0.0, "largest rotation, in degrees", number(0, 360))
    max_random_shear_ratio: float = option(0.0, "largest shear, as dx / dy", number(0))
    min_random_scale: float = option(
        1.0, "smallest scale; below 1 the image gets smaller", number(0, above=True)
    )
    max_random_scale: float = option(1.0, "largest scale", number(0, above=True))
    max_random_h: float = option(0.0, "largest change of hue, in degrees", number(0, 180))
    max_random_s: float = option(0.0, "largest change of saturation, of 255", number(0, 255))
    max_random_l: float = option(0.0, "largest change of lightness, of 255", number(0, 255))
    max_random_channel_shift: float = option(
        0.0, "largest value added to red, green and blue independently, of 255", number(0, 255)
    )
    brightness: float = option(0.0, "colours are scaled by 1 - N to 1 + N", number(0, 1))
    contrast: float = option(0.0, "contrast is scaled by 1 - N to 1 + N", number(0, 1))
    saturation: float = option(0.0, "saturation is scaled by 1 - N to 1 + N", number(0, 1))
    pca_noise: float = option(
        0.0, "standard deviation of the PCA lighting noise (Krizhevsky et al. 2012)", number(0)
    )
    auto_augment: str = option(
        "none",
        "random operations after the crop. trivial: one of random strength (TrivialAugment Wide, "
        "Mueller and Hutter 2021); rand: two of --rand-augment-magnitude (RandAugment, Cubuk et "
        "al. 2019); three: grey, solarised or blurred (3-Augment, Touvron et al. 2022)",
        choices=("none", "trivial", "rand", "three"),
        plugins="augmentations",
    )
    rand_augment_magnitude: int = option(
        9, "strength of --auto-augment rand, of 30", integer(0, 30)
    )
    random_erasing: float = option(
        0.0,
        "probability that a rectangle, a fiftieth to a third of the image, is filled with "
        "--fill-value (Zhong et al. 2017)",
        number(0, 1),
    )
    train_interp: str = option(
        "bilinear",
        "interpolation of the resize in training. bilinear, bicubic: areas are averaged where both "
        "sides are halved or more; area: always",
        choices=("bilinear", "bicubic", "area"),
    )
    use_imagenet_data_augmentation: bool = option(
        False,
        "1: add jitter of 0.4 to brightness, contrast and saturation, PCA noise of 0.1, and "
        "--rgb-std 58.393,57.12,57.375",
        switch,
    )
