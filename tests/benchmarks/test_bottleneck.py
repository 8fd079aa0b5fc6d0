from dataclasses import replace

import pytest
from conftest import one_line_failure

from imagenet_trainer import benchmark
from imagenet_trainer.benchmarks import bottleneck, checkpoint
from imagenet_trainer.config import BottleneckSettings
from imagenet_trainer.errors import InputError
from imagenet_trainer.train.datasets import open_training_set
from imagenet_trainer.train.setup import training_setup


@pytest.fixture
def settings(packed, monkeypatch):
    # As few repetitions as possible.
    for name in ("_ROUNDS", "_LEAST", "_AHEAD", "_WARM"):
        monkeypatch.setattr(bottleneck, name, 1)
    return BottleneckSettings(
        network="resnet", num_layers=8, image_shape=(3, 16, 16), batch_size=8,
        data_train=str(packed / "train.rec"), seconds=0.01,
    )  # fmt: skip


@pytest.mark.parametrize(
    "odd", [{"batch_size": 5}, {"batch_size": 6, "cpus": 2}, {"batch_size": 6, "accumulate": 2}]
)
def test_a_batch_that_cannot_be_halved(settings, odd):
    assert bottleneck._half_batch(training_setup(replace(settings, **odd)), None, 3, 0.01) is None


def test_mixed_batches_are_measured_too(settings):
    mixed = training_setup(replace(settings, mixup=0.2, accumulate=2))
    result = bottleneck.measure(mixed, open_training_set(mixed.settings), 0.05)
    assert result.together_rate > 0 and result.half_batch > 0


def test_the_command(settings, capsys):
    words = ["bottleneck", "--network", "resnet8", "--image-shape", "3,16,16", "--batch-size", "8"]
    words += ["--data-train", settings.data_train, "--seconds", "0.1"]
    assert benchmark.main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("resnet-8 on the CPU in float32, batch 8; ")
    names = {line.split(",")[0].split("  ")[0] for line in lines}
    assert {"read", "decode", "augment", "copy", "compute", "metric", "update"} <= names
    assert any(line.startswith("- ") for line in lines)


def test_the_function_returns_what_it_prints(settings, capsys):
    flags = {name: getattr(settings, name) for name in ("network", "num_layers", "batch_size")}
    found = benchmark.bottleneck(
        **flags, image_shape=(3, 16, 16), data_train=settings.data_train, seconds=0.1
    )
    lines = capsys.readouterr().out.splitlines()
    profile = found.profile
    assert (profile.batch_size, profile.threads, profile.gpus, profile.crop_side) == (8, 1, 0, 16)
    assert profile.short_side == 20  # of all images in the dataset
    for seconds in (profile.read, profile.decode, profile.augment, *profile.stages.values()):
        assert 0 < seconds < 1
    assert profile.half_batch > 0 and 0 <= profile.wait_share <= 1
    assert min(profile.data_rate, profile.network_rate, profile.together_rate) > 0
    assert [found.verdict, *(f"- {one}" for one in found.advice)] == lines[-1 - len(found.advice) :]
    with pytest.raises(InputError, match="--no-such"):
        benchmark.bottleneck(no_such=1)


def test_errors_name_the_flag(settings, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fails = one_line_failure(benchmark.main, "benchmark bottleneck", capsys)
    assert "--data-train data/train.rec" in fails("bottleneck")
    assert "resnet50" in fails("bottleneck", "--network", "resnet5", "--data-train",
                               settings.data_train)  # fmt: skip
    assert "--decode gpu: " in fails("bottleneck", "--decode", "gpu")
    assert "0:160,5:224: " in fails("bottleneck", "--image-size-schedule", "0:160,5:224")
    with pytest.raises(SystemExit):
        benchmark.main(["bottleneck", "--rounds", "3"])
    assert "--rounds" in capsys.readouterr().err
    fails = one_line_failure(benchmark.main, "benchmark", capsys)
    assert "bottleneck: " in fails("--rounds", "3", "bottleneck")


def test_the_seconds_of_a_checkpoint(monkeypatch, capsys):
    monkeypatch.setattr(checkpoint, "_NETWORKS", ("squeezenet1.1",))
    checkpoint.run(1)
    line = capsys.readouterr().out.splitlines()[1]
    name, size, fetch, write, _, share = line.split()[:6]
    # Parameters and momentum of 1,235,496 floats.
    assert name == "squeezenet1.1" and float(size) == pytest.approx(9.9, abs=0.3)
    spent = float(fetch) + float(write)
    assert float(share.rstrip("%")) == pytest.approx(100 * spent / 60, abs=0.02)
