"""Lists made from the images in a folder or a tar, and checked against them."""

import os
import random
from collections import Counter
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

from imagenet_trainer.data.images.tars import TarImages
from imagenet_trainer.data.records.lst import ImageList, write_list
from imagenet_trainer.data.records.manifest import class_names
from imagenet_trainer.errors import ArgumentError, InputError
from imagenet_trainer.packing.folders import LeftOut, Reject, Tree, check_name, refuse
from imagenet_trainer.packing.formats.collection import Collection
from imagenet_trainer.packing.formats.collection import class_names as names_by_label
from imagenet_trainer.system.files import make_folder


class Shares(NamedTuple):
    """How a list is divided: into chunks, and each of these into training, test and the rest."""

    chunks: int = 1
    train: float = 1.0
    test: float = 0.0


_UNDIVIDED = Shares()


def make_lists(
    prefix: str,
    root: str,
    *,
    recursive: bool,
    flat: bool,
    extensions: Sequence[str],
    shares: Shares = _UNDIVIDED,
    seed: int = 100,
    shuffle: bool = True,
    reject: Reject = refuse,
    left_out: Optional[LeftOut] = None,
    write: bool = True,
) -> Tuple[List[Tuple[str, int]], List[Tuple[str, int]]]:
    """Write the list of a folder or a tar of images: PREFIX.lst, or its parts.

    Several chunks are named PREFIX_0.lst, PREFIX_1.lst ...; with a share for training below 1 each
    is split into _train, _val and (with a share for it) _test. The shuffle is Python's own, so seed
    100 gives the order of MXNet's im2rec.py.

    `reject` is called with path and reason for each file whose name a list cannot contain and each
    link that leads in a circle, and the list omits it; the default raises InputError.
    `left_out` receives the images with other extensions. Without `write` no file is written.

    Returns
    -------
    files, classes
        (path, lines) of each list; (name, images) of the labels 0, 1, ...

    Raises
    ------
    InputError
        the folder does not exist, has no images or another layout, or a list would be empty.
    ArgumentError
        the images do not fill the chunks.

    """
    tree = Tree(root, extensions, reject, left_out)
    folders = tree.class_folders() if recursive else tree.one_folder(flat)
    lines: List[Tuple[int, float, str]] = []
    titles = class_names([folder for folder, _ in folders]) if recursive else ["."]
    for label, (folder, names) in enumerate(folders):
        for name in names:
            lines.append((len(lines), float(label), os.path.join(folder, name)))
    if shuffle:
        random.Random(seed).shuffle(lines)
    files = _write(_parts(prefix, lines, shares), write)
    return files, [(title, len(names)) for title, (_, names) in zip(titles, folders)]


def make_lists_of_collection(
    prefix: str,
    collection: Collection,
    shares: Shares,
    reject: Reject,
    *,
    write: bool,
) -> Tuple[List[Tuple[str, int]], List[Tuple[str, int]]]:
    """The same for a set in the format of another program, whose order and labels it keeps."""
    lines: List[Tuple[int, float, str]] = []
    examples: Dict[int, str] = {}
    counts: Counter[int] = Counter()
    for path, label in collection.images():
        if check_name(collection.paths[0], path, reject):
            examples.setdefault(label, path)
            counts[label] += 1
            lines.append((len(lines), float(label), path))
    if not lines:
        raise InputError(f"{collection.paths[0]}: contains no images with labels")
    names = names_by_label(collection, examples)
    files = _write(_parts(prefix, lines, shares), write)
    titles = [names.get(label, f"class_{label}") for label in range(max(counts) + 1)]
    return files, [(title, counts[label]) for label, title in enumerate(titles)]


def _write(parts: Sequence[Tuple[str, List]], write: bool) -> List[Tuple[str, int]]:
    """Write lists; (path, lines) of each. InputError, and no file, if one would be empty."""
    for name, part in parts:
        if not part:
            raise InputError(f"{name}: would have no images; give other shares, or fewer chunks")
    if write:
        make_folder(os.path.dirname(parts[0][0]) or ".")
        for name, part in parts:
            write_list(name, part)
    return [(name, len(part)) for name, part in parts]


def _parts(prefix: str, lines: List, shares: Shares) -> List[Tuple[str, List]]:
    """(file name, lines) of every list, split where MXNet's tool splits.

    But where the shares of training and test are all, that tool loses what their rounding leaves.
    """
    size = -(-len(lines) // shares.chunks)
    filled = -(-len(lines) // size)
    if filled < shares.chunks:
        reason = f"{len(lines)} images fill only {filled}; give {filled}"
        raise ArgumentError("chunks", shares.chunks, reason)
    has_rest = shares.train + shares.test < 1
    test = int(size * shares.test)
    end = test + int(size * shares.train) if has_rest else size
    parts = []
    for number in range(shares.chunks):
        name = f"{prefix}_{number}" if shares.chunks > 1 else prefix
        chunk = lines[number * size : (number + 1) * size]
        if shares.train == 1:
            parts.append((f"{name}.lst", chunk))
            continue
        parts.append((f"{name}_train.lst", chunk[test:end]))
        if shares.test:
            parts.append((f"{name}_test.lst", chunk[:test]))
        if has_rest:
            parts.append((f"{name}_val.lst", chunk[end:]))
    return parts


def check_files(
    source: str, root: str, images: ImageList, collection: Optional[Collection] = None
) -> None:
    """Raise InputError for the first image of a list that is missing from a folder or a tar.

    Reads each folder once instead of checking each file. Links are not followed. `collection` is
    the set in the format of another program that `root` is, if it is one.
    """
    if collection is not None:
        missing = [number for number, path in enumerate(images.paths) if path not in collection]
    elif os.path.isfile(root):
        missing = _missing_in_tar(root, images)
    else:
        missing = _missing_in_folder(root, images)
    if missing:
        more = f" ({len(missing)} of {len(images)} are missing)" if len(missing) > 1 else ""
        raise InputError(
            f"{source}: {images.paths[min(missing)]} is not in {root}{more}; make the list again, "
            "or give the folder it was made from"
        )


def _missing_in_tar(root: str, images: ImageList) -> List[int]:
    with TarImages(root) as tar:
        return [number for number, path in enumerate(images.paths) if path not in tar]


def _missing_in_folder(root: str, images: ImageList) -> List[int]:
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
