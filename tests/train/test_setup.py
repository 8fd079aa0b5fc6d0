"""Training and all previews build the same network from the same flags."""

import csv

import pytest
from conftest import words_of_fit

from imagenet_trainer import fit
from imagenet_trainer.benchmarks import bottleneck
from imagenet_trainer.config import FitSettings, flags
from imagenet_trainer.errors import InputError
from imagenet_trainer.train.datasets import open_training_set
from imagenet_trainer.train.setup import advice_messages, image_size_messages, training_setup


@pytest.fixture(scope="module")
def trained(packed, tmp_path_factory):
    """A run of ResNet-8 on 16 pixels, one epoch."""
    prefix = tmp_path_factory.mktemp("trained") / "model"
    words = [*words_of_fit(packed), "--num-epochs", "1", "--tensorboard", "0", "--batch-size", "6"]
    assert fit.main([*words, "--model-prefix", str(prefix)]) == 0
    return prefix


@pytest.fixture
def words(packed, trained, tmp_path, monkeypatch):
    """Flags of a fine-tuning that names neither network nor size of images."""
    monkeypatch.chdir(tmp_path)
    return [
        "--pretrained", f"{trained},1", "--data-train", str(packed / "train.rec"),
        "--data-val", str(packed / "val.rec"), "--batch-size", "6", "--random-resized-crop", "0",
    ]  # fmt: skip


def test_the_summary_is_of_the_pretrained_network(words, trained, capsys):
    assert fit.main([*words, "--summary"]) == 0
    output = capsys.readouterr().out
    assert f"the network of {trained}: 3 classes, images of 3 x 16 x 16" in output
    assert "77,654 learned" in output  # as of --network resnet --num-layers 8


def test_the_schedule_is_written_to_the_folder_of_the_run(words, tmp_path, capsys):
    assert fit.main([*words, "--show-schedule", "--num-epochs", "2"]) == 0
    (image,) = tmp_path.rglob("schedule.png")
    assert setup_of_words(words).run.folder.resolve() == image.parent
    assert image.parent.name.endswith("-tuned")


def setup_of_words(words):
    return training_setup(flags.parse(FitSettings, words, "fit", ""))


def test_the_range_test_starts_with_pretrained_parameters(words, tmp_path):
    assert fit.main([*words, "--find-lr", "3", "--freeze", "(?!fc1)"]) == 0
    (table,) = tmp_path.rglob("lr-range.csv")
    with open(table, newline="") as file:
        found = float(next(csv.DictReader(file))["loss"])
    # A training logs the same for its first update.
    prefix = tmp_path / "tuned" / "model"
    more = ["--freeze", "(?!fc1)", "--num-epochs", "1", "--disp-batches", "1", "--loss", "ce"]
    assert fit.main([*words, *more, "--lr", "1e-5", "--model-prefix", str(prefix)]) == 0
    lines = (prefix.parent / "log.txt").read_text().splitlines()
    first = next(line for line in lines if "Batch [0-1]" in line)
    assert float(first.split("cross-entropy=")[1].split()[0]) == pytest.approx(found, abs=1e-5)


def test_the_bottleneck_is_measured_on_the_pretrained_network(words, monkeypatch):
    for name in ("_ROUNDS", "_LEAST", "_AHEAD", "_WARM"):
        monkeypatch.setattr(bottleneck, name, 1)
    start = setup_of_words(words)
    found = bottleneck.measure(start, open_training_set(start.settings), 0.02)
    assert found.crop_side == 16


def test_zero_last_gamma_excludes_pretrained(words):
    with pytest.raises(InputError, match="--zero-last-gamma and --pretrained: "):
        setup_of_words([*words, "--zero-last-gamma", "1"])


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (["--summary", "--find-lr", "5"], "--find-lr and --summary: "),
        (["--show-schedule", "--test-io", "1"], "--show-schedule and --test-io: "),
        (["--find-batch", "--benchmark", "1"], "--find-batch and --benchmark: "),
        (["--recipe", "list", "--summary"], "--recipe list and --summary: "),
    ],
)
def test_one_preview_at_a_time(more, expected, capsys):
    assert fit.main(more) == 2
    line = capsys.readouterr().err
    assert expected in line and line.count("\n") == 1


def test_fine_tuning_is_recommended_for_few_images_of_the_usual_size():
    setup = training_setup(FitSettings(network="resnet", image_shape=(3, 224, 224)))
    (line,) = advice_messages(setup, 600)
    assert "600" in line and "published" in line and "--pretrained" in line
    assert not advice_messages(setup, 10_000)
    small = training_setup(FitSettings(network="resnet", image_shape=(3, 28, 28), num_layers=20))
    assert not advice_messages(small, 600)


@pytest.mark.parametrize(
    ("network", "more", "size"),
    [
        ("inception-v3", {}, "3,299,299"),
        ("one-stage-cnn", {}, "3,64,64"),
        ("gluoncv/cifar_resnet20_v1", {}, "3,32,32"),
        ("inception-v3", {"image_shape": (3, 75, 75)}, None),
        ("resnet", {}, None),
    ],
)
def test_another_image_size_than_published_is_logged(network, more, size):
    found = image_size_messages(training_setup(FitSettings(network=network, **more)))
    assert [f"--image-shape {size} " in note for note in found] == [True] * bool(size)
