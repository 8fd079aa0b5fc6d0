from dataclasses import replace

import pytest
from conftest import one_line_failure

from imagenet_trainer import benchmark
from imagenet_trainer.benchmarks import bottleneck, checkpoint
from imagenet_trainer.config import BottleneckSettings
from imagenet_trainer.train.datasets import open_training_set
from imagenet_trainer.train.setup import start_of


@pytest.fixture
def settings(packed, monkeypatch):
    # As few repetitions as there can be.
    for name in ("_ROUNDS", "_LEAST", "_AHEAD", "_WARM"):
        monkeypatch.setattr(bottleneck, name, 1)
    return BottleneckSettings(
        network="resnet", num_layers=8, image_shape=(3, 16, 16), batch_size=8,
        data_train=str(packed / "train.rec"), seconds=0.01,
    )  # fmt: skip


def test_each_stage_is_measured(settings):
    found = bottleneck.measure(start_of(settings), open_training_set(settings), 0.05)
    assert (found.batch_size, found.threads, found.gpus, found.crop_side) == (8, 1, 0, 16)
    assert found.short_side == 20  # of all images in the set
    for seconds in (found.read, found.decode, found.augment, *found.stages.values()):
        assert 0 < seconds < 1
    assert found.half_batch > 0 and 0 <= found.wait_share <= 1
    assert min(found.data_rate, found.network_rate, found.together_rate) > 0


@pytest.mark.parametrize(
    "odd", [{"batch_size": 5}, {"batch_size": 6, "cpus": 2}, {"batch_size": 6, "accumulate": 2}]
)
def test_a_batch_that_cannot_be_halved(settings, odd):
    assert bottleneck._half_batch(start_of(replace(settings, **odd)), None, 3, 0.01) is None


def test_mixed_batches_are_measured_too(settings):
    mixed = start_of(replace(settings, mixup=0.2, accumulate=2))
    found = bottleneck.measure(mixed, open_training_set(mixed.settings), 0.05)
    assert found.together_rate > 0 and found.half_batch > 0


def test_the_command(settings, capsys):
    words = ["bottleneck", "--network", "resnet8", "--image-shape", "3,16,16", "--batch-size", "8"]
    words += ["--data-train", settings.data_train, "--seconds", "0.1"]
    assert benchmark.main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("resnet-8 on the CPU in float32, batch 8; ")
    names = {line.split(",")[0].split("  ")[0] for line in lines}
    assert {"read", "decode", "augment", "copy", "compute", "metric", "update"} <= names
    assert any(line.startswith("- ") for line in lines)


def test_mistakes(settings, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fails = one_line_failure(benchmark.main, "benchmark bottleneck", capsys)
    assert "--data-train data/train.rec" in fails("bottleneck")
    assert "resnet50" in fails("bottleneck", "--network", "resnet5", "--data-train",
                               settings.data_train)  # fmt: skip
    assert "--decode gpu: bottleneck measures" in fails("bottleneck", "--decode", "gpu")
    with pytest.raises(SystemExit):
        benchmark.main(["bottleneck", "--rounds", "3"])
    assert "--rounds: no such flag" in capsys.readouterr().err
    behind = one_line_failure(benchmark.main, "benchmark", capsys)
    assert "bottleneck: stands before all flags" in behind("--rounds", "3", "bottleneck")


def test_what_a_checkpoint_costs(monkeypatch, capsys):
    monkeypatch.setattr(checkpoint, "_NETWORKS", ("squeezenet1.1",))
    checkpoint.run(1)
    line = capsys.readouterr().out.splitlines()[1]
    name, size, fetch, write, _, share = line.split()[:6]
    # Parameters and momentum of 1,235,496 floats.
    assert name == "squeezenet1.1" and float(size) == pytest.approx(9.9, abs=0.3)
    spent = float(fetch) + float(write)
    assert float(share.rstrip("%")) == pytest.approx(100 * spent / 60, abs=0.02)
