r"""The format of RecordIO shards as MXNet writes them: records, and the payloads of images.

A record is `uint32 0xced7230a`, `uint32 (part << 29 | length)`, the payload, and zeros up to a
multiple of 4 bytes. Where a payload has the magic number at a multiple of 4 bytes, the number is
omitted and the record continues in another part: part 0 is a complete record, 1 the first, 2 a
middle, 3 the last part. The payload of an image is a header `IfQQ` (number of labels, label, id,
upper id), the labels as float32 if their number is not 0, and the encoded image. An index (`.idx`)
has a line `key\toffset` for each record. All numbers are little endian.

Copies of MXNet's `recordio.py` for face recognition, whose classes float32 cannot count, write the
header as `IdQQ` in C's alignment (4 bytes of padding before the label) and labels as float64.
Nothing in the file says so; see `unpack`.

Format: github.com/dmlc/dmlc-core `recordio.h` and MXNet's `recordio.py`.
"""

import struct
from typing import Iterator, List, NamedTuple, Sequence, Tuple, Union

import numpy as np

from imagenet_trainer.data.kinds import kind_of

MAGIC = struct.pack("<I", 0xCED7230A)
PART = struct.Struct("<4sI")
HEADER = struct.Struct("<IfQQ")
HEADER_64 = struct.Struct("<I4xdQQ")
LENGTH_BITS = 29
MAX_LENGTH = (1 << LENGTH_BITS) - 1
WHOLE, FIRST, MIDDLE, LAST = range(4)


class Record(NamedTuple):
    """The content of a payload."""

    label: float  # the first one
    id: int
    image: memoryview  # encoded
    labels: Tuple[float, ...]
    dtype: str = "<f4"  # of the labels in the file: float32, rarely float64


# --- payloads ----------------------------------------------------------------------------------


def pack_header(label: Union[float, Sequence[float]], id: int, id2: int = 0) -> bytes:
    """The bytes before an encoded image.

    A number goes into the header's label field; a sequence becomes float32 values after the
    header, as in MXNet's `recordio.pack`.
    """
    if isinstance(label, (int, float, np.number)):
        return HEADER.pack(0, label, id, id2)
    labels = np.asarray(label, "<f4")
    return HEADER.pack(labels.size, 0, id, id2) + labels.tobytes()


def unpack(payload: Union[bytes, memoryview]) -> Record:
    """Parse a payload without copying the image; ValueError if it is too short.

    A payload has float64 labels if no image begins after a header of MXNet's, and an image begins
    after one with float64 labels, or nothing follows that.
    """
    if len(payload) < HEADER.size:
        raise ValueError(f"its payload of {len(payload)} bytes is not an image with a label")
    labels, id, start, dtype = unpack_header(payload, len(payload))
    return Record(labels[0], id, memoryview(payload)[start:], labels, dtype)


def unpack_header(
    head: Union[bytes, memoryview], length: int
) -> Tuple[Tuple[float, ...], int, int, str]:
    """The labels of a payload, its id, where its image begins, and the dtype of the labels.

    Parameters as in `has_float64_labels`; `head` has all labels. ValueError if `length` is too
    short for them.
    """
    header, dtype = (HEADER_64, "<f8") if has_float64_labels(head, length) else (HEADER, "<f4")
    count, label, low, high = header.unpack_from(head)
    start = header.size + int(dtype[-1]) * count
    if start > length:
        raise ValueError(f"its header declares {count} labels, but it has {length} bytes")
    labels = (label,)
    if count:
        labels = tuple(np.frombuffer(head, dtype, count, header.size).tolist())
    return labels, high << 64 | low, start, dtype


def has_float64_labels(head: Union[bytes, memoryview], length: int) -> bool:
    """Whether a payload has the header `IdQQ`.

    `head` is the payload's beginning with at least 12 bytes of the image, or all of it; `length` is
    that of the payload.
    """
    if kind_of(head[HEADER.size : HEADER.size + 12]):
        return False  # most records: one label and an image
    count, padding, _, _ = HEADER.unpack_from(head)
    end, end_64 = HEADER.size + 4 * count, HEADER_64.size + 8 * count
    if length < end_64 or padding or (count and kind_of(head[end : end + 12])):
        return False
    if length == end_64:  # no image: the upper id is zero
        return bytes(head[24:32]) == bytes(8)
    return bool(kind_of(head[end_64 : end_64 + 12]))


# --- records on disk ---------------------------------------------------------------------------


def record_pieces(payload: bytes) -> Iterator[bytes]:
    """The bytes of a record on disk, in pieces; ValueError for 512 MiB or more."""
    if len(payload) > MAX_LENGTH:
        raise ValueError(f"a record of {len(payload)} bytes is longer than the format's 512 MiB")
    start, part = 0, WHOLE
    at = payload.find(MAGIC)
    while at >= 0:
        if at % 4:
            at = payload.find(MAGIC, at + 1)
            continue
        part = FIRST if start == 0 else MIDDLE
        yield PART.pack(MAGIC, part << LENGTH_BITS | at - start)
        yield payload[start:at]
        start = at + 4
        at = payload.find(MAGIC, start)
    part = WHOLE if start == 0 else LAST
    yield PART.pack(MAGIC, part << LENGTH_BITS | len(payload) - start)
    yield payload[start:] if start else payload
    yield bytes(-len(payload) % 4)


def record_length(payload: bytes) -> int:
    """Number of bytes of a payload's record on disk."""
    return sum(map(len, record_pieces(payload)))


def join_parts(data: memoryview) -> memoryview:
    """The payload of the record that `data` holds; ValueError unless it is exactly one record."""
    parts: List[memoryview] = []
    position = 0
    while True:
        if position + 8 > len(data):
            raise ValueError("it has no end")
        magic, word = PART.unpack_from(data, position)
        if magic != MAGIC:
            raise ValueError("the magic number is missing: the shard was overwritten there")
        part, length = word >> LENGTH_BITS, word & MAX_LENGTH
        if part not in ((MIDDLE, LAST) if parts else (WHOLE, FIRST)):
            raise ValueError("its parts are out of order: the shard was overwritten there")
        end = position + 8 + length
        parts.append(data[position + 8 : end])
        position = end + -length % 4
        if position > len(data):
            raise ValueError("it ends beyond the next record or the end of the shard")
        if part in (WHOLE, LAST):
            break
    if position != len(data):
        raise ValueError("it is shorter than in the index")
    return parts[0] if len(parts) == 1 else memoryview(MAGIC.join(parts))
