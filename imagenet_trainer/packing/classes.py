"""The classes of a pack: named by folders or classes.txt, and those of the training set."""

import hashlib
import os
import re
from dataclasses import replace
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from imagenet_trainer.data.classes import Classes, OtherClasses, match
from imagenet_trainer.data.records.lst import ImageList
from imagenet_trainer.data.records.manifest import (
    ClassName,
    folders_of_classes,
    load_manifest,
    name_classes,
)
from imagenet_trainer.errors import InputError
from imagenet_trainer.system.files import AnyPath, atomic_write, file_error
from imagenet_trainer.text import printable

CLASSES = "classes.txt"
_LISTS = ("train", "val", "test")  # the lists that it belongs to


class PackClasses(NamedTuple):
    """The classes of a pack, and its lists with labels that count these classes.

    `labels_of` is a digest of what gave the lists other labels than they have in their files: the
    reference, and names of classes that are not in the lists; "" where they have their own.
    """

    classes: Tuple[ClassName, ...]
    lists: Sequence[ImageList]
    labels_of: str = ""


def write_classes(path: AnyPath, classes: Sequence[str]) -> None:
    """Write classes.txt: one class per line in the order of the labels, WordNet ids with names."""
    with atomic_write(path) as file:
        for one in name_classes(classes):
            title = one.id if one.name == one.id else f"{one.id} {one.name}"
            file.write(os.fsencode(title) + b"\n")


def read_class_ids(path: AnyPath) -> List[str]:
    """The ids of classes.txt, one per line; the name after a WordNet id is ignored.

    They are names of folders, whose bytes need not be UTF-8.

    Raises InputError if the file cannot be read or is empty.
    """
    try:
        with open(path, encoding="utf-8-sig", errors="surrogateescape") as file:
            lines = [line.strip() for line in file]
    except OSError as error:
        raise file_error(path, error) from error
    classes = [re.sub(r"^(n\d{8})\s.*", r"\1", line) for line in lines if line]
    if not classes:
        raise InputError(f"{os.fspath(path)}: the file is empty; write one class per line")
    return classes


def class_ids_beside(path: AnyPath, most: int) -> List[str]:
    """The ids of classes.txt in the folder of a file; [] without it.

    Raises InputError if it has none for `most`, the greatest label.
    """
    listed = os.path.join(os.path.dirname(path), CLASSES)
    ids = read_class_ids(listed) if os.path.isfile(listed) else []
    if ids and most >= len(ids):
        raise InputError(
            f"{listed}: has {len(ids)} classes, but images beside it have label {most}; remove it, "
            "or replace it by the one of these images"
        )
    return ids


def classes_of_pack(
    prefix: str,
    lists: Sequence[ImageList],
    reference: str = "",
    known: Classes = (),
    named: Optional[Dict[int, str]] = None,
) -> PackClasses:
    """The classes of the lists of one pack, with the names of the reference.

    With `known`, the classes of `reference`, the labels become those of the reference, by the names
    of the folders. Without it `reference` is a manifest whose labels the lists must have, or "".
    `named` has the names by label where folders do not name the classes.
    Raises OtherClasses if the reference lacks a class, or a label differs.
    """
    folders, is_named = _folders(prefix, lists, named)
    if folders and known:
        return _relabelled(folders, lists, known, reference, is_named)
    theirs = load_manifest(reference).classes if folders and reference else ()
    if not theirs:
        return PackClasses(name_classes(folders), lists)
    return PackClasses(take_classes(folders, theirs, f"{prefix}.lst", reference), lists)


def _relabelled(
    folders: Sequence[Optional[str]],
    lists: Sequence[ImageList],
    reference: Classes,
    title: str,
    is_named: bool,
) -> PackClasses:
    """The lists with the labels of a reference, matched by the names of the folders.

    `is_named`: these are not in the lists.
    """
    classes = tuple(ClassName(*one) for one in reference)
    labels = _labels_in(folders, lists, reference, title)
    if labels is None:
        return PackClasses(classes, lists)
    names = [one.id for one in classes] + [str(one) for one in folders if is_named]
    digest = hashlib.sha256("\n".join(names).encode(errors="surrogateescape")).hexdigest()
    return PackClasses(classes, [with_labels(images, labels) for images in lists], digest)


def _labels_in(
    folders: Sequence[Optional[str]], lists: Sequence[ImageList], reference: Classes, title: str
) -> Optional[np.ndarray]:
    """The reference's label for each label of the lists; None where all are the same."""
    used = np.array([int(labels[0]) for images in lists for labels in images.labels])
    own = name_classes(folders)
    return match(own, reference, title, np.bincount(used, minlength=len(own)))


def _folders(
    prefix: str, lists: Sequence[ImageList], named: Optional[Dict[int, str]]
) -> Tuple[Sequence[Optional[str]], bool]:
    """The name of each class, and whether these are not in the lists.

    They are those of the folders, of `named` by label, or of the classes.txt of tools/imagenet.py.
    """
    folders: Sequence[Optional[str]] = folders_of_classes(lists)
    if named is not None and folders:
        folders = [named.get(label) for label in range(max(len(folders), len(named)))]
    if None in folders and os.path.basename(prefix) in _LISTS:
        ids = class_ids_beside(prefix, len(folders) - 1)
        # A file of another set is not taken.
        if ids and all(name in (None, one) for name, one in zip(folders, ids)):
            return ids, True
    return folders, named is not None


def relabelled_as_packed(
    prefix: str, images: ImageList, classes: Classes, named: Optional[Dict[int, str]]
) -> ImageList:
    """The list with the labels that `classes_of_pack` gave it for a pack of these classes."""
    folders, _ = _folders(prefix, [images], named)
    labels = _labels_in(folders, [images], classes, "the manifest")
    return images if labels is None else with_labels(images, labels)


def with_labels(images: ImageList, labels: np.ndarray) -> ImageList:
    """The list with labels[n] in place of each label n."""
    return replace(images, labels=[(float(labels[int(one[0])]),) for one in images.labels])


def take_classes(
    folders: Sequence[Optional[str]], reference: Sequence[ClassName], ours: str, theirs: str
) -> Tuple[ClassName, ...]:
    """The reference's classes, after checking that ours have the same labels.

    A missing class has no images. Raises OtherClasses with the first difference; `ours` and
    `theirs` name the two in the message.
    """
    for number, name in enumerate(folders):
        folder = None if name is None else printable(name)
        if number >= len(reference):
            difference = f"{theirs} has {len(reference)} classes"
        elif folder in (None, reference[number].id) or reference[number].id == f"class_{number}":
            continue
        else:
            difference = f"{reference[number].id} in {theirs}"
        raise OtherClasses(
            f"{ours}: class {number} is {folder or 'without a name'}, but {difference}"
        )
    return tuple(reference)


def training_manifest(prefix: str) -> str:
    """The manifest of the training set that belongs to this prefix; "" without one."""
    folder, name = os.path.split(prefix)
    if re.match(r"train(_|$)", name) or name.endswith("_train"):
        return ""
    split = re.sub(r"(_val|_test)$", "_train", name)
    for candidate in (split, "train"):
        path = os.path.join(folder, candidate + ".json")
        if candidate != name and os.path.isfile(path):
            return path
    return ""
