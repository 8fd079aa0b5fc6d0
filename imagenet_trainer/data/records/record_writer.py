"""Writing shards: RecordIO records, their index and their digests."""

import hashlib
import os
import zlib
from array import array
from typing import Tuple

from imagenet_trainer.data.records.manifest import Shard, encode_checksums
from imagenet_trainer.data.records.recordio import record_pieces
from imagenet_trainer.errors import InputError
from imagenet_trainer.system.files import AnyPath


class RecordWriter:
    """Writes a shard and its index, byte for byte as MXNet's `MXIndexedRecordIO` does.

    Parameters
    ----------
    rec_path, idx_path
        the two files.
    keep
        number of bytes of each that are already written and are kept; writing continues after
        them, and the rest is cut off. (0, 0) begins new files.

    Attributes
    ----------
    rec_bytes, idx_bytes: int
        written so far, including the kept ones.
    sha256
        hashlib object over the shard's bytes, including the kept ones.
    checksums: array of uint32
        CRC-32 of the bytes of each record, including the kept ones.

    """

    def __init__(self, rec_path: AnyPath, idx_path: AnyPath, keep: Tuple[int, int] = (0, 0)):
        self.rec_bytes, self.idx_bytes = keep
        self.sha256 = hashlib.sha256()
        self.checksums = array("I")
        mode = "r+b" if self.rec_bytes else "w+b"
        self._rec = open(rec_path, mode, buffering=1 << 20)  # noqa: SIM115 (close() does it)
        try:
            self._idx = open(idx_path, mode)  # noqa: SIM115
        except OSError:
            self._rec.close()
            raise
        try:
            self._digest_kept()
        except BaseException:
            self.close()
            raise
        for file, length in ((self._rec, self.rec_bytes), (self._idx, self.idx_bytes)):
            file.seek(length)
            file.truncate()

    def _digest_kept(self) -> None:
        """Add the kept records to the digests."""
        for file, length in ((self._rec, self.rec_bytes), (self._idx, self.idx_bytes)):
            if os.fstat(file.fileno()).st_size < length:
                raise InputError(f"{os.fspath(file.name)}: shorter than {length} bytes")
        lines = self._idx.read(self.idx_bytes).splitlines()
        ends = [*(int(line.split(b"\t")[1]) for line in lines[1:]), self.rec_bytes]
        start = 0
        for end in ends if self.rec_bytes else ():
            record = self._rec.read(end - start)
            self.sha256.update(record)
            self.checksums.append(zlib.crc32(record))
            start = end

    def write(self, key: int, payload: bytes) -> None:
        """Append a record; ValueError for a payload of 512 MiB or more."""
        line = b"%d\t%d\n" % (key, self.rec_bytes)
        checksum = 0
        for piece in record_pieces(payload):
            self._rec.write(piece)
            self.sha256.update(piece)
            checksum = zlib.crc32(piece, checksum)
            self.rec_bytes += len(piece)
        self.checksums.append(checksum)
        self._idx.write(line)
        self.idx_bytes += len(line)

    def flush(self) -> None:
        """Pass everything written so far to the operating system."""
        self._rec.flush()
        self._idx.flush()

    def sync(self) -> None:
        """Write what was flushed to the disk; another thread may write meanwhile."""
        os.fsync(self._rec.fileno())
        os.fsync(self._idx.fileno())

    def entry(self, file: str) -> Shard:
        """The manifest's entry of this shard, named `file`, as it is so far."""
        return Shard(
            file, self.rec_bytes, self.sha256.hexdigest(), len(self.checksums),
            encode_checksums(self.checksums),
        )  # fmt: skip

    @property
    def closed(self) -> bool:
        """Whether the files are closed."""
        return self._idx.closed

    def close(self) -> None:
        """Write the buffers and close both files."""
        try:
            self._rec.close()
        finally:
            self._idx.close()

    def __enter__(self) -> "RecordWriter":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
