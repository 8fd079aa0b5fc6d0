"""Parquet files of Hugging Face's `datasets`, with the schema of its imagefolder.

The column of images is a structure of `bytes` and `path`, that of labels an int64. The metadata
of the schema, `huggingface`, say which columns they are and name the classes.

Format: huggingface.co/docs/datasets and `datasets/features`; the library is `pyarrow`.
"""

import contextlib
import itertools
import json
import os
import re
import threading
from collections import OrderedDict
from typing import Any, Dict, Iterator, List, NamedTuple, Sequence, Tuple

import numpy as np

from imagenet_trainer.data.records.shard_names import numbered
from imagenet_trainer.errors import InputError
from imagenet_trainer.packing.formats.samples import (
    NumberedCollection,
    Part,
    Read,
    Sample,
    exists_differently,
    parts_of,
    safe_name,
)
from imagenet_trainer.system.files import atomic_write
from imagenet_trainer.system.parquet import library

KIND = "Hugging Face parquet"
_ROWS = 100  # in a group: the images that are read together
_MOST_IMAGES, _MOST_BYTES = 1 << 40, 500_000_000  # of a file, as `datasets` writes them
_MOST_GROUP = 4 << 30  # bytes of a group of rows, unpacked
_CACHED = 4  # groups
_IMAGE, _LABEL = "image", "label"


class Columns(NamedTuple):
    """The columns of a file, and the names of its classes."""

    image: str
    label: str
    classes: Tuple[str, ...]


class Parquet(NumberedCollection):
    """Images in parquet files, in their order; a path is FILE/ROW/NAME."""

    kind = KIND

    def __init__(self, paths: Sequence[str]):
        library()
        super().__init__(paths)
        self._files: Dict[str, _File] = {}
        self._groups: OrderedDict[Tuple[str, int], List[Any]] = OrderedDict()
        self._lock = threading.Lock()

    def images(self) -> Iterator[Tuple[str, int]]:
        """See Collection."""
        for path in self.paths:
            file, row = self._file(path), 0
            if file.columns.classes != self._file(self.paths[0]).columns.classes:
                raise InputError(f"{path}: has other classes than {self.paths[0]}; pack it alone")
            for group in range(len(file.starts) - 1):
                columns = [file.columns.label, f"{file.columns.image}.path"]
                for one in file.read(group, columns):
                    label, image = one[file.columns.label], one[file.columns.image] or {}
                    if label is None or label < 0:
                        raise InputError(f"{path}: row {row} has no label ({label})")
                    name = safe_name(image.get("path") or "", f"{row:08d}.img")
                    yield f"{os.path.basename(path)}/{row:08d}/{name}", label
                    row += 1

    def read(self, path: str) -> bytes:
        """See Collection."""
        name, row = self._locate(path)
        file = self._files[name]
        group = int(np.searchsorted(file.starts, row, "right")) - 1
        with self._lock:  # pyarrow's files are for one thread
            key = name, group
            if key not in self._groups:
                try:
                    rows = file.read(group, [f"{file.columns.image}.bytes"])
                except InputError as error:
                    raise ValueError(str(error)) from error
                self._groups[key] = [one[file.columns.image] for one in rows]
            self._groups.move_to_end(key)
            images = self._groups[key]
            while len(self._groups) > _CACHED:
                self._groups.popitem(last=False)
        data = (images[row - file.starts[group]] or {}).get("bytes")
        if not data:
            raise ValueError("has no bytes, only a path")
        return data

    def class_names(self, examples: Dict[int, str]) -> Dict[int, str]:
        """The names of the classes in the metadata; {} without them."""
        return dict(enumerate(self._file(self.paths[0]).columns.classes))

    def _file(self, path: str) -> "_File":
        if path not in self._files:
            self._files[path] = _File(path)
        return self._files[path]

    def _end(self, file: str) -> int:
        with self._lock:
            try:
                return self._file(file).starts[-1]
            except InputError as error:
                raise ValueError(str(error)) from error


