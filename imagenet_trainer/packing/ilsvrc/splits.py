"""Training, validation and test images as they were handed out, by class.

Nothing is said and nothing written here: what is wrong is an InputError, and what may be wrong is
left to `ilsvrc` and `overlap` to warn of.
"""

import os
from dataclasses import dataclass
from typing import Optional, Sequence, Tuple

from imagenet_trainer.errors import InputError
from imagenet_trainer.packing.ilsvrc.devkit import Labels, check_numbering, read_labels
from imagenet_trainer.packing.ilsvrc.labelled import (
    Classes,
    ClassOf,
    by_folder,
    by_pattern,
    by_table,
    find_images,
    group,
    stem,
)

_NO_MATCH = "--label-pattern does not match; move such files away or change it"
_NO_FOLDER = (
    "in no class folder; it should have one for each class, such as cat/1.jpg and dog/1.jpg; or "
    "give --label-pattern where names tell the class, or --train where it lies elsewhere"
)


@dataclass(frozen=True)
class Naming:
    """What an image file's name ends in, and how its path tells the class.

    `pattern` is a regular expression with one group; "": the folder is the class.
    """

    extensions: Sequence[str]
    pattern: str

    def class_of(self, paths: Sequence[str]) -> ClassOf:
        """A function from one of these paths to its class."""
        return by_pattern(self.pattern) if self.pattern else by_folder(paths)

    def group(self, root: str, paths: Sequence[str]) -> Classes:
        """Images by class; InputError for one without."""
        advice = _NO_MATCH if self.pattern else _NO_FOLDER
        return group(root, paths, self.class_of(paths), advice)


def read_train(root: str, naming: Naming) -> Classes:
    """Training images in a folder or a tar."""
    return naming.group(root, find_images(root, naming.extensions))


def read_val(root: str, naming: Naming, sources: Sequence[str]) -> Classes:
    """Validation images, their classes from folders, from the files `sources`, or both.

    InputError where neither tells the classes, and where the two disagree.
    """
    paths = find_images(root, naming.extensions)
    labels = _labels(sources)
    folders = {os.path.dirname(path) for path in paths}
    if naming.pattern:
        return naming.group(root, paths)
    if len(folders) > 1 or (folders != {""} and not labels):
        found = naming.group(root, paths)
        _check_folders(root, found, labels, sources)
        return found
    if not labels:
        raise InputError(
            f"{root}: its {len(paths):,} images lie in no class folders and would all get one "
            "label; give --val-labels with ILSVRC2012_devkit_t12.tar.gz or LOC_val_solution.csv"
        )
    advice = f"no label in {' or '.join(sources)}; give the labels of these images"
    return group(root, paths, by_table(labels), advice)


def read_test(root: str, naming: Naming, known: Classes) -> Tuple[Classes, Optional[int]]:
    """Test images by class, and None; or none and how many there are, where they have no class.

    ILSVRC2012's have no labels, and a set without any is not listed.
    """
    try:
        paths = find_images(root, naming.extensions) if root else []
    except InputError:
        return {}, None  # nothing is made of it
    class_of = naming.class_of(paths)
    if not {class_of(path) for path in paths} <= known.keys():
        return {}, len(paths)
    return group(root, paths, class_of, ""), None


def _labels(sources: Sequence[str]) -> Labels:
    """The labels that all sources agree on; empty without a source."""
    tables = [read_labels(source) for source in sources]
    for source, table in zip(sources[1:], tables[1:]):
        for name, found in table.items():
            if tables[0].get(name, found) != found:
                raise InputError(
                    f"{source}: {name} has class {found}, but {tables[0][name]} in {sources[0]}; "
                    "name the right one by --val-labels"
                )
    return {name: one for table in tables for name, one in table.items()}


def _check_folders(root: str, found: Classes, labels: Labels, sources: Sequence[str]) -> None:
    """Raise InputError where a validation image lies in another folder than its label says."""
    folders = {stem(path): name for name, paths in found.items() for path in paths}
    check_numbering(root, folders)
    wrong = [name for name, one in folders.items() if labels.get(name, one) != one]
    if wrong:
        raise InputError(
            f"{root}: {wrong[0]} lies in {folders[wrong[0]]}, but its class is {labels[wrong[0]]} "
            f"in {sources[0]} ({len(wrong):,} of {len(folders):,} differ); sort the folder anew, "
            "or give the unsorted images"
        )
