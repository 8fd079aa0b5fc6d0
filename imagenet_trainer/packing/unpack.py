"""Shards to a folder of images for each class, or to the formats of others: `im2rec --unpack`.

The files are the packed bytes, and packing them again gives the same labels.
"""

import os
from collections import Counter
from pathlib import Path
from typing import Dict, Iterator, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from imagenet_trainer.data.dataset import open_dataset
from imagenet_trainer.data.kinds import kind_of
from imagenet_trainer.data.records.headers import keep_images
from imagenet_trainer.data.records.lst import paths_by_key
from imagenet_trainer.data.records.manifest import read_manifest
from imagenet_trainer.data.records.sequential import index_of
from imagenet_trainer.data.records.shards import Shards, find_shards
from imagenet_trainer.errors import InputError
from imagenet_trainer.packing.formats import parquet, webdataset
from imagenet_trainer.packing.formats.samples import Part, Sample, exists_differently
from imagenet_trainer.packing.parallel import ProgressCallback, in_order
from imagenet_trainer.system.files import file_error, make_folder, remedy

# Extensions by the kind of an image; the first one is for images without a name.
_EXTENSIONS = {
    "JPEG": (".jpg", ".jpeg"), "PNG": (".png",), "GIF": (".gif",), "BMP": (".bmp",),
    "WEBP": (".webp",),
}  # fmt: skip
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
    to: str = "folders",
) -> Unpacked:
    """Write every image of shards to `folder/CLASS/NAME`, or to tars or parquet files in `folder`.

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
    to
        folders, webdataset (`webdataset.write`), or parquet (`parquet.write`).

    Raises
    ------
    InputError
        a record is damaged or its label is not a class, a class is not the name of a folder, or a
        file exists with other content. The files that are written are complete.

    """
    shards, classes = _open(path, label_index)
    with shards:
        names = {key: os.path.basename(one) for key, one in paths_by_key(list_path).items()}
        images = _Images(shards, classes, names)
        total = len(shards)
        if to == "folders":
            return _to_folders(_Target(folder, images), total, threads, progress)

        def read(part: Part) -> Iterator[Sample]:
            numbers = range(part.first, part.end)
            for done, sample in enumerate(in_order(images.read, numbers, threads), part.first + 1):
                progress(done, total, 0)
                yield sample

        write = {"webdataset": webdataset.write, "parquet": parquet.write}[to]
        stem = os.path.splitext(os.path.basename(path))[0]
        kept = write(str(make_folder(folder)), stem, classes, images.sizes, read)
        return Unpacked(total - kept, kept)


def _to_folders(
    target: "_Target", total: int, threads: int, progress: ProgressCallback
) -> Unpacked:
    kept = total
    for done, is_new in enumerate(in_order(target.write, range(total), threads), 1):
        kept -= is_new
        progress(done, total, 0)
    return Unpacked(total - kept, kept)


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


class _Images:
    """The images of a pack, and their names."""

    def __init__(self, shards: Shards, classes: Sequence[str], names: Dict[int, str]) -> None:
        self.shards, self.classes = shards, classes
        self._keys, self._names = shards.keys, names
        # Images of several folders may have one name, and keys may repeat.
        self._times = Counter(_stem(name) for name in names.values())
        self._key_times = Counter(self._keys.tolist())

    @property
    def sizes(self) -> np.ndarray:
        """Bytes of the records, int64 (images,)."""
        return np.concatenate([file.sizes for file in self.shards.files])

    def read(self, number: int) -> Sample:
        """An image; RecordError if it is damaged or its label is not a class."""
        record = self.shards.record(number)
        label = self.shards.class_of(number, record.labels, len(self.classes))
        image = bytes(record.image)
        return Sample(self._name(number, image), image, label)

    def _name(self, number: int, image: bytes) -> str:
        usual = _EXTENSIONS.get(kind_of(image), _UNKNOWN)
        key = int(self._keys[number])
        name = self._names.get(key, "")
        stem, extension = os.path.splitext(name)
        if extension.lower() not in usual:  # it was packed in another encoding
            extension = usual[0]
        again = f"-{number}" if self._key_times[key] > 1 else ""
        key %= 1 << 64
        if not stem or stem in (".", ".."):
            return f"{key:08d}{again}{usual[0]}"
        if self._times[_stem(name)] > 1:
            stem = f"{stem}-{key}"
            if _stem(stem + extension) in self._times:  # another image has this name
                again = f"-{number}"
        return f"{stem}{again}{extension}"


def _stem(name: str) -> str:
    """What must differ between names: all but the extension, dots as a tar of samples has them."""
    return os.path.splitext(name)[0].replace(".", "_")


class _Target:
    """A folder for each class."""

    def __init__(self, folder: str, images: _Images) -> None:
        self._images = images
        self._classes = [Path(folder, one) for one in images.classes]
        for one in images.classes:
            parts = Path(one).parts
            if not parts or os.path.isabs(one) or ".." in parts or "\0" in one:
                where = images.shards.files[0].path
                raise InputError(f"{where}: class {one!r}: is no name of a folder")

    def write(self, number: int) -> bool:
        """Write an image unless it is there; whether it was written."""
        sample = self._images.read(number)
        path = make_folder(self._classes[sample.label]) / sample.name
        try:
            if path.exists() and path.stat().st_size:
                if path.read_bytes() == sample.data:
                    return False
                raise exists_differently(str(path))
            # Not synced one by one, which takes longer than all the rest. What a loss of power
            # leaves empty is written again.
            temporary = path.with_name(f".{number}.tmp")  # a name may have no room for more
            temporary.write_bytes(sample.data)
            os.replace(temporary, path)
        except OSError as error:
            raise file_error(path, error, remedy(error)) from error
        return True
