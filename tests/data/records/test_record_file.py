import errno
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from conftest import payloads_of, write_records

from imagenet_trainer.data.records.record_file import RecordError, RecordFile, read_index
from imagenet_trainer.data.records.recordio import MAGIC
from imagenet_trainer.errors import InputError, TemporaryError


def test_a_record_is_not_copied(tmp_path):
    file = RecordFile(write_records(tmp_path / "a.rec", payloads_of(2)))
    image = file.record(1).image
    assert np.shares_memory(np.frombuffer(image, np.uint8), np.frombuffer(image.obj, np.uint8))


def test_many_threads_read_at_once(tmp_path):
    records = [bytes([n % 251]) * (n % 977) + MAGIC * (n % 3) for n in range(300)]
    file = RecordFile(write_records(tmp_path / "a.rec", records))
    order = np.random.default_rng(0).integers(0, 300, 6000).tolist()
    with ThreadPoolExecutor(8) as pool:
        assert all(bytes(got) == records[n] for n, got in zip(order, pool.map(file.read, order)))


def test_an_index_in_another_order_and_with_other_keys(tmp_path):
    path = write_records(tmp_path / "a.rec", payloads_of(4), keys=[40, 10, 30, 20])
    index = path.with_suffix(".idx")
    index.write_text("".join(reversed(index.read_text().splitlines(keepends=True))))
    file = RecordFile(path)
    assert file.keys.tolist() == [20, 30, 10, 40]
    assert [file.record(n).id for n in range(4)] == [3, 2, 1, 0]


def test_an_index_elsewhere(tmp_path):
    path = write_records(tmp_path / "a.rec", payloads_of(3))
    path.with_suffix(".idx").rename(tmp_path / "other")
    assert len(RecordFile(path, tmp_path / "other")) == 3


# --- damage ------------------------------------------------------------------------------------


def test_a_truncated_shard_names_the_record(tmp_path):
    path = write_records(tmp_path / "a.rec", payloads_of(5))
    whole, offsets = path.read_bytes(), read_index(path.with_suffix(".idx"))[1]
    for length in (len(whole) - 1, len(whole) - 40):
        path.write_bytes(whole[:length])
        with pytest.raises(RecordError, match=rf"a\.rec: record 4 at byte {offsets[4]}: .*end"):
            RecordFile(path)
    path.write_bytes(whole[: offsets[2] + 3])
    with pytest.raises(RecordError, match=rf"a\.rec: record 2 at byte {offsets[2]}: .*ends"):
        RecordFile(path)
    path.write_bytes(b"")
    with pytest.raises(RecordError, match=r"a\.rec: record 0 at byte 0: .*"):
        RecordFile(path)


def test_a_shard_truncated_while_it_is_read(tmp_path):
    path = write_records(tmp_path / "a.rec", payloads_of(5))
    file = RecordFile(path)
    with open(path, "r+b") as raw:
        raw.truncate(int(file.offsets[3]) + 10)
    assert file.record(2).id == 2
    with pytest.raises(RecordError, match=rf"record 3 at byte {file.offsets[3]}: "):
        file.read(3)


def test_a_disk_that_fails_names_the_record(tmp_path, monkeypatch):
    file = RecordFile(write_records(tmp_path / "a.rec", payloads_of(5)))

    def fails(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(file._file, "read", fails)
    for read in (lambda: file.read(3), lambda: file.head(3, 9)):
        with pytest.raises(RecordError, match=r"a\.rec: record 3 at .*Input/output error") as bad:
            read()
        assert bad.value.exit_code == 75  # a launcher tries again
    monkeypatch.setattr(os, "pread", fails)
    with pytest.raises(RecordError, match=r"a\.rec: record 0 at .*Input/output error") as bad:
        RecordFile(file.path)
    assert bad.value.exit_code == 75


def test_a_file_system_that_is_gone_makes_no_record_a_bad_one(tmp_path, monkeypatch):
    """--on-bad-record skip must not replace images because of the network."""
    file = RecordFile(write_records(tmp_path / "a.rec", payloads_of(5)))

    def fails(*_):
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(file._file, "read", fails)
    with pytest.raises(TemporaryError, match=r"a\.rec: Stale file handle; mount"):
        file.read(3)


def test_an_overwritten_record(tmp_path):
    path = write_records(tmp_path / "a.rec", [*payloads_of(2), b"ab" + MAGIC * 4, *payloads_of(2)])
    file = RecordFile(path)
    start, whole = int(file.offsets[2]), path.read_bytes()
    for at, value in (
        (0, b"\0"),  # magic
        (4, b"\xff"),  # longer
        (4, b"\0"),  # shorter
        (7, b"\x60"),  # the first part is a last one
    ):
        path.write_bytes(whole[: start + at] + value + whole[start + at + 1 :])
        with pytest.raises(RecordError, match=f"record 2 at byte {start}: ") as caught:
            file.read(2)
        assert (caught.value.record, caught.value.offset) == (2, start)
        assert file.record(3).id == 0


@pytest.mark.parametrize(("count", "start"), [(5, 1), (6, 0), (4, 0)])
def test_the_index_of_another_shard(tmp_path, count, start):
    path = write_records(tmp_path / "a.rec", payloads_of(5))
    other = write_records(tmp_path / "b.rec", payloads_of(count, start=start)).with_suffix(".idx")
    with pytest.raises(InputError, match=r"b\.idx.*give the index of this shard$"):
        RecordFile(path, other)
    other.replace(path.with_suffix(".idx"))
    with pytest.raises(InputError, match=r"a\.idx.*--rebuild-index .*a\.rec$"):
        RecordFile(path)


@pytest.mark.parametrize(
    "text", ["", "\n", "0\t0\nx\ty\n", "0\t0\n1\n", "0\n", "0\t0\t1\n", "0\t8\n", "0\t-8\n"]
)
def test_a_malformed_index(tmp_path, text):
    path = write_records(tmp_path / "a.rec", payloads_of(2))
    path.with_suffix(".idx").write_text(text)
    with pytest.raises(InputError, match=r"a\.idx.*--rebuild-index .*a\.rec"):
        RecordFile(path)


def test_missing_files(tmp_path):
    path = write_records(tmp_path / "a.rec", payloads_of(2))
    path.with_suffix(".idx").unlink()
    with pytest.raises(InputError, match=r"a\.idx is missing; .*--rebuild-index .*a\.rec"):
        RecordFile(path)
    with pytest.raises(InputError, match=r"other\.idx is missing; "):
        RecordFile(path, tmp_path / "other.idx")
    with pytest.raises(InputError, match=r"b\.rec: No such file.*run first"):
        RecordFile(tmp_path / "b.rec")
