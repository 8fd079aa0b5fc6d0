import re

import pytest

from imagenet_trainer.benchmarks import storage_bounds as storage
from imagenet_trainer.benchmarks import storage_reading as reading


def test_the_benchmark_says_what_it_measured(monkeypatch, capsys):
    monkeypatch.setattr(reading, "_IMAGENET", 4001)
    reading.run(images=600, rounds=1, threads=2)
    said = capsys.readouterr().out
    assert "4,001 records in 8 shards" in said
    rates = re.findall(r"^(random|--shuffle|from first).* ([\d,]+) +[\d,]+$", said, re.M)
    assert len(rates) == 5
    assert all(int(rate.replace(",", "")) > 0 for _, rate in rates)


def test_small_shards_are_whole_ones(monkeypatch, tmp_path):
    monkeypatch.setattr(reading, "_IMAGENET", 50)
    with reading.Shards(reading._write_small(str(tmp_path))) as shards:
        assert shards.keys.tolist() == list(range(50))
        assert {bytes(shards.read(number)) for number in range(50)} == {bytes(48)}


def test_storage_rates():
    # A disk that takes 10 ms for an access and 1 ms for an image.
    assert storage.rate(10e-3, 100e6, 1e5) == pytest.approx(1 / 11e-3)
    assert storage.rate(10e-3, 100e6, 1e5, 90) == pytest.approx(900)
    # With ever longer stretches only the throughput counts.
    assert storage.rate(10e-3, 100e6, 1e5, 1e9) == pytest.approx(1000)


def test_the_table_has_every_storage(capsys):
    storage.print_table(140e9, 1_281_167)
    said = capsys.readouterr().out
    for one in storage.STORAGES:
        row = next(line for line in said.splitlines() if line.startswith(one.name))
        rates = [int(word.replace(",", "")) for word in re.findall(r" ([\d,]+)(?= |$)", row)[-5:]]
        assert rates == sorted(rates)
    assert "1.8 GB" in said
