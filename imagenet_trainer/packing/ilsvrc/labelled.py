"""Images grouped by class: by their folders, by their names or by a table; and sets cut out.

A set is a dictionary from class to paths below a root, which is a folder or a tar.
"""

import hashlib
import os
import re
from typing import Callable, Dict, List, Mapping, Sequence, Tuple

from imagenet_trainer.data.images.tars import TarImages
from imagenet_trainer.errors import InputError
from imagenet_trainer.packing.folders import check_name, check_root, walk
from imagenet_trainer.system.files import is_hidden

Classes = Dict[str, List[str]]
ClassOf = Callable[[str], str]  # an image's path to its class


def find_images(root: str, extensions: Sequence[str]) -> List[str]:
    """Paths of the images in a folder or a tar, relative to it, in the order of their folders.

    Raises InputError when there are none, when the root cannot be read, and for a name that a
    list cannot hold.
    """
    if os.path.isfile(root):
        with TarImages(root) as tar:
            names = tar.names()
        paths = [
            one
            for one in names
            if os.path.splitext(one)[1].lower() in extensions and not is_hidden(one)
        ]
        paths.sort(key=_folder_order)
    else:
        check_root(root)
        folders = walk(root, "", extensions, set())
        paths = [os.path.join(folder, name) for folder, names, _ in folders for name in names]
    if not paths:
        raise InputError(
            f"{root}: no images in it (files ending in {' '.join(extensions)}); --exts names "
            "other endings"
        )
    for path in paths:
        check_name(root, path)
    return paths


def _folder_order(path: str) -> str:
    """Sorts as a walk does: the images of a folder before its folders, `a/x` before `a-b`."""
    folder, name = os.path.split(path)
    return f"{folder}/".replace("/", "\1") + f"\0{name}" if folder else f"\0{name}"


def group(source: str, paths: Sequence[str], class_of: ClassOf, advice: str) -> Classes:
    """Images by class, classes in the order of their labels 0, 1, ...

    `class_of` gives "" for an image without class; an InputError then names the first one and
    ends with the advice.
    """
    found: Classes = {}
    for path in paths:
        found.setdefault(class_of(path), []).append(path)
    without = found.get("")
    if without:
        more = f" and {len(without) - 1:,} more" if len(without) > 1 else ""
        raise InputError(f"{source}: {without[0]}{more}: {advice}")
    return {name: found[name] for name in sorted(found, key=lambda name: name.split("/"))}


def by_folder(paths: Sequence[str]) -> ClassOf:
    """The class that a folder stands for: its path below what all class folders have in common."""
    folders = {os.path.dirname(path) for path in paths} - {""}
    common = os.path.commonpath([os.path.dirname(one) for one in folders]) if folders else ""
    names = {one: os.path.relpath(one, common or ".") for one in folders}
    return lambda path: names.get(os.path.dirname(path), "")


def by_pattern(expression: str) -> ClassOf:
    """The class that the group of a regular expression finds in a relative path."""
    compiled = re.compile(expression)

    def class_of(path: str) -> str:
        match = compiled.search(path)
        return (match and match[1]) or ""

    return class_of


def by_table(labels: Mapping[str, str]) -> ClassOf:
    """The class that a table has for a file's name without ending."""
    return lambda path: labels.get(stem(path), "")


def stem(path: str) -> str:
    """`ILSVRC2012_val_00000001` of a path that ends in `ILSVRC2012_val_00000001.JPEG`."""
    return os.path.splitext(os.path.basename(path))[0]


# --- sets cut out of others --------------------------------------------------------------------


def take_out(images: Classes, count: Callable[[int], int], seed: int) -> Tuple[Classes, Classes]:
    """(taken, left): so many images of each class, chosen by a seed.

    Every image draws a number from the seed and its own path, and the lowest are taken. So
    the choice is the same in a folder and in a tar, with all classes and with some, and 25
    taken are among the 50 taken.

    Parameters
    ----------
    images
        by class.
    count
        how many to take, given how many there are.
    seed
        another one takes others.

    """
    taken, left = {}, {}
    for name, paths in images.items():
        number = count(len(paths))
        chosen = set(sorted(paths, key=lambda path: _draw(seed, path))[:number])
        taken[name] = [path for path in paths if path in chosen]
        left[name] = [path for path in paths if path not in chosen]
    return taken, left


def _draw(seed: int, path: str) -> bytes:
    return hashlib.sha256(b"%d/%s" % (seed, os.fsencode(path))).digest()


def size(images: Classes) -> int:
    """How many images there are in all classes."""
    return sum(map(len, images.values()))
