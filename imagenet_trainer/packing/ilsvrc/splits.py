"""Training, validation and test images of a dataset, by class.

These functions raise InputError for what is wrong; `layout` and `overlap` warn of what may be
wrong. They print and write nothing.
"""

import os
from dataclasses import dataclass, field
from typing import Dict, List, Optional, Sequence, Tuple

from imagenet_trainer.errors import InputError
from imagenet_trainer.packing.folders import LeftOut, NoClassFolders, Tree
from imagenet_trainer.packing.ilsvrc.devkit import Labels, check_numbering, read_labels
from imagenet_trainer.packing.ilsvrc.labelled import (
    Classes,
    ClassOf,
    by_folder,
    by_pattern,
    by_table,
    group,
    stem,
)


class NoPatternMatch(InputError):
    """The pattern of the class does not match the path of an image."""


class NoLabels(InputError):
    """Validation images have neither class folders nor labels."""


class ConflictingLabels(InputError):
    """Two files give an image different labels."""


@dataclass(frozen=True)
class Naming:
    """Extensions of image files, and how a path gives the class.

    `pattern` is a regular expression with one group, the class; "": the folder is the class.
    """

    extensions: Sequence[str]
    pattern: str = ""
    left_out: LeftOut = field(default_factory=LeftOut)  # images with other extensions
    found: Dict[str, List[str]] = field(default_factory=dict)  # by root: each is read once

    def images(self, root: str) -> List[str]:
        """Paths of the images in a folder or a tar; see `Tree.paths`."""
        if root not in self.found:
            self.found[root] = Tree(root, self.extensions, left_out=self.left_out).paths()
        return self.found[root]

    def class_of(self, paths: Sequence[str]) -> ClassOf:
        """A function from one of these paths to its class."""
        return by_pattern(self.pattern) if self.pattern else by_folder(paths)

    def group(self, root: str, paths: Sequence[str]) -> Classes:
        """Images by class; raises NoPatternMatch or NoClassFolders for one without."""
        if self.pattern:
            reason = f"the pattern {self.pattern} does not match"
            return group(root, paths, self.class_of(paths), reason, NoPatternMatch)
        return group(root, paths, self.class_of(paths), "in no class folder", NoClassFolders)


def read_val(root: str, naming: Naming, sources: Sequence[str]) -> Classes:
    """Validation images, with classes from their folders, from the files `sources`, or both.

    Raises NoLabels if neither gives the classes, and InputError if the two disagree.
    """
    paths = naming.images(root)
    labels = _labels(sources)
    folders = {os.path.dirname(path) for path in paths}
    if naming.pattern:
        return naming.group(root, paths)
    if len(folders) > 1 or (folders != {""} and not labels):
        images = naming.group(root, paths)
        _check_folders(root, images, labels, sources)
        return images
    if not labels:
        raise NoLabels(f"{root}: its {len(paths):,} images have neither class folders nor labels")
    reason = f"no label in {' or '.join(sources)}; give the labels of these images"
    return group(root, paths, by_table(labels), reason)


def read_test(root: str, naming: Naming, known: Classes) -> Tuple[Classes, Optional[int]]:
    """Test images by class, and None; or {} and their number, if some have no known class.

    ILSVRC2012's test images have no labels. Raises InputError if there are none.
    """
    paths = Tree(root, naming.extensions).paths()
    class_of = naming.class_of(paths)
    if not {class_of(path) for path in paths} <= known.keys():
        return {}, len(paths)
    return group(root, paths, class_of, ""), None


def _labels(sources: Sequence[str]) -> Labels:
    """The labels of all sources, which must agree; empty without a source."""
    tables = [read_labels(source) for source in sources]
    for source, table in zip(sources[1:], tables[1:]):
        for name, label in table.items():
            if tables[0].get(name, label) != label:
                raise ConflictingLabels(
                    f"{source}: {name} has class {label}, but {tables[0][name]} in {sources[0]}"
                )
    return {name: one for table in tables for name, one in table.items()}


def _check_folders(root: str, images: Classes, labels: Labels, sources: Sequence[str]) -> None:
    """Raise InputError if the folder of a validation image is not that of its label."""
    folders = {stem(path): name for name, paths in images.items() for path in paths}
    check_numbering(root, folders)
    wrong = [name for name, one in folders.items() if labels.get(name, one) != one]
    if wrong:
        raise InputError(
            f"{root}: {wrong[0]} is in {folders[wrong[0]]}, but its class is {labels[wrong[0]]} "
            f"in {sources[0]} ({len(wrong):,} of {len(folders):,} differ); sort the images into "
            "folders again, or give the unsorted images"
        )
