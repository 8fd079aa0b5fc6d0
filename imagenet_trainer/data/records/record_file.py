"""Shards read record by record, at any position, through their indexes."""

import copy
import os
import warnings
import zlib
from typing import Callable, Optional, Tuple, Union

import numpy as np

from imagenet_trainer.config import commands
from imagenet_trainer.data.records.recordio import (
    LENGTH_BITS,
    MAGIC,
    MAX_LENGTH,
    PART,
    WHOLE,
    Record,
    join_parts,
    unpack,
)
from imagenet_trainer.data.records.storage import exists, open_binary, open_positional
from imagenet_trainer.errors import InputError, TemporaryError, is_temporary
from imagenet_trainer.system.files import AnyPath, file_error, is_of_file


class RecordError(InputError):
    """A record cannot be read; the message names the shard, the record and its byte offset."""

    def __init__(self, path: str, record: int, offset: int, reason: str):
        super().__init__(f"{path}: record {record} at byte {offset}: {reason}")
        self.path, self.record, self.offset, self.reason = path, record, offset, reason


# Path of an index, or keys and byte offsets, both int64 (records,).
Index = Union[AnyPath, Tuple[np.ndarray, np.ndarray]]


def index_path(rec_path: AnyPath) -> str:
    """The default path of a shard's index: beside the shard, with the extension `.idx`."""
    return os.path.splitext(os.fspath(rec_path))[0] + ".idx"


def read_index(path: AnyPath) -> Tuple[np.ndarray, np.ndarray]:
    """Keys and byte offsets of an index, both int64 (records,), in the order of its lines.

    Keys from 2^63 on, as those of other programs, wrap to negative ones.
    """
    name = os.fspath(path)
    try:
        with open_binary(path) as file:
            text = file.read()
    except OSError as error:
        raise file_error(path, error) from error
    lines = text.count(b"\n") + (not text.endswith(b"\n"))
    with warnings.catch_warnings():
        # NumPy only warns of text that is not a number; here it is an error.
        warnings.simplefilter("error")
        try:
            numbers = np.fromstring(text, np.uint64, sep=" ").astype(np.int64)
        except (ValueError, DeprecationWarning):
            numbers = np.empty(0, np.int64)
    if text.strip() == b"":
        raise InputError(f"{name}: the index is empty; {_rebuild(name)}")
    if len(numbers) != 2 * lines:
        raise InputError(f"{name}: not an index of `key<TAB>offset` lines; {_rebuild(name)}")
    return numbers[0::2].copy(), numbers[1::2].copy()


def _rebuild(path: str) -> str:
    rec = os.path.splitext(path)[0] + ".rec"
    return f"to rebuild it from the shard run: {commands.rebuild_index(rec)}"


