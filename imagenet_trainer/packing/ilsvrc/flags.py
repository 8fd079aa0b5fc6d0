"""The flags of `tools/imagenet.py`."""

import re
from dataclasses import dataclass

from imagenet_trainer.config.flags import option
from imagenet_trainer.config.values import extensions, integer, number


def _pattern(text: str) -> str:
    try:
        groups = re.compile(text).groups
    except re.error as error:
        raise ValueError(f"must be a regular expression ({error})") from None
    if text and groups != 1:
        raise ValueError("must have one group in parentheses, the class")
    return text


@dataclass(frozen=True)
class ImagenetSettings:
    """Every flag of `tools/imagenet.py`."""

    out: str = option("", "folder for the lists, such as data", positional="one")
    root: str = option("", "folder that contains the dataset", positional="one")
    train: str = option(
        "", "folder or tar of the training images, if it has no usual name in root; none: make no "
        "training list", metavar="PATH",
    )  # fmt: skip
    val: str = option("", "the same for the validation images", metavar="PATH")
    val_labels: str = option(
        "", "labels of validation images without class folders: the devkit (.tar.gz or folder), "
        "its ground truth file next to its meta.mat, LOC_val_solution.csv, or Tiny ImageNet's "
        "val_annotations.txt", metavar="PATH",
    )  # fmt: skip
    blacklist: str = option(
        "", "file with the numbers of validation images to exclude, one per line", metavar="FILE"
    )
    label_pattern: str = option(
        "", r"regular expression whose group is the class in a path, for example '^(\w+)\.' for "
        "cat.123.jpg; default: folders are classes", _pattern, metavar="REGEX",
    )  # fmt: skip
    exts: str = option(".jpeg,.jpg,.png", "file extensions of images", extensions, metavar="EXT")
    test_per_class: int = option(
        50, "images per class for test.lst, taken out of training; 0: no test.lst", integer(0)
    )
    val_per_class: int = option(
        0, "images per class for val.lst, taken out of training if there is no validation set",
        integer(0),
    )  # fmt: skip
    val_ratio: float = option(0.0, "the same as a share of each class", number(0, 0.9))
    classes: str = option(
        "", "keep only these classes: ids with commas between them, or a file with one per line",
        metavar="LIST",
    )  # fmt: skip
    per_class: int = option(
        0, "training images per class to keep; 0: all. test.lst and val.lst do not depend on it",
        integer(0),
    )  # fmt: skip
    seed: int = option(
        100, "seed of every choice of images and of the order of the lines", integer(0)
    )
    no_shuffle: bool = option(False, "keep the order of the folders or the tar")
    dry_run: bool = option(False, "check everything and report what would be written, but write "
                           "nothing")  # fmt: skip
