import re

from imagenet_trainer.benchmarks import reading


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
