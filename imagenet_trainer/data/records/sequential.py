"""Shards without an index: their records one after the other."""

import itertools
import os
from typing import IO, Iterator, List, Optional, Tuple

import numpy as np

from imagenet_trainer.data.records.record_file import Index, RecordError, index_path
from imagenet_trainer.data.records.recordio import (
    FIRST,
    HEADER,
    HEADER_64,
    LAST,
    LENGTH_BITS,
    MAGIC,
    MAX_LENGTH,
    MIDDLE,
    PART,
    WHOLE,
    has_float64_labels,
)
from imagenet_trainer.data.records.storage import exists
from imagenet_trainer.errors import InputError
from imagenet_trainer.system.files import AnyPath, atomic_write, file_error
from imagenet_trainer.system.object_storage import is_url

_FIRST_BYTES = 512


def read_next(file: IO[bytes]) -> Optional[bytes]:
    """The payload of the record at a file's position, which moves behind it; None at the end.

    Raises InputError, with the position, where the file is damaged or cut short.
    """
    start = file.tell()
    parts: List[bytes] = []
    while True:
        head = file.read(PART.size)
        if not head and not parts:
            return None
        if len(head) < PART.size or not head.startswith(MAGIC):
            raise _damaged(file, start, "the magic number is missing")
        word = PART.unpack(head)[1]
        part, length = word >> LENGTH_BITS, word & MAX_LENGTH
        if part not in ((MIDDLE, LAST) if parts else (WHOLE, FIRST)):
            raise _damaged(file, start, "its parts are out of order")
        data = file.read(length + -length % 4)
        if len(data) < length + -length % 4:
            raise _damaged(file, start, "the file ends inside it")
        parts.append(data[:length])
        if part in (WHOLE, LAST):
            return MAGIC.join(parts)


def _damaged(file: IO[bytes], start: int, reason: str) -> InputError:
    return InputError(f"{os.fspath(file.name)}: the record at byte {start}: {reason}")


def scan(path: AnyPath) -> Iterator[Tuple[int, int]]:
    """Offset and id of every record of a shard, found without its index.

    Raises RecordError at the first damaged record, InputError if the shard cannot be read.
    """
    name = os.fspath(path)
    try:
        yield from _scan(name)
    except OSError as error:
        raise file_error(name, error) from error


def _scan(name: str) -> Iterator[Tuple[int, int]]:
    with open(name, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        position = 0
        for number in itertools.count():
            if position == size:
                return
            start, part, parts, head, total = position, FIRST, 0, b"", 0
            while part in (FIRST, MIDDLE):
                # Long enough for the headers of part and payload, and some labels.
                data = os.pread(file.fileno(), 8 + _FIRST_BYTES, position)
                if len(data) < 8 or data[:4] != MAGIC:
                    raise RecordError(name, number, start, "the magic number is missing")
                word = PART.unpack_from(data)[1]
                part, length = word >> LENGTH_BITS, word & MAX_LENGTH
                if len(head) == total:
                    head += (MAGIC if parts else b"") + data[8 : 8 + length]
                total += length + (len(MAGIC) if parts else 0)
                if part not in ((MIDDLE, LAST) if parts else (WHOLE, FIRST)):
                    raise RecordError(name, number, start, "its parts are out of order")
                parts += 1
                position += 8 + length + -length % 4
                if position > size:
                    raise RecordError(name, number, start, "the shard ends inside this record")
            if len(head) < HEADER.size:
                raise RecordError(name, number, start, "it is not an image with a label")
            is_64 = len(head) >= HEADER_64.size and has_float64_labels(head, total)
            yield start, (HEADER_64 if is_64 else HEADER).unpack_from(head)[2]


def index_of(path: AnyPath) -> Tuple[Index, str]:
    """The index beside a shard; where it is missing, one that is made from the shard.

    It is written beside the shard if that is possible. Returns it and a note for the user, "" if
    there was an index. Raises InputError where the shard is missing or damaged, or is on an object
    storage, from which it would have to be fetched whole.
    """
    index = index_path(path)
    if is_url(index) and not exists(index):
        raise InputError(
            f"{os.fspath(path)}: its index {index} is missing; upload it from beside the shard, or "
            f"give it with --data-train-idx or --data-val-idx"
        )
    if is_url(index) or os.path.exists(index) or not os.path.isfile(path):
        return index, ""
    try:
        count = rebuild_index(path)
        return index, f"{index}: was missing and has been made from the shard: {count:,} records"
    except RecordError:
        raise
    except InputError:  # it cannot be written
        entries = np.array([(id, offset) for offset, id in scan(path)], np.uint64).astype(np.int64)
        if not len(entries):
            raise
        note = f"{index}: is missing and cannot be written; the shard is read to find its records"
        return (entries[:, 0].copy(), entries[:, 1].copy()), note


def rebuild_index(path: AnyPath) -> int:
    """Write a shard's index again, with the records' ids as keys; return their number.

    Raises RecordError where the shard is damaged; an old index is then kept.
    """
    records = 0
    with atomic_write(index_path(path)) as file:
        for offset, id in scan(path):
            file.write(b"%d\t%d\n" % (id, offset))
            records += 1
        if not records:
            raise InputError(f"{os.fspath(path)}: the shard is empty; pack it again")
    return records
