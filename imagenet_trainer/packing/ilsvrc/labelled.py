"""Images grouped by class (by folder, by name or by a table), and subsets taken out.

A set is a dictionary from class to paths relative to a root, which is a folder or a tar.
"""

import hashlib
import os
import re
from typing import Callable, Dict, List, Mapping, Sequence, Tuple, Type

from imagenet_trainer.data.records.manifest import class_names
from imagenet_trainer.errors import InputError

Classes = Dict[str, List[str]]
ClassOf = Callable[[str], str]  # from the path of an image to its class


def group(
    root: str,
    paths: Sequence[str],
    class_of: ClassOf,
    reason: str,
    error: Type[InputError] = InputError,
) -> Classes:
    """Images by class, classes in the order of their labels 0, 1, ...

    `class_of` returns "" for an image without class; then `error` is raised with the first such
    image and the reason.
    """
    groups: Classes = {}
    for path in paths:
        groups.setdefault(class_of(path), []).append(path)
    without = groups.get("")
    if without:
        more = f" and {len(without) - 1:,} more" if len(without) > 1 else ""
        raise error(f"{root}: {without[0]}{more}: {reason}")
    return {name: groups[name] for name in sorted(groups, key=lambda name: name.split("/"))}


def by_folder(paths: Sequence[str]) -> ClassOf:
    """Classes by folder; see `manifest.class_names`."""
    folders = sorted({os.path.dirname(path) for path in paths} - {""})
    names = dict(zip(folders, class_names(folders))) if folders else {}
    return lambda path: names.get(os.path.dirname(path), "")


def by_pattern(expression: str) -> ClassOf:
    """Classes by name: the group of a regular expression, searched in the relative path."""
    compiled = re.compile(expression)

    def class_of(path: str) -> str:
        match = compiled.search(path)
        return (match and match[1]) or ""

    return class_of


def by_table(labels: Mapping[str, str]) -> ClassOf:
    """Classes by table, from the file name without extension."""
    return lambda path: labels.get(stem(path), "")


def stem(path: str) -> str:
    """`ILSVRC2012_val_00000001` of a path that ends in `ILSVRC2012_val_00000001.JPEG`."""
    return os.path.splitext(os.path.basename(path))[0]


# --- subsets ----------------------------------------------------------------------------------


def take_out(images: Classes, count: Callable[[int], int], seed: int) -> Tuple[Classes, Classes]:
    """(taken, left): some images of each class, chosen by a seed.

    Each image gets a hash of the seed and its own path, and the lowest hashes are taken. So the
    choice is the same for a folder and its tar, with all classes or with some, and a choice of 25
    is contained in the choice of 50.

    Parameters
    ----------
    images
        by class.
    count
        the number to take from a class, given its number of images.
    seed
        of the hash.

    """
    taken, left = {}, {}
    for name, paths in images.items():
        number = count(len(paths))
        chosen = set(sorted(paths, key=lambda path: _hash(seed, path))[:number])
        taken[name] = [path for path in paths if path in chosen]
        left[name] = [path for path in paths if path not in chosen]
    return taken, left


def _hash(seed: int, path: str) -> bytes:
    return hashlib.sha256(b"%d/%s" % (seed, os.fsencode(path))).digest()


def size(images: Classes) -> int:
    """The number of images in all classes."""
    return sum(map(len, images.values()))
