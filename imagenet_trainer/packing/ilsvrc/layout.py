"""ILSVRC2012 as it lies on a disk: where its parts are, and the numbers that it must have."""

import os
import re
from dataclasses import dataclass, replace
from typing import Iterator, List, Sequence, Tuple

from imagenet_trainer.data.records.manifest import known_synsets
from imagenet_trainer.errors import InputError
from imagenet_trainer.packing.ilsvrc.labelled import Classes, size, stem

TRAIN_IMAGES = 1_281_167
VAL_IMAGES = 50_000
TEST_IMAGES = 100_000
_TRAIN_A_CLASS = range(732, 1301)
_VAL_A_CLASS = 50

NONE = "none"  # as a flag's value: leave this part out
_IMAGE_PLACES = ("", "ILSVRC/Data/CLS-LOC", "Data/CLS-LOC", "CLS-LOC")
_LABEL_PLACES = ("", "ILSVRC", "data")
_TRAIN = ("train", "ILSVRC2012_img_train", "ILSVRC2012_img_train.tar", "train.tar")
_VAL = ("val", "validation", "ILSVRC2012_img_val", "ILSVRC2012_img_val.tar", "val.tar")
_TEST = ("test", "ILSVRC2012_img_test", "ILSVRC2012_img_test_v10102019.tar",
         "ILSVRC2012_img_test.tar")  # fmt: skip
_DEVKIT = ("ILSVRC2012_devkit_t12", "ILSVRC2012_devkit_t12.tar.gz",
           "ILSVRC2012_validation_ground_truth.txt")  # fmt: skip
_SOLUTION = ("LOC_val_solution.csv",)
_MOST_NAMED = 5


@dataclass(frozen=True)
class Parts:
    """Folders or tars of images, and files with validation labels; "" for what there is not."""

    train: str
    val: str
    test: str
    labels: Tuple[str, ...]


def find_parts(root: str, train: str, val: str, labels: str) -> Parts:
    """The parts of a data set below a folder; what is given by name is taken as it is.

    A folder without any of the usual names is itself the training set. Raises InputError when
    something is not there.
    """
    for flag, path in (
        ("root", root),
        ("--train", train),
        ("--val", val),
        ("--val-labels", labels),
    ):
        if path not in ("", NONE) and not os.path.exists(path):
            raise InputError(f"{flag} {path}: no such folder or file")
    found = (_find(root, _DEVKIT, _LABEL_PLACES), _find(root, _SOLUTION, _LABEL_PLACES))
    parts = Parts(
        train="" if train == NONE else train or _find(root, _TRAIN, _IMAGE_PLACES),
        val="" if val == NONE else val or _find(root, _VAL, _IMAGE_PLACES),
        test=_find(root, _TEST, _IMAGE_PLACES),
        labels=(labels,) if labels else tuple(filter(None, found)),
    )
    if parts.train or parts.val:
        return parts
    if train == NONE:
        raise InputError("--train none: no validation images found either; give --val their place")
    return replace(parts, train=root, test="")  # a folder `test` in it is a class


def _find(root: str, names: Sequence[str], places: Sequence[str]) -> str:
    paths = (os.path.join(root, place, name) for place in places for name in names)
    return next((path for path in paths if os.path.exists(path)), "")


# --- what must hold ----------------------------------------------------------------------------


def check_apart(train: str, val: str) -> None:
    """Raise InputError when one of two roots lies in the other: images would be in both sets."""
    ours, theirs = os.path.realpath(train), os.path.realpath(val)
    if train and val and os.path.commonpath([ours, theirs]) in (ours, theirs):
        raise InputError(
            f"--train {train} --val {val}: one lies in the other, so the sets share images; "
            "give two places, or --val none with --val-per-class"
        )


def is_whole(classes: Sequence[str]) -> bool:
    """Whether these are ILSVRC2012's 1,000 classes, in their order."""
    return list(classes) == list(known_synsets())


def about_classes(classes: Sequence[str]) -> Iterator[str]:
    """Warnings where most of ILSVRC2012's classes are there but not all, or others beside them."""
    known = known_synsets()
    missing = [name for name in known if name not in set(classes)]
    foreign = [name for name in classes if name not in known]
    if len(missing) > len(known) // 10:
        return
    if missing:
        yield (
            f"{len(missing)} of ILSVRC2012's 1,000 classes are missing ({some(missing)}): labels "
            "behind them differ from those of published networks"
        )
    if foreign:
        yield f"no classes of ILSVRC2012: {some(foreign)}; move them away, or choose by --classes"


def about_numbers(train: Classes, val: Classes) -> Iterator[str]:
    """Warnings where a whole ILSVRC2012 has other numbers of images than it was made with."""
    for name, images, total, usual in (
        ("train", train, TRAIN_IMAGES, _TRAIN_A_CLASS),
        ("val", val, VAL_IMAGES, range(_VAL_A_CLASS, _VAL_A_CLASS + 1)),
    ):
        if not is_whole(list(images)):
            continue
        odd = [f"{one} {len(paths):,}" for one, paths in images.items() if len(paths) not in usual]
        if not odd and size(images) == total:
            continue
        yield (
            f"{name}: {size(images):,} images, but ILSVRC2012 has {total:,}"
            + (f"; unusual classes: {some(odd)}" if odd else "")
            + "; compare the download with the checksums of image-net.org"
        )


def about_names(train: Classes) -> Iterator[str]:
    """Warnings where names of training images say that they belong somewhere else."""
    strangers: List[str] = []
    validation: List[str] = []
    for name, paths in train.items():
        for path in paths:
            match = re.match(r"(n\d{8})_\d+$", stem(path))
            if match and match[1] != name and re.fullmatch(r"n\d{8}", name):
                strangers.append(path)
            elif stem(path).startswith("ILSVRC2012_val_"):
                validation.append(path)
    if strangers:
        yield f"train: named as another class than their folder: {some(strangers)}"
    if validation:
        yield f"train: validation images among training's: {some(validation)}; move them away"


def about_balance(train: Classes, val: Classes) -> Iterator[str]:
    """A warning where a class of training has no validation images."""
    without = [name for name in train if val and not val.get(name)]
    if without:
        yield f"val: no images of {some(without)}"


def some(names: Sequence[str]) -> str:
    """The first names of many, and how many more there are."""
    more = f" and {len(names) - _MOST_NAMED:,} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more
