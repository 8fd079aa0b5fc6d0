import errno
import io
import itertools
import os

import numpy as np
import pytest
from conftest import payloads_of, write_records
from hypothesis import given
from hypothesis import strategies as st

from imagenet_trainer.data.records.record_file import RecordError, RecordFile
from imagenet_trainer.data.records.recordio import MAGIC, pack_header, record_pieces, unpack
from imagenet_trainer.data.records.sequential import index_of, read_next, rebuild_index, scan
from imagenet_trainer.errors import InputError, TemporaryError

# Payloads that are full of the magic number, aligned or not.
payloads = st.lists(
    st.sampled_from([MAGIC, MAGIC[:2], b"\0", b"x"]) | st.binary(max_size=9), max_size=12
).map(b"".join)


def named(data):
    file = io.BytesIO(data)
    file.name = "a.rec"
    return file


@given(st.lists(payloads, max_size=5))
def test_records_are_read_one_after_the_other(records):
    file = named(b"".join(piece for record in records for piece in record_pieces(record)))
    assert [read_next(file) for _ in records] == records
    assert read_next(file) is None and read_next(file) is None


def test_damage_is_an_error_with_its_position():
    one, two = (b"".join(record_pieces(data)) for data in (b"a record", b"a" + MAGIC * 3))
    for damaged in (two[:-1], two[:5], b"x" + two[1:], two[:4] + b"\xff" * 4 + two[8:]):
        file = named(one + damaged)
        assert read_next(file) == b"a record"
        with pytest.raises(InputError, match=f"a.rec: the record at byte {len(one)}: "):
            read_next(file)
    with pytest.raises(InputError, match="order"):  # the last part without a first one
        read_next(named(MAGIC + (3 << 29 | 4).to_bytes(4, "little") + b"abcd"))


def test_an_index_is_rebuilt(tmp_path):
    records = [pack_header([1.0] * n, 10 * n) + MAGIC * n + b"x" * n for n in range(6)]
    records.append(pack_header(0.0, int.from_bytes(MAGIC * 2, "little")) + b"split in its header")
    path = write_records(tmp_path / "a.rec", records, [unpack(record).id for record in records])
    index = path.with_suffix(".idx")
    before = index.read_bytes()
    index.unlink()
    assert rebuild_index(path) == 7
    assert index.read_bytes() == before


def test_rebuilding_stops_at_damage_and_keeps_the_index(tmp_path):
    path = write_records(tmp_path / "a.rec", payloads_of(4))
    index, offset = path.with_suffix(".idx"), RecordFile(path).offsets[2]
    before, data = index.read_bytes(), path.read_bytes()
    for damaged in (data[:offset] + b"0" + data[offset + 1 :], data[: offset + 30]):
        path.write_bytes(damaged)
        with pytest.raises(RecordError, match=f"record 2 at byte {offset}: "):
            rebuild_index(path)
        assert index.read_bytes() == before
    assert [id for _, id in itertools.islice(scan(path), 2)] == [0, 1]


def test_a_missing_index_is_made_beside_the_shard(tmp_path):
    path = write_records(tmp_path / "a.rec", payloads_of(4))
    index = path.with_suffix(".idx")
    before = index.read_bytes()
    assert index_of(path) == (str(index), "")
    index.unlink()
    found, note = index_of(path)
    assert found == str(index) and "4 records" in note
    assert index.read_bytes() == before


def test_an_index_that_cannot_be_written_is_kept_in_memory(tmp_path, monkeypatch):
    path = write_records(tmp_path / "a.rec", payloads_of(4))
    whole = RecordFile(path)
    path.with_suffix(".idx").unlink()

    def read_only(*_):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "replace", read_only)
    found, note = index_of(path)
    assert "cannot be written" in note and sorted(os.listdir(tmp_path)) == ["a.rec"]
    file = RecordFile(path, found)
    for one, other in ((file.keys, whole.keys), (file.offsets, whole.offsets)):
        np.testing.assert_array_equal(one, other)
    assert file.read(2) == whole.read(2)


def test_a_disk_that_fails_is_that_of_the_shard(tmp_path, monkeypatch):
    path = write_records(tmp_path / "a.rec", payloads_of(4))
    path.with_suffix(".idx").unlink()
    monkeypatch.setattr(os, "pread", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "I/O")))
    with pytest.raises(TemporaryError, match=r"a\.rec: I/O; check the disk"):
        index_of(path)


def test_the_index_of_a_damaged_or_missing_shard(tmp_path):
    path = write_records(tmp_path / "a.rec", payloads_of(4))
    path.with_suffix(".idx").unlink()
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(RecordError, match="record 3"):
        index_of(path)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="empty"):
        index_of(path)
    assert os.listdir(tmp_path) == ["a.rec"]
    assert index_of(tmp_path / "b.rec")[1] == ""  # opening it is the error
