r"""Image lists: `.lst` files, made from a folder and read back.

A line is `index \t label [\t label ...] \t relative/path`, as MXNet's im2rec.py writes it.
"""

import os
import random
from typing import Dict, Iterator, List, Sequence, Tuple

from imagenet_trainer.data.images.tars import TarImages
from imagenet_trainer.data.records.lst import (
    ImageList,
    write_list,
)
from imagenet_trainer.errors import InputError
from imagenet_trainer.packing.folders import Reject, Tree, refuse

# --- making lists ------------------------------------------------------------------------------


def make_lists(
    prefix: str,
    root: str,
    *,
    recursive: bool,
    flat: bool,
    extensions: Sequence[str],
    chunks: int = 1,
    train_ratio: float = 1.0,
    test_ratio: float = 0.0,
    seed: int = 100,
    shuffle: bool = True,
    reject: Reject = refuse,
    write: bool = True,
) -> Tuple[List[Tuple[str, int]], List[Tuple[str, int]]]:
    """Write PREFIX.lst from a folder or a tar of images, or its parts.

    With several chunks they are PREFIX_0.lst, PREFIX_1.lst ...; with a `train_ratio` below 1 each
    is split into _train, _val and (with a `test_ratio`) _test. The shuffle is Python's own, so
    that seed 100 gives the order that MXNet's im2rec.py gives.

    `reject` is called with path and reason for each file that a list cannot hold and each link that
    leads in a circle, and the list is made without it; by default they are an InputError. Without
    `write` no file is touched.

    Returns
    -------
    files, classes
        (path, lines) of the lists written; (folder, images) of the labels 0, 1, ...

    Raises
    ------
    InputError
        the folder is not there, has no images, or is not laid out as said; the images do not
        fill the chunks.

    """
    if train_ratio + test_ratio > 1:
        raise InputError(
            f"--train-ratio {train_ratio:g} and --test-ratio {test_ratio:g}: more than 1 together"
        )
    tree = Tree(root, extensions, reject)
    found = tree.class_folders() if recursive else tree.one_folder(flat)
    lines: List[Tuple[int, float, str]] = []
    classes = []
    for label, (folder, names) in enumerate(found):
        classes.append((folder or ".", len(names)))
        for name in names:
            lines.append((len(lines), float(label), os.path.join(folder, name)))
    if shuffle:
        random.Random(seed).shuffle(lines)
    files = []
    for name, part in _parts(prefix, lines, chunks, train_ratio, test_ratio):
        if write:
            write_list(name, part)
        files.append((name, len(part)))
    return files, classes


def _parts(
    prefix: str, lines: List, chunks: int, train_ratio: float, test_ratio: float
) -> Iterator[Tuple[str, List]]:
    """(file name, lines) of every list, cut where MXNet's tool cuts."""
    size = -(-len(lines) // chunks)
    filled = -(-len(lines) // size)
    if filled < chunks:
        raise InputError(
            f"--chunks {chunks}: {len(lines)} images fill only {filled}; give {filled}"
        )
    train, test = int(size * train_ratio), int(size * test_ratio)
    for number in range(chunks):
        name = f"{prefix}_{number}" if chunks > 1 else prefix
        chunk = lines[number * size : (number + 1) * size]
        if train_ratio == 1:
            yield f"{name}.lst", chunk
            continue
        yield f"{name}_train.lst", chunk[test : test + train]
        if test_ratio:
            yield f"{name}_test.lst", chunk[:test]
        if train_ratio + test_ratio < 1:
            yield f"{name}_val.lst", chunk[test + train :]


# --- reading lists -----------------------------------------------------------------------------


def check_files(source: str, root: str, images: ImageList) -> None:
    """Raise InputError for the first image of a list that is not in a folder or a tar.

    Looks every folder up once instead of every file. Links are not followed.
    """
    missing = _not_in_tar(root, images) if os.path.isfile(root) else _not_there(root, images)
    if missing:
        more = f" ({len(missing)} of {len(images)} are missing)" if len(missing) > 1 else ""
        raise InputError(
            f"{source}: {images.paths[min(missing)]} is not in {root}{more}; make the list anew "
            "with --list, or give the folder that it was made from"
        )


def _not_in_tar(root: str, images: ImageList) -> List[int]:
    with TarImages(root) as tar:
        return [number for number, path in enumerate(images.paths) if path not in tar]


def _not_there(root: str, images: ImageList) -> List[int]:
    folders: Dict[str, List[int]] = {}
    for number, path in enumerate(images.paths):
        folders.setdefault(os.path.dirname(path), []).append(number)
    missing = []
    for folder, numbers in folders.items():
        try:
            names = set(os.listdir(os.path.join(root, folder)))
        except (OSError, ValueError):  # ValueError: a zero byte in the name
            names = set()
        missing += [n for n in numbers if os.path.basename(images.paths[n]) not in names]
    return missing
