import os
import zlib

import pytest
from conftest import payloads_of, write_records

from imagenet_trainer.data.records.record_file import RecordFile
from imagenet_trainer.data.records.record_writer import RecordWriter
from imagenet_trainer.errors import InputError


def test_writing_continues_after_what_is_kept(tmp_path):
    records = payloads_of(6)
    whole = write_records(tmp_path / "whole.rec", records)
    path = write_records(tmp_path / "a.rec", records[:3])
    lengths = (path.stat().st_size, path.with_suffix(".idx").stat().st_size)
    for torn in (path, path.with_suffix(".idx")):
        with open(torn, "ab") as file:
            file.write(b"half a record")
    with RecordWriter(path, path.with_suffix(".idx"), lengths) as writer:
        for key in (3, 4, 5):
            writer.write(key, records[key])
    assert path.read_bytes() == whole.read_bytes()
    assert path.with_suffix(".idx").read_bytes() == whole.with_suffix(".idx").read_bytes()
    with RecordWriter(tmp_path / "b.rec", tmp_path / "b.idx") as straight:
        for key, record in enumerate(records):
            straight.write(key, record)
    assert writer.sha256.digest() == straight.sha256.digest()
    assert writer.checksums == straight.checksums


def test_digests_are_of_the_bytes_on_the_disk(tmp_path):
    path = tmp_path / "a.rec"
    with RecordWriter(path, path.with_suffix(".idx")) as writer:
        for key, payload in enumerate(payloads_of(4)):
            writer.write(key, payload)
    file = RecordFile(path)
    assert writer.checksums.tolist() == [zlib.crc32(file.raw(record)) for record in range(4)]
    assert (writer.rec_bytes, writer.closed) == (path.stat().st_size, True)


def test_what_is_flushed_can_be_read_and_what_is_synced_is_on_the_disk(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file).st_ino))
    path, idx = tmp_path / "a.rec", tmp_path / "a.idx"
    with RecordWriter(path, idx) as writer:
        writer.write(0, b"a record")
        writer.flush()
        assert (path.stat().st_size, idx.read_bytes()) == (writer.rec_bytes, b"0\t0\n")
        assert not synced
        writer.sync()
        assert sorted(synced) == sorted(file.stat().st_ino for file in (path, idx))


def test_the_first_file_is_closed_if_the_second_cannot_be_opened(tmp_path):
    (tmp_path / "folder").mkdir()
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="folder") as error:
        RecordWriter(tmp_path / "a.rec", tmp_path / "folder")
    assert len(os.listdir("/proc/self/fd")) == before, error  # its traceback holds the writer


@pytest.mark.parametrize("which", [0, 1])
def test_a_file_shorter_than_what_is_kept(tmp_path, which):
    files = [write_records(tmp_path / "a.rec", payloads_of(3)), tmp_path / "a.idx"]
    lengths = [path.stat().st_size for path in files]
    os.truncate(files[which], lengths[which] - 4)  # of the index: the last of three lines
    with pytest.raises(InputError, match=rf"{files[which]}: shorter than {lengths[which]} bytes"):
        RecordWriter(*files, tuple(lengths))
    assert files[which].stat().st_size == lengths[which] - 4
