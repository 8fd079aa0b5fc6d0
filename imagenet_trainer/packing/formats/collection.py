"""Finding out whether the ROOT of a pack is a set in the format of another program, and which."""

import glob
import hashlib
import os
from typing import Any, Dict, List, Optional, Sequence, Tuple, Type

from imagenet_trainer.data.records.lst import ImageList
from imagenet_trainer.data.records.manifest import class_of, known_synsets
from imagenet_trainer.data.records.shards import one_of_each_split
from imagenet_trainer.errors import InputError
from imagenet_trainer.packing.formats import idx, parquet, tfrecord, webdataset
from imagenet_trainer.packing.formats.idx import Idx
from imagenet_trainer.packing.formats.parquet import Parquet
from imagenet_trainer.packing.formats.samples import Collection
from imagenet_trainer.packing.formats.tfrecord import TFRecords
from imagenet_trainer.packing.formats.webdataset import WebDataset
from imagenet_trainer.system.files import file_error, is_hidden

_MOST_KNOWN = 0.9  # of ImageNet's names in their places: the rest are other spellings
_END = 1 << 20  # bytes of a file's beginning and end that belong to its digest


def open_collection(root: str) -> Optional[Collection]:
    """The set of a ROOT; None for a folder of images or a tar of them.

    `root` is a file, a folder of files, or several of them with commas between them, or a pattern.
    Raises InputError if it is of a format that cannot be read, or of several sets.
    """
    paths = _files(root)
    if not paths:
        return None
    formats = {_format_of(path) for path in paths}
    if formats == {None}:
        return None
    if len(formats) > 1:
        raise InputError(f"{root}: has files of several formats; give those of one, as a pattern")
    if os.path.isdir(root):
        _check_one_set(root, paths)
    kinds: Tuple[Type[Collection], ...] = (WebDataset, Parquet, TFRecords, Idx)
    return next(one for one in kinds if one.kind in formats)(paths)


def _files(root: str) -> List[str]:
    """The files that may be a set; [] for a folder with others."""
    if os.path.isdir(root):
        inside = sorted(entry.path for entry in os.scandir(root) if entry.is_file())
        return [one for one in inside if _has_name(one) and not is_hidden(os.path.basename(one))]
    if os.path.exists(root):
        return [root]
    found: List[str] = []
    for one in filter(None, map(str.strip, root.split(","))):
        matches = [one] if os.path.isfile(one) else sorted(glob.glob(one))
        found += filter(os.path.isfile, matches)
    return [*dict.fromkeys(found)]  # two patterns may match one file


def _has_name(path: str) -> bool:
    of_name = tfrecord.has_name(path) or idx.has_name(path)
    return of_name or path.lower().endswith((".tar", ".parquet", ".beton"))


def _format_of(path: str) -> Optional[str]:
    name = path.lower()
    if name.endswith(".parquet"):
        return parquet.KIND
    if name.endswith(".beton"):
        raise InputError(
            f"{path}: FFCV's format needs its own library; write its images to a folder for each "
            "class with ffcv.Loader there, and pack that folder (docs/formats.md)"
        )
    if idx.has_name(path):
        return idx.KIND
    if tfrecord.has_name(path) and not name.endswith(".tar"):
        return tfrecord.KIND
    return webdataset.KIND if webdataset.is_webdataset(path) else None


def _check_one_set(root: str, paths: Sequence[str]) -> None:
    splits = one_of_each_split(paths)
    if len(splits) > 1:
        found = ", ".join(map(os.path.basename, splits))
        raise InputError(
            f"{root}: has files of several sets ({found}); give those of one as a pattern in "
            f"quotes, such as '{os.path.join(root, 'train*')}'"
        )


def names_of_classes(collection: Collection, lists: Sequence[ImageList]) -> Dict[int, str]:
    """The names of the classes in lists of a set by label, where it has them."""
    examples: Dict[int, str] = {}
    for images in lists:
        for labels, path in zip(images.labels, images.paths):
            number = class_of(labels)
            if number is not None and number not in examples and path in collection:
                examples[number] = path
    return class_names(collection, examples) if examples else {}


def class_names(collection: Collection, examples: Dict[int, str]) -> Dict[int, str]:
    """`collection.class_names`, with WordNet ids where the names are those of ImageNet's classes.

    ImageNet at Hugging Face has `tench, Tinca tinca` and not n01440764. Two pairs of classes have
    one name, and some names differ between copies, so all 1,000 are recognised by their order.
    """
    names = collection.class_names(examples)
    known = known_synsets()
    ids, titles = [*known], [*known.values()]
    same = sum(name == title for name, title in zip(map(names.get, range(len(ids))), titles))
    if len(names) == len(ids) and same >= _MOST_KNOWN * len(ids):
        return dict(enumerate(ids))
    by_title = {title: one for one, title in known.items() if titles.count(title) == 1}
    found = {label: by_title.get(name, "") for label, name in names.items()}
    return found if found and all(found.values()) else names


def source_of(collection: Optional[Collection]) -> Dict[str, Any]:
    """What a manifest says about where a pack comes from; {} for images in a folder or a tar.

    Each file has a SHA-256 over its size, its first MiB and its last: all bytes would take as long
    as packing, which compares checksums where the format has them.
    """
    if collection is None:
        return {}
    files = [
        {"file": os.path.basename(path), "bytes": os.path.getsize(path), "sha256_of_ends": digest}
        for path, digest in zip(collection.paths, map(_digest_of_ends, collection.paths))
    ]
    return {"kind": collection.kind, "files": files}


def _digest_of_ends(path: str) -> str:
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            digest = hashlib.sha256(str(size).encode())
            digest.update(file.read(_END))
            file.seek(max(size - _END, 0))
            digest.update(file.read(_END))
    except OSError as error:
        raise file_error(path, error) from error
    return digest.hexdigest()
