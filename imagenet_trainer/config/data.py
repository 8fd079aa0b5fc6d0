"""Flags of images: which ones, and how they become the network's input."""

from dataclasses import dataclass
from typing import Optional, Tuple

from imagenet_trainer.config.flags import option
from imagenet_trainer.config.values import image_shape, integer, number, numbers, switch


@dataclass(frozen=True)
class DataSettings:
    """Which packed images, and how they become the network's input."""

    data_val: str = option(
        "data/val.rec",
        "validation shard; several with commas or a pattern in quotes",
        metavar="REC",
        free=True,
    )
    data_val_idx: str = option(
        "",
        "its index, if it is not beside it as .idx",
        metavar="IDX",
        free=True,
    )
    image_shape: Tuple[int, ...] = option(
        (3, 224, 224), "the network's input, channels,height,width in pixels", image_shape
    )
    rgb_mean: Tuple[float, ...] = option(
        (123.68, 116.779, 103.939), "subtracted from red, green, blue (0-255)", numbers(3)
    )
    rgb_std: Tuple[float, ...] = option(
        (1.0, 1.0, 1.0), "red, green, blue are divided by it afterwards", numbers(3, 0, above=True)
    )
    val_resize: int = option(
        0,
        "short side in pixels to which validation images are resized before the centre crop; "
        "0: the crop's side times 256/224, or the crop's side itself up to 64 pixels",
        integer(0),
    )
    data_nthreads: int = option(
        0,
        "decoding threads; 0: one beside CPU training, otherwise processors minus one, at most 16. "
        "The images do not depend on it",
        integer(0, 256),
        free=True,
    )


@dataclass(frozen=True)
class TrainingDataSettings(DataSettings):
    """The training shard and what is known about it."""

    data_train: str = option(
        "data/train.rec",
        "training shard; several with commas or a pattern in quotes",
        metavar="REC",
        free=True,
    )
    data_train_idx: str = option(
        "",
        "its index, if it is not beside it as .idx",
        metavar="IDX",
        free=True,
    )
    shuffle_window: int = option(
        0,
        "for slow disks: mix only so many images with each other, which are read in long "
        "stretches one window ahead and must fit twice into memory; 0: mix the whole set",
        integer(0),
    )
    decode: str = option(
        "cpu",
        "who decodes and augments training images; gpu: the GPUs that train, by NVIDIA DALI "
        "(--engine torch). Order and augmentation are the same, pixels differ by rounding",
        choices=("cpu", "gpu"),
        free=True,
    )
    train_fraction: float = option(
        1.0,
        "train on so large a share of the training images, drawn by --seed; those of a smaller "
        "share are among those of a larger one",
        number(0, 1, above=True),
    )
    num_classes: Optional[int] = option(
        None,
        "checked against the shard's manifest; 1000 where there is none",
        integer(2),
        free=True,
    )
    num_examples: Optional[int] = option(
        None,
        "training images of the shard, before --train-fraction; checked against its index",
        integer(1),
        free=True,
    )
    benchmark: bool = option(
        False,
        "1: train on synthetic images that are in memory already",
        switch,
        free=True,
    )
    test_io: bool = option(
        False,
        "1: read and augment the images without training",
        switch,
        free=True,
    )


@dataclass(frozen=True)
class AugmentSettings:
    """What happens to a training image. The defaults are ImageNet's usual ones."""

    random_resized_crop: bool = option(
        True, "1: crop a random area of random aspect and resize it (Szegedy et al. 2014)", switch
    )
    min_random_area: float = option(
        0.08, "smallest crop, as a share of the image's area", number(0, 1, above=True)
    )
    max_random_area: float = option(1.0, "largest crop, likewise", number(0, 1, above=True))
    min_random_aspect_ratio: float = option(
        3 / 4, "smallest width / height of the crop", number(0, above=True)
    )
    max_random_aspect_ratio: float = option(
        4 / 3, "largest width / height of the crop", number(0, above=True)
    )
    random_crop: bool = option(
        False,
        "1: without --random-resized-crop, crop at a random place instead of the centre",
        switch,
    )
    random_mirror: bool = option(True, "1: mirror half of the images left to right", switch)
    pad_size: int = option(0, "pixels added on every side before a random crop", integer(0))
    fill_value: int = option(127, "their value, and that of a warp's corners", integer(0, 255))
    max_random_rotate_angle: float = option(0.0, "largest rotation, in degrees", number(0, 360))
    max_random_shear_ratio: float = option(0.0, "largest shear, as dx / dy", number(0))
    min_random_scale: float = option(
        1.0, "smallest zoom; below 1 the image gets smaller", number(0, above=True)
    )
    max_random_scale: float = option(1.0, "largest zoom", number(0, above=True))
    max_random_h: float = option(0.0, "largest change of hue, in degrees", number(0, 180))
    max_random_s: float = option(0.0, "largest change of saturation, of 255", number(0, 255))
    max_random_l: float = option(0.0, "largest change of lightness, of 255", number(0, 255))
    max_random_channel_shift: float = option(
        0.0, "largest value that is added to red, green and blue, to each its own, of 255",
        number(0, 255),
    )  # fmt: skip
    brightness: float = option(0.0, "colours are scaled by 1 - this to 1 + this", number(0, 1))
    contrast: float = option(0.0, "contrast is scaled by 1 - this to 1 + this", number(0, 1))
    saturation: float = option(0.0, "saturation is scaled by 1 - this to 1 + this", number(0, 1))
    pca_noise: float = option(
        0.0, "deviation of the PCA lighting noise (Krizhevsky et al. 2012)", number(0)
    )
    use_imagenet_data_augmentation: bool = option(
        False,
        "adds jitter .4 of brightness, contrast and saturation, PCA noise .1, and "
        "--rgb-std 58.393,57.12,57.375",
        switch,
    )
