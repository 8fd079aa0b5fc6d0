"""WebDataset: tars in which files with one name and several extensions are a sample.

`0001.jpg` is the image and `0001.cls` its label as text. The name of a sample ends at the first dot
of the file's name. `classes.txt` beside the tars has the names of the classes, a line each.

Format: github.com/webdataset/webdataset.
"""

import io
import os
import posixpath
import tarfile
from typing import IO, Any, Dict, Iterator, List, Optional, Sequence, Set, Tuple

import numpy as np

from imagenet_trainer.data.images.tars import TarImages, first_names
from imagenet_trainer.data.kinds import EXTENSIONS
from imagenet_trainer.errors import InputError
from imagenet_trainer.packing.classes import CLASSES, class_ids_beside, write_classes
from imagenet_trainer.packing.formats.samples import (
    NOT_HERE,
    Collection,
    Part,
    Read,
    Sample,
    exists_differently,
    parts_of,
)
from imagenet_trainer.system.files import atomic_write, is_hidden

KIND = "WebDataset"
_LABEL = ".cls"
_MOST_LABEL = 64  # bytes of a .cls
_PEEK = 64  # files of a tar that show what it is
_MOST_IMAGES, _MOST_BYTES = 10_000, 1_000_000_000  # of a tar


def is_webdataset(path: str) -> bool:
    """Whether a tar has a `.cls` beside an image among its first files."""
    names = [name for name in first_names(path, _PEEK) if not is_hidden(name)]
    found = {_split(name) for name in names}
    labelled = {key for key, extension in found if extension == _LABEL}
    return any(key in labelled for key, extension in found if extension in EXTENSIONS)


def _split(name: str) -> Tuple[str, str]:
    """Name of the sample, and the extension in lower case."""
    folder, file = posixpath.split(name)
    key, dot, extension = file.partition(".")
    return posixpath.join(folder, key), (dot + extension).lower()


class WebDataset(Collection):
    """Images in tars, in their order; a path is TAR/NAME. A sample must have a label."""

    kind = KIND

    def __init__(self, paths: Sequence[str]):
        super().__init__(paths)
        self._tars: Dict[str, TarImages] = {}

    def images(self) -> Iterator[Tuple[str, int]]:
        """See Collection."""
        for path in self.paths:
            with TarImages(path) as tar:
                names = sorted(tar.names(), key=lambda name: tar.locate(name)[0])
                samples: Dict[str, Dict[str, str]] = {}
                for name in names:
                    if not is_hidden(name):
                        key, extension = _split(name)
                        samples.setdefault(key, {})[extension] = name
                for key, files in samples.items():
                    image = next((files[one] for one in EXTENSIONS if one in files), None)
                    if image is not None:
                        label = _label(tar, key, files.get(_LABEL))
                        yield f"{os.path.basename(path)}/{image}", label

    def read(self, path: str) -> bytes:
        """See Collection."""
        tar, name = self._locate(path)
        return tar.read(name)

    def class_names(self, examples: Dict[int, str]) -> Dict[int, str]:
        """The names of classes in classes.txt beside the tars; {} without one."""
        return dict(enumerate(class_ids_beside(self.paths[0], max(examples))))

    def _locate(self, path: str) -> Tuple[TarImages, str]:
        """Tar and name; ValueError if there is no such image."""
        file, _, name = path.partition("/")
        if file not in self._by_name:
            raise ValueError(NOT_HERE)
        if file not in self._tars:
            try:
                self._tars[file] = TarImages(self._by_name[file])
            except InputError as error:
                raise ValueError(str(error)) from error
        self._tars[file].size(name)  # ValueError if it is not there
        return self._tars[file], name


def _label(tar: TarImages, key: str, name: Optional[str]) -> int:
    if name is None:
        raise InputError(f"{tar.path}: sample {key} has no {_LABEL} with its label; add it")
    text = ""
    if tar.size(name) <= _MOST_LABEL:
        try:
            text = tar.read(name).decode("ascii", "replace").strip()
        except ValueError as error:
            raise InputError(f"{tar.path}: {name}: {error}") from error
    if not text.isdecimal() or len(text) > 9:
        raise InputError(
            f"{tar.path}: {name}: is not the number of a class; write it as text, such as 281"
        )
    return int(text)


# --- writing --------------------------------------------------------------------------------------


def write(folder: str, stem: str, classes: Sequence[str], sizes: np.ndarray, read: Read) -> int:
    """Write the images of a pack as `folder/STEM-000000.tar` and so on, and classes.txt.

    `sizes` are the bytes of the images, int64 (images,). Returns the number of images in tars that
    were there already, with the same bytes; InputError if one differs.
    """
    kept = 0
    for part in parts_of(sizes, _MOST_IMAGES, _MOST_BYTES):
        path = os.path.join(folder, f"{stem}-{part.number:06d}.tar")
        if os.path.exists(path):
            with open(path, "rb") as file:
                comparison = _Comparison(file, path)
                _write_tar(comparison, part, read)
                comparison.end()
            kept += part.end - part.first
        else:
            with atomic_write(path) as file:
                _write_tar(file, part, read)
    write_classes(os.path.join(folder, CLASSES), classes)
    return kept


def _write_tar(file: Any, part: Part, read: Read) -> None:
    with tarfile.open(fileobj=file, mode="w|", format=tarfile.GNU_FORMAT) as tar:
        seen: Set[str] = set()
        for sample in read(part):
            for name, data in _files(sample):
                if name in seen:
                    raise InputError(f"{name}: two images of the pack have this name")
                seen.add(name)
                info = tarfile.TarInfo(name)
                info.size, info.mode = len(data), 0o644
                tar.addfile(info, io.BytesIO(data))


def _files(sample: Sample) -> List[Tuple[str, bytes]]:
    """A name with one dot only, so that all of it but the extension is the name of the sample."""
    key, extension = os.path.splitext(sample.name)
    key = key.replace(".", "_")
    return [(key + extension, sample.data), (key + _LABEL, str(sample.label).encode())]


class _Comparison:
    """A file that compares what is written with what is there; InputError at a difference."""

    def __init__(self, file: IO[bytes], path: str):
        self._file, self._path = file, path

    def write(self, data: bytes) -> int:
        """Compare the next bytes."""
        if self._file.read(len(data)) != data:
            raise exists_differently(self._path)
        return len(data)

    def end(self) -> None:
        """There must be nothing more."""
        if self._file.read(1):
            raise exists_differently(self._path)