class _File:
    """An open file: its columns, and the number of its first row in each group."""

    def __init__(self, path: str):
        self.path = path
        with _errors(path):
            self._file = library().ParquetFile(path)
            metadata = self._file.metadata
            groups = [metadata.row_group(n) for n in range(metadata.num_row_groups)]
        self.columns = _columns(path, self._file.schema_arrow)
        self.starts = [0, *np.cumsum([group.num_rows for group in groups]).tolist()]
        for number, group in enumerate(groups):
            if not 0 <= group.total_byte_size <= _MOST_GROUP or group.num_rows < 0:
                raise InputError(
                    f"{path}: row group {number} has {group.total_byte_size:,} bytes, and at most "
                    f"{_MOST_GROUP:,} are read; write it with smaller row groups"
                )

    def read(self, group: int, columns: Sequence[str]) -> List[Dict[str, Any]]:
        """Rows of a group, with these columns only."""
        with _errors(self.path):
            return self._file.read_row_group(group, columns=[*columns]).to_pylist()


@contextlib.contextmanager
def _errors(path: str) -> Iterator[None]:
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({' '.join(str(error).split())})") from error


def _columns(path: str, schema: Any) -> Columns:
    features: Dict[str, Any] = {}
    with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
        known = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        features = {name: one for name, one in known.items() if isinstance(one, dict)}
    image = _one(path, features, "Image", _IMAGE, schema.names)
    label = _one(path, features, "ClassLabel", _LABEL, schema.names)
    of_image = schema.field(image).type
    inner = {of_image.field(n).name for n in range(of_image.num_fields)}
    if not {"bytes", "path"} <= inner:
        raise InputError(f"{path}: column {image!r} is not a structure of bytes and path")
    if not re.fullmatch(r"u?int\d+", str(schema.field(label).type)):
        raise InputError(f"{path}: column {label!r} is no number of a class")
    names = features.get(label, {}).get("names")
    is_named = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return Columns(image, label, tuple(names) if is_named else ())


def _one(path: str, features: Dict[str, Any], kind: str, default: str, names: Sequence[str]) -> str:
    """The one column of a kind; by default its usual name."""
    found = [name for name, one in features.items() if one.get("_type") == kind and name in names]
    found = found or [name for name in names if name == default]
    if len(found) > 1 and default in found:
        found = [default]
    if len(found) != 1:
        which = f"several ({', '.join(found)})" if found else "none"
        raise InputError(
            f"{path}: needs one column {default!r} ({kind} of datasets), and has {which}"
        )
    return found[0]


# --- writing --------------------------------------------------------------------------------------


def write(folder: str, stem: str, classes: Sequence[str], sizes: np.ndarray, read: Read) -> int:
    """Write the images of a pack as `folder/STEM-00000-of-00002.parquet` and so on.

    `sizes` are the bytes of the images, int64 (images,). Returns the number of images in files that
    were there already, with the same rows; InputError if one differs.
    """
    parts, kept = parts_of(sizes, _MOST_IMAGES, _MOST_BYTES), 0
    library()
    for part in parts:
        path = os.path.join(folder, numbered(stem, part.number, len(parts)) + ".parquet")
        if os.path.exists(path):
            _compare(path, classes, read(part))
            kept += part.end - part.first
        else:
            _write_file(path, classes, part, read)
    return kept


def _schema(classes: Sequence[str]) -> Any:
    import pyarrow as pa

    features = {
        _IMAGE: {"_type": "Image"}, _LABEL: {"names": [*classes], "_type": "ClassLabel"}
    }  # fmt: skip
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return pa.schema([(_IMAGE, image), (_LABEL, pa.int64())], metadata=metadata)


def _write_file(path: str, classes: Sequence[str], part: Part, read: Read) -> None:
    import pyarrow as pa

    schema = _schema(classes)
    # Encoded images do not get smaller.
    how = {"compression": "none", "use_dictionary": False}
    with atomic_write(path) as file, library().ParquetWriter(file, schema, **how) as writer:
        samples = read(part)
        for rows in iter(lambda: [*map(_row, itertools.islice(samples, _ROWS))], []):
            writer.write_table(pa.Table.from_pylist(rows, schema))


def _row(sample: Sample) -> Dict[str, Any]:
    name = sample.name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return {_IMAGE: {"bytes": sample.data, "path": name}, _LABEL: sample.label}


def _compare(path: str, classes: Sequence[str], samples: Iterator[Sample]) -> None:
    file = _File(path)
    if file.columns != Columns(_IMAGE, _LABEL, tuple(classes)):
        raise exists_differently(path)
    for group in range(len(file.starts) - 1):
        for row in file.read(group, [_IMAGE, _LABEL]):
            sample = next(samples, None)
            if sample is None or row != _row(sample):
                raise exists_differently(path)
    if next(samples, None) is not None:
        raise exists_differently(path)
