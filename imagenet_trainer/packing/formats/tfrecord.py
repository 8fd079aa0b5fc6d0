"""TFRecord files of images, as the scripts of TensorFlow's slim and of Cloud TPU write them.

A record is `uint64 length`, the masked CRC-32C of these 8 bytes, the data, and theirs. The data are
a message `tf.train.Example` of protocol buffers: a map from names to lists of bytes, floats or
integers. An image is `image/encoded`, its label `image/class/label`, counted from 1; the class's
WordNet id is `image/class/synset`, the name of the file `image/filename`.

The package `tfrecord` reads these files too, but does not compare the checksums, and takes any
length for true.

Format: tensorflow.org/tutorials/load_data/tfrecord and `tensorflow/core/example/feature.proto`.
"""

import os
import re
import struct
from typing import BinaryIO, Dict, Iterator, List, NamedTuple, Sequence, Tuple, Union

from imagenet_trainer.data.images.decode import MAX_IMAGE
from imagenet_trainer.errors import InputError
from imagenet_trainer.packing.formats.crc32c import masked
from imagenet_trainer.packing.formats.samples import NumberedCollection, safe_name
from imagenet_trainer.system.files import file_error

KIND = "TFRecord"
IMAGE, LABEL = "image/encoded", "image/class/label"
FILE, SYNSET, TEXT = "image/filename", "image/class/synset", "image/class/text"
_NAME = re.compile(r".*(\.tfrecords?([-.].*)?|-\d{4,6}-of-\d{4,6})")
_HEAD, _TAIL = struct.Struct("<QI"), struct.Struct("<I")
_MOST_BYTES = MAX_IMAGE + (1 << 20)  # of a record

Values = Union[List[bytes], List[int]]
Example = Dict[str, Values]


def has_name(path: str) -> bool:
    """Whether a file has the name of a TFRecord file; its content is checked when it is read."""
    return bool(_NAME.fullmatch(os.path.basename(path)))


class Row(NamedTuple):
    """An image of a file: byte offset of its record, name, label as stored, class."""

    offset: int
    name: str
    label: int
    class_name: str


class TFRecords(NumberedCollection):
    """Images in TFRecord files, in their order; a path is FILE/OFFSET/NAME.

    `note` says how the labels were understood, once `images` has ended.
    """

    kind = KIND

    def __init__(self, paths: Sequence[str]):
        super().__init__(paths)
        self._sizes = {path: os.path.getsize(path) for path in paths}

    def images(self) -> Iterator[Tuple[str, int]]:
        """See Collection."""
        rows = [(path, row) for path in self.paths for row in _rows(path)]
        first = 0
        if all(row.label >= 1 for _, row in rows):
            first = 1
            self.note = "the labels count from 1 (image/class/label); label 1 is class 0"
        _check_classes(rows)
        for path, row in rows:
            yield f"{os.path.basename(path)}/{row.offset}/{row.name}", row.label - first

    def _end(self, file: str) -> int:
        return self._sizes[file]

    def read(self, path: str) -> bytes:
        """See Collection."""
        try:
            values = self._example(path).get(IMAGE, [])
        except InputError as error:
            raise ValueError(str(error)) from error
        if len(values) != 1 or not isinstance(values[0], bytes):
            raise ValueError(f"has no {IMAGE}")
        return values[0]

    def class_names(self, examples: Dict[int, str]) -> Dict[int, str]:
        """The names of classes, from an image of each; classes without a name are missing."""
        # Damage is found when the image is read, and then rejects it.
        named = {label: _class_name(self._example(one, False)) for label, one in examples.items()}
        return {label: name for label, name in named.items() if name}

    def _example(self, path: str, compare: bool = True) -> Example:
        file, offset = self._locate(path)
        with _open(file) as descriptor:
            return _parsed(file, offset, _record(file, descriptor.fileno(), offset, compare))


def _open(path: str) -> BinaryIO:
    try:
        return open(path, "rb")
    except OSError as error:
        raise file_error(path, error) from error


def _rows(path: str) -> Iterator[Row]:
    with _open(path) as file:
        size, offset = os.fstat(file.fileno()).st_size, 0
        if file.read(2) == b"\x1f\x8b":
            raise InputError(f"{path}: a compressed file cannot be read in place; gunzip it first")
        if not size:
            raise InputError(f"{path}: the file is empty")
        while offset < size:
            data = _record(path, file.fileno(), offset, compare=False)
            example = _parsed(path, offset, data)
            labels = example.get(LABEL, [])
            if len(labels) != 1 or not isinstance(labels[0], int) or labels[0] < 0:
                raise _damaged(path, offset, f"has no {LABEL}, or several, or below 0")
            name = safe_name(_text(example, FILE), f"{offset}.img")
            yield Row(offset, name, labels[0], _class_name(example))
            offset += _HEAD.size + len(data) + _TAIL.size


