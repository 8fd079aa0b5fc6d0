"""The layout of ILSVRC2012 on disk: where its parts are, and how many images they must have."""

import os
import re
from dataclasses import dataclass, replace
from typing import Iterator, List, Sequence, Tuple

from imagenet_trainer.data.records.manifest import known_synsets
from imagenet_trainer.packing.ilsvrc.labelled import Classes, size, stem

TRAIN_IMAGES = 1_281_167
VAL_IMAGES = 50_000
TEST_IMAGES = 100_000
_TRAIN_PER_CLASS = range(732, 1301)
_VAL_PER_CLASS = 50

NONE = "none"  # instead of a path: the dataset is used without this part
_IMAGE_FOLDERS = ("", "ILSVRC/Data/CLS-LOC", "Data/CLS-LOC", "CLS-LOC")
_LABEL_FOLDERS = ("", "ILSVRC", "data")
_TRAIN = ("train", "ILSVRC2012_img_train", "ILSVRC2012_img_train.tar", "train.tar")
_VAL = ("val", "validation", "ILSVRC2012_img_val", "ILSVRC2012_img_val.tar", "val.tar")
_TEST = ("test", "ILSVRC2012_img_test", "ILSVRC2012_img_test_v10102019.tar",
         "ILSVRC2012_img_test.tar", "test.tar")  # fmt: skip
_DEVKIT = ("ILSVRC2012_devkit_t12", "ILSVRC2012_devkit_t12.tar.gz",
           "ILSVRC2012_validation_ground_truth.txt")  # fmt: skip
_SOLUTION = ("LOC_val_solution.csv",)
_ANNOTATIONS = "val_annotations.txt"  # of Tiny ImageNet, beside the validation images
_NAMES_SHOWN = 5
_MOST_MISSING = 100  # of ILSVRC2012's 1,000 classes; with more it is another dataset


@dataclass(frozen=True)
class Parts:
    """Folders or tars of images, and files with validation labels; "" for a missing part."""

    train: str
    val: str
    test: str
    labels: Tuple[str, ...]


def find_parts(root: str, train: str, val: str, labels: str) -> Parts:
    """The parts of a dataset in a folder; a path that is not "" replaces the search for its part.

    A folder without any of the usual names is itself the training set, unless `train` is NONE.
    """
    images = "" if val == NONE else val or _find(root, _VAL, _IMAGE_FOLDERS)
    label_files = (
        _find(root, _DEVKIT, _LABEL_FOLDERS),
        _find(root, _SOLUTION, _LABEL_FOLDERS),
        _find(images, (_ANNOTATIONS,), ("",)) if images else "",
    )
    parts = Parts(
        train="" if train == NONE else train or _find(root, _TRAIN, _IMAGE_FOLDERS),
        val=images,
        test=_find(root, _TEST, _IMAGE_FOLDERS),
        labels=(labels,) if labels else tuple(filter(None, label_files)),
    )
    if parts.train or parts.val or train == NONE:
        return parts
    return replace(parts, train=root, test="")  # a folder `test` in it is a class


def _find(root: str, names: Sequence[str], folders: Sequence[str]) -> str:
    paths = (os.path.join(root, folder, name) for folder in folders for name in names)
    return next((path for path in paths if os.path.exists(path)), "")


# --- checks ------------------------------------------------------------------------------------


def are_nested(train: str, val: str) -> bool:
    """Whether one of two roots contains the other, so that both sets have the same images."""
    paths = [os.path.realpath(train), os.path.realpath(val)]
    return bool(train and val) and os.path.commonpath(paths) in paths


def is_complete(classes: Sequence[str]) -> bool:
    """Whether these are ILSVRC2012's 1,000 classes, in their order."""
    return list(classes) == list(known_synsets())


def _missing_classes(classes: Sequence[str]) -> List[str]:
    present = set(classes)
    return [name for name in known_synsets() if name not in present]


def class_warnings(classes: Sequence[str]) -> Iterator[str]:
    """A warning if a few of ILSVRC2012's classes are missing."""
    missing = _missing_classes(classes)
    if 0 < len(missing) <= _MOST_MISSING:
        yield (
            f"{len(missing)} of ILSVRC2012's 1,000 classes are missing ({abbreviate(missing)}): "
            "the labels after them differ from those of published networks"
        )


def foreign_classes(classes: Sequence[str]) -> List[str]:
    """Classes that are not ILSVRC2012's, if most of ILSVRC2012's are present."""
    if len(_missing_classes(classes)) > _MOST_MISSING:
        return []
    return [name for name in classes if name not in known_synsets()]


def count_warnings(train: Classes, val: Classes) -> Iterator[str]:
    """Warnings if a dataset with ILSVRC2012's classes has other numbers of images."""
    for name, images, total, usual in (
        ("train", train, TRAIN_IMAGES, _TRAIN_PER_CLASS),
        ("val", val, VAL_IMAGES, range(_VAL_PER_CLASS, _VAL_PER_CLASS + 1)),
    ):
        if not is_complete(list(images)):
            continue
        odd = [f"{one} {len(paths):,}" for one, paths in images.items() if len(paths) not in usual]
        if not odd and size(images) == total:
            continue
        yield (
            f"{name}: {size(images):,} images, but ILSVRC2012 has {total:,}"
            + (f"; unusual classes: {abbreviate(odd)}" if odd else "")
            + "; compare the download with the checksums on image-net.org"
        )


def name_warnings(train: Classes) -> Iterator[str]:
    """Warnings if names of training images belong to another class or to validation."""
    misplaced: List[str] = []
    validation: List[str] = []
    for name, paths in train.items():
        for path in paths:
            match = re.match(r"(n\d{8})_\d+$", stem(path))
            if match and match[1] != name and re.fullmatch(r"n\d{8}", name):
                misplaced.append(path)
            elif stem(path).startswith("ILSVRC2012_val_"):
                validation.append(path)
    if misplaced:
        yield f"train: named after another class than their folder: {abbreviate(misplaced)}"
    if validation:
        yield f"train: contains validation images: {abbreviate(validation)}; move them away"


def balance_warnings(train: Classes, val: Classes) -> Iterator[str]:
    """A warning if classes of training have no validation images."""
    without = [name for name in train if not val.get(name)]
    if without:
        yield f"val: no images of {abbreviate(without)}"


def abbreviate(names: Sequence[str]) -> str:
    """The first names, and the number of the others."""
    more = f" and {len(names) - _NAMES_SHOWN:,} more" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(names[:_NAMES_SHOWN]) + more
