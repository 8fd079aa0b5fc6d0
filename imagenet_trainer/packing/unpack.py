"""Shards to a folder of images for each class: `im2rec --unpack`.

The files are the packed bytes, and `--list --recursive` of the folder gives the same labels again.
"""

import os
from collections import Counter
from pathlib import Path
from typing import Dict, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from imagenet_trainer.data.dataset import open_dataset
from imagenet_trainer.data.records.headers import keep_images
from imagenet_trainer.data.records.lst import read_list
from imagenet_trainer.data.records.manifest import read_manifest
from imagenet_trainer.data.records.sequential import index_of
from imagenet_trainer.data.records.shards import Shards, find_shards
from imagenet_trainer.errors import InputError
from imagenet_trainer.packing.parallel import ProgressCallback, in_order
from imagenet_trainer.system.files import file_error, make_folder, remedy

# Extensions by the first bytes of an image; the first one is for images without a name.
_KINDS = (
    (b"\xff\xd8", (".jpg", ".jpeg")), (b"\x89PNG", (".png",)), (b"GIF8", (".gif",)),
    (b"BM", (".bmp",)), (b"RIFF", (".webp",)),
)  # fmt: skip
_UNKNOWN = (".img",)
_MOST_LABELS = 1_000_000  # higher ones are no classes


class Unpacked(NamedTuple):
    """Numbers of images."""

    written: int
    kept: int  # were there already, with the same bytes


def unpack(
    path: str,
    list_path: str,
    folder: str,
    threads: int,
    progress: ProgressCallback,
    label_index: Optional[int] = None,
) -> Unpacked:
    """Write every image of shards to `folder/CLASS/NAME`.

    Parameters
    ----------
    path
        shards, as `find_shards` takes them.
    list_path
        the list of the pack, which has the names of the images; if it does not exist, an image is
        named by its key.
    folder
        is made if it does not exist. A class is named as in the manifest, or without one by the
        label, with zeros before it.
    threads
        that read and write.
    progress
        is called with the number of images that are done, of all of them, and 0.
    label_index
        which label of a record is its class, from 0; None: the only one.

    Raises
    ------
    InputError
        a record is damaged or its label is not a class, a class is not the name of a folder, or a
        file exists with other bytes. The files that are written are complete.

    """
    shards, classes = _open(path, label_index)
    with shards:
        target = _Target(folder, classes, _file_names(list_path), shards)
        written, total = 0, len(shards)
        results = in_order(target.write, range(total), threads)
        for done, is_new in enumerate(results, 1):
            written += is_new
            progress(done, total, 0)
    return Unpacked(written, total - written)


def _open(path: str, label_index: Optional[int]) -> Tuple[Shards, Sequence[str]]:
    """The shards, and the folders of their classes; without a manifest the labels name them."""
    paths = find_shards(path)
    if read_manifest(paths[0]) is not None:
        dataset = open_dataset(path, label_index=label_index)
        return dataset.shards, [one for one, _ in dataset.classes]
    shards = Shards(paths, [index_of(one)[0] for one in paths], label_index)
    headers, _ = keep_images(shards)
    labels = np.concatenate([head.labels for head in headers])
    last = int(min(labels.max(initial=0, where=np.isfinite(labels)), _MOST_LABELS))
    return shards, [f"{label:0{len(str(last))}d}" for label in range(last + 1)]


def _file_names(list_path: str) -> Dict[int, str]:
    """The names of the images by their keys; empty without a list."""
    if not os.path.isfile(list_path):
        return {}
    images = read_list(list_path)
    return {key: os.path.basename(path) for key, path in zip(images.indices, images.paths)}


class _Target:
    """The folder, and what an image is called in it."""

    def __init__(
        self, folder: str, classes: Sequence[str], names: Dict[int, str], shards: Shards
    ) -> None:
        self._shards, self._keys, self._names = shards, shards.keys, names
        self._classes = [Path(folder, one) for one in classes]
        for one in classes:
            parts = Path(one).parts
            if not parts or os.path.isabs(one) or ".." in parts or "\0" in one:
                raise InputError(f"{shards.files[0].path}: class {one!r}: is no name of a folder")
        # Images of several folders may have one name; theirs get the key, too.
        self._times = Counter(os.path.splitext(name)[0] for name in names.values())

    def write(self, number: int) -> bool:
        """Write an image unless it is there; whether it was written."""
        record = self._shards.record(number)
        label = self._shards.class_of(number, record.labels, len(self._classes))
        folder = make_folder(self._classes[label])
        path = folder / self._name(int(self._keys[number]) % (1 << 64), bytes(record.image[:4]))
        try:
            if path.exists() and path.stat().st_size:
                if path.read_bytes() == record.image:
                    return False
                raise InputError(f"{path}: exists with other content; give another folder")
            # Not synced one by one, which takes longer than all the rest. What a loss of power
            # leaves empty is written again.
            temporary = path.with_name(f".{path.name}.tmp")
            temporary.write_bytes(record.image)
            os.replace(temporary, path)
        except OSError as error:
            raise file_error(path, error, remedy(error)) from error
        return True

    def _name(self, key: int, start: bytes) -> str:
        kinds = next((kinds for magic, kinds in _KINDS if start.startswith(magic)), _UNKNOWN)
        stem, extension = os.path.splitext(self._names.get(key, ""))
        if not stem or stem in (".", ".."):
            return f"{key:08d}{kinds[0]}"
        if extension.lower() not in kinds:  # it was packed in another encoding
            extension = kinds[0]
        return f"{stem}{extension}" if self._times[stem] == 1 else f"{stem}-{key}{extension}"