def _record(path: str, descriptor: int, offset: int, compare: bool = True) -> bytes:
    """The data of the record at an offset; `compare`: with their checksum."""
    head = os.pread(descriptor, _HEAD.size, offset)
    if len(head) < _HEAD.size:
        raise _damaged(path, offset, "the file ends inside it")
    length, checksum = _HEAD.unpack(head)
    if masked(head[:8]) != checksum:
        raise _damaged(path, offset, "its length has a wrong checksum")
    left = os.fstat(descriptor).st_size - offset - _HEAD.size - _TAIL.size
    if length > left:
        raise _damaged(path, offset, f"its {length:,} bytes are more than the file has")
    if length > _MOST_BYTES:
        raise _damaged(path, offset, f"its {length:,} bytes are too many for an image")
    data = os.pread(descriptor, length + _TAIL.size, offset + _HEAD.size)
    if len(data) < length + _TAIL.size:
        raise _damaged(path, offset, "the file ends inside it")
    if compare and masked(memoryview(data)[:length]) != _TAIL.unpack_from(data, length)[0]:
        raise _damaged(path, offset, "its bytes have changed (CRC-32C)")
    return data[:length]


def _damaged(path: str, offset: int, reason: str) -> InputError:
    return InputError(f"{path}: the record at byte {offset}: {reason}")


def _check_classes(rows: Sequence[Tuple[str, Row]]) -> None:
    """InputError if a label has two names."""
    names: Dict[int, str] = {}
    for path, row in rows:
        known = names.setdefault(row.label, row.class_name)
        if row.class_name != known:
            raise _damaged(
                path, row.offset,
                f"label {row.label} is {row.class_name!r} there and {known!r} before",
            )  # fmt: skip


def _class_name(example: Example) -> str:
    return _text(example, SYNSET) or _text(example, TEXT)


def _text(example: Example, name: str) -> str:
    values = example.get(name, [])
    first = values[0] if values else b""
    return first.decode("utf-8", "surrogateescape") if isinstance(first, bytes) else ""


# --- protocol buffers ---------------------------------------------------------------------------


def _parsed(path: str, offset: int, data: bytes) -> Example:
    try:
        return parse_example(data)
    except (ValueError, IndexError) as error:
        raise _damaged(path, offset, f"is not a tf.train.Example ({error})") from error


def parse_example(data: bytes) -> Example:
    """The bytes and integers of a `tf.train.Example` by name; ValueError if it is none."""
    found: Example = {}
    for features in _messages(memoryview(data), 1):
        for entry in _messages(features, 1):
            keys, values = [*_messages(entry, 1)], [*_messages(entry, 2)]
            if len(keys) != 1 or len(values) != 1:
                raise ValueError("an entry without a name or a value")
            name, feature = bytes(keys[0]).decode("utf-8", "replace"), values[0]
            texts = [bytes(one) for part in _messages(feature, 1) for one in _messages(part, 1)]
            numbers = [one for part in _messages(feature, 3) for one in _integers(part)]
            found[name] = texts or numbers
    return found


def _fields(data: memoryview) -> Iterator[Tuple[int, int, memoryview, int]]:
    """Number, wire type, bytes and value of every field of a message."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind, value, size = tag & 7, 0, 0
        if kind == 0:
            value, at = _varint(data, at)
        elif kind == 2:
            size, at = _varint(data, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError(f"wire type {kind}")
        if size > len(data) - at:
            raise ValueError("a field ends after its message")
        yield tag >> 3, kind, data[at : at + size], value
        at += size


def _messages(data: memoryview, number: int) -> Iterator[memoryview]:
    return (part for field, kind, part, _ in _fields(data) if field == number and kind == 2)


def _integers(data: memoryview) -> Iterator[int]:
    """The values of an Int64List, packed or not."""
    for field, kind, part, value in _fields(data):
        if field == 1 and kind == 0:
            yield _signed(value)
        elif field == 1 and kind == 2:
            at = 0
            while at < len(part):
                value, at = _varint(part, at)
                yield _signed(value)


def _varint(data: memoryview, at: int) -> Tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]  # IndexError where the message ends
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("an integer of more than 10 bytes")


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value
