import os

import numpy as np
import pytest
from conftest import write_records

from imagenet_trainer.data.records.read_ahead import will_need
from imagenet_trainer.data.records.shards import Shards

PIECE = 128 << 10


@pytest.fixture
def advice(monkeypatch):
    """Calls of posix_fadvise: (descriptor, offset, length)."""
    calls = []

    def record(descriptor, offset, length, kind):
        assert kind == os.POSIX_FADV_WILLNEED
        calls.append((descriptor, offset, length))

    monkeypatch.setattr(os, "posix_fadvise", record, raising=False)
    monkeypatch.setattr(os, "POSIX_FADV_WILLNEED", 3, raising=False)
    return calls


def test_adjacent_ranges_are_joined(advice):
    will_need(7, np.array([400, 100, 0, 900]), np.array([500, 400, 50, 1000]))
    assert advice == [(7, 0, 50), (7, 100, 400), (7, 900, 100)]


def test_repeated_ranges_are_requested_once(advice):
    will_need(7, np.array([10, 10, 10]), np.array([20, 20, 20]))
    assert advice == [(7, 10, 10)]


def test_long_ranges_are_requested_in_pieces_that_linux_accepts(advice):
    will_need(1, np.array([5]), np.array([5 + 2 * PIECE + 1]))
    assert advice == [(1, 5, PIECE), (1, 5 + PIECE, PIECE), (1, 5 + 2 * PIECE, 1)]


def test_no_ranges(advice):
    will_need(1, np.array([], np.int64), np.array([], np.int64))
    assert advice == []


def test_errors_and_missing_support_are_ignored(monkeypatch):
    one = np.array([0]), np.array([10])
    will_need(-1, *one)  # no such descriptor
    monkeypatch.delattr(os, "posix_fadvise", raising=False)
    will_need(-1, *one)


def test_records_of_several_shards(tmp_path, advice):
    payloads = [bytes(24)] * 5  # 32 bytes a record
    paths = [write_records(tmp_path / f"{number}.rec", payloads) for number in range(2)]
    with Shards(paths) as shards:
        shards.will_need(np.array([9, 3, 2, 5]))
        first, second = (file._file.descriptor for file in shards.files)
        assert advice == [(first, 64, 64), (second, 0, 32), (second, 128, 32)]
        advice.clear()
        shards.will_need(np.array([], np.int64))
        assert advice == []


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="needs posix_fadvise")
def test_reading_after_the_advice(tmp_path):
    payloads = [bytes([key]) * 5000 for key in range(50)]
    with Shards([write_records(tmp_path / "a.rec", payloads)]) as shards:
        shards.will_need(np.arange(0, 50, 3))
        assert [bytes(shards.read(n)) for n in range(50)] == payloads