class RecordFile:
    """A shard, read at any position from any thread.

    Opening reads the index and checks by the first and the last record that it belongs to the
    shard.

    Parameters
    ----------
    path
        the `.rec` file, or its URL.
    index
        its `.idx` file, or what `read_index` returns; by default the file beside the shard.
    trust_index
        skip that check, to open a shard with missing or damaged records; reading them raises.

    Raises
    ------
    InputError
        a file is missing or empty, or the index does not belong to the shard.
    StorageError
        also from every method that reads: a file on an object storage cannot be read.

    """

    def __init__(self, path: AnyPath, index: Optional[Index] = None, *, trust_index: bool = False):
        self.path = os.fspath(path)
        self._checksums: Optional[np.ndarray] = None
        entries, index_name = None, index_path(path)
        if isinstance(index, tuple):
            entries = index
        elif index:
            index_name = os.fspath(index)
        advice = f"to pack it run first: {commands.PACK} PREFIX FOLDER"
        self._file = open_positional(self.path, advice)
        self.size = self._file.size
        try:
            is_shard = self.path.endswith(".rec")  # although its first record may be damaged
            if not is_shard and self._file.read(len(MAGIC), 0) != MAGIC:
                raise InputError(f"{self.path}: not a shard (wrong first bytes); give a .rec file")
            if entries is None and not exists(index_name):
                way = self._other_index(index_name)
                raise InputError(f"{self.path}: its index {index_name} is missing; {way}")
            self.keys, self.offsets = entries or read_index(index_name)
            self._check(index_name, trust_index)
        except BaseException:
            self.close()
            raise

    def _other_index(self, index: str) -> str:
        """The way out of an index that cannot be used."""
        beside = os.path.splitext(index)[0] == os.path.splitext(self.path)[0]
        return _rebuild(index) if beside else "give the index of this shard"

    def _check(self, index: str, trust_index: bool) -> None:
        """Compute where the records end; InputError where the index is not of this shard."""
        order, way_out = np.argsort(self.offsets, kind="stable"), self._other_index(index)
        ordered = self.offsets[order]
        if ordered[0] != 0 or not np.all(np.diff(ordered) >= 8):
            raise InputError(
                f"{self.path}: the offsets in {index} are not those of a shard; {way_out}"
            )
        ends = np.empty_like(ordered)
        ends[order] = np.append(ordered[1:], max(self.size, ordered[-1] + 8))
        self._ends = ends
        if trust_index:
            return
        if ordered[-1] >= self.size:
            cut = order[max(0, int(np.searchsorted(ordered, self.size)) - 1)]
            raise self.error(
                int(cut),
                f"the shard ends inside it or right after it, at {self.size} bytes, but {index} "
                "has more records; pack it again, or if the index is of another shard, "
                f"{way_out}",
            )
        for record in {int(order[0]), int(order[-1])}:
            try:
                self.read(record)
            except RecordError as error:
                error.args = (f"{error}; if the index {index} is of another shard, {way_out}",)
                raise

    def __len__(self) -> int:
        return len(self.offsets)

    @property
    def sizes(self) -> np.ndarray:
        """Bytes of each record on disk, int64 (records,)."""
        return self._ends - self.offsets

    @property
    def has_sorted_index(self) -> bool:
        """Whether the lines of the index are in the order of the records in the shard."""
        return bool((self.offsets[1:] > self.offsets[:-1]).all())

    def keep(self, records: np.ndarray) -> None:
        """Leave out all records but these, bool (records,)."""
        self.keys, self.offsets = self.keys[records], self.offsets[records]
        self._ends = self._ends[records]
        if self._checksums is not None:
            self._checksums = self._checksums[records]

    def part(self, records: np.ndarray) -> "RecordFile":
        """The shard with these records only, bool (records,); it is closed separately."""
        part = copy.copy(self)
        try:
            part._file = self._file.duplicate()
        except OSError as error:
            raise file_error(self.path, error, "allow more open files (ulimit -n)") from error
        part.keep(records)
        return part

    def expect(self, checksums: Optional[np.ndarray], way_out: str) -> None:
        """Compare every record from now on with the CRC-32 of its bytes, and its id with its key.

        `checksums` is uint32 (records,), by the lines of the index; None: compare nothing.
        `way_out` ends the message of a RecordError for a record that differs.
        """
        self._checksums, self._way_out = checksums, way_out

    @property
    def has_checksums(self) -> bool:
        """Whether each record is compared with a checksum when it is read."""
        return self._checksums is not None

    def raw(self, record: int, compare: bool = True) -> memoryview:
        """The bytes of a record as they are on disk; errors as `read`.

        `compare`: with its checksum, if there is one.
        """
        if not 0 <= record < len(self.offsets):
            raise IndexError(f"record {record} of {len(self.offsets)}")
        size = self._ends.item(record) - self.offsets.item(record)
        checksums = self._checksums if compare else None
        expected = None if checksums is None else checksums.item(record)
        for read in (self._file.read, self._file.read_again):
            data = self._bytes(record, size, read)
            if len(data) < size:
                raise self.error(record, "the shard ends inside this record")
            if expected is None or zlib.crc32(data) == expected:
                return memoryview(data)
        raise self.error(
            record, f"its bytes have changed since it was packed (CRC-32); {self._way_out}"
        )

    def _bytes(self, record: int, count: int, read: Callable[[int, int], bytes]) -> bytes:
        """The first bytes of a record on disk; RecordError where the system cannot read them.

        InputError where it could read no record: that does not make this one a bad one.
        """
        try:
            return read(count, self.offsets.item(record))
        except OSError as error:
            if not is_of_file(error):
                raise file_error(self.path, error) from error
            bad = self.error(record, error.strerror or str(error))
            if is_temporary(error):
                bad.exit_code = TemporaryError.exit_code
            raise bad from error

    def read(self, record: int) -> memoryview:
        """The payload of a record, by its line in the index.

        Raises RecordError where the file was truncated or overwritten, or differs from its
        checksum (`expect`).
        """
        return self.payload(record, self.raw(record))

    def payload(self, record: int, raw: memoryview) -> memoryview:
        """The payload in a record's bytes on disk; errors as `read`."""
        try:
            return join_parts(raw)
        except ValueError as error:
            raise self.error(record, str(error)) from error

    def will_need(self, records: np.ndarray) -> None:
        """Ask the system to read records ahead, int64 (n,) in any order; see `read_ahead`."""
        self._file.will_need(self.offsets[records], self._ends[records])

    def head(self, record: int, most: int) -> Tuple[memoryview, int]:
        """The first `most` bytes of a payload, and its length, reading little else.

        A record in several parts is read completely. Raises RecordError as `read` does.
        """
        size = self._ends.item(record) - self.offsets.item(record)
        data = memoryview(self._bytes(record, min(8 + most, size), self._file.read))
        if len(data) >= 8:
            magic, word = PART.unpack_from(data)
            if magic == MAGIC and word >> LENGTH_BITS == WHOLE:
                return data[8 : 8 + (word & MAX_LENGTH)], word & MAX_LENGTH
        whole = self.read(record)
        return whole[:most], len(whole)

    def record(self, record: int, raw: Optional[memoryview] = None) -> Record:
        """Label, id and encoded image of a record; RecordError also where it is not an image.

        `raw` holds the record's bytes on disk, if they have been read already.
        """
        payload = self.read(record) if raw is None else self.payload(record, raw)
        try:
            parsed = unpack(payload)
        except ValueError as error:
            raise self.error(record, str(error)) from error
        if self._checksums is not None and parsed.id != self.keys.item(record):
            raise self.error(
                record, f"its id is {parsed.id}, but {self.keys[record]} in the index; "
                f"{_rebuild(self.path)}",
            )  # fmt: skip
        return parsed

    def error(self, record: int, reason: str) -> RecordError:
        """An error that names the position of a record and the reason."""
        return RecordError(self.path, record, int(self.offsets[record]), reason)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> "RecordFile":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
