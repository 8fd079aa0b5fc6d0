import re

import pytest

from imagenet_trainer import benchmark
from imagenet_trainer.benchmarks import reading
from imagenet_trainer.system import remote_file


def test_every_order_has_a_rate(monkeypatch, capsys):
    monkeypatch.setattr(reading, "_IMAGENET", 4001)
    reading.run(images=600, rounds=1, threads=2)
    output = capsys.readouterr().out
    assert "4,001 records in 8 shards" in output
    rates = re.findall(r"^(random|--shuffle|sequential).* ([\d,]+) +[\d,]+$", output, re.M)
    assert len(rates) == 5
    assert all(int(rate.replace(",", "")) > 0 for _, rate in rates)


def test_small_shards_are_complete(monkeypatch, tmp_path):
    monkeypatch.setattr(reading, "_IMAGENET", 50)
    with reading.Shards(reading._write_small(str(tmp_path))) as shards:
        assert shards.keys.tolist() == list(range(50))
        assert {bytes(shards.read(number)) for number in range(50)} == {bytes(48)}


def test_reading_from_a_storage_fetches_what_the_cache_does_not_hold(monkeypatch, capsys):
    pytest.importorskip("aiohttp")
    monkeypatch.setattr(reading, "IMAGE", 10_000)
    monkeypatch.setattr(remote_file, "BLOCK", 1 << 17)
    found = benchmark.call(kind="reading", latency=1, images=256)
    assert len(found) == 8 * 3
    fetched = {name: value for name, value in found.items() if name.endswith("_kilobytes")}
    assert fetched.pop("cache_larger_than_the_set_later_epochs_kilobytes") < 0.1
    half = [value for name, value in fetched.items() if "half" in name and "later" in name]
    assert len(half) == 2 and max(half) < 0.65 * 10 and max(fetched.values()) < 1.5 * 10
    assert "256 records of" in capsys.readouterr().out
