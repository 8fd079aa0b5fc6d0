import io

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from imagenet_trainer import fit
from imagenet_trainer.errors import InputError
from imagenet_trainer.runs.checkpoint import read_arrays
from imagenet_trainer.runs.run import Run
from imagenet_trainer.train import confusion_gif
from imagenet_trainer.train.confusion_gif import ConfusionGif
from imagenet_trainer.viz.confusion import draw, draw_gif


def probabilities(seed, images=12, classes=7):
    values = np.random.default_rng(seed).random((images, classes), np.float32)
    return values / values.sum(axis=1, keepdims=True)


def grow(gif, epoch, seed):
    gif.begin()
    answers, labels = probabilities(seed), np.arange(12) % 7
    for part in (slice(0, 5), slice(5, 12)):  # in batches of any size
        gif.count(answers[part], labels[part])
    gif.draw(epoch, seed / 10)
    return gif.counts.copy()


def test_it_is_the_gif_of_all_epochs_so_far(tmp_path):
    run = Run(str(tmp_path / "model"))
    gif = ConfusionGif(run, 7)
    frames = [(epoch, grow(gif, epoch, epoch), epoch / 10) for epoch in (1, 2, 3)]
    assert all(matrix.sum() == 12 * 5 for _, matrix, _ in frames)
    draw_gif(tmp_path / "wanted.gif", frames)
    assert run.training_gif_path.read_bytes() == (tmp_path / "wanted.gif").read_bytes()


def test_later_epochs_and_damaged_matrices_are_skipped(tmp_path):
    run = Run(str(tmp_path / "model"))
    gif = ConfusionGif(run, 7)
    for epoch in (1, 2, 3):
        grow(gif, epoch, epoch)
    run.confusion_path(1, ".fit.npz").write_bytes(b"damaged")
    first = grow(ConfusionGif(run, 7), 2, 9)
    draw_gif(tmp_path / "wanted.gif", [(2, first, 0.9)])
    assert run.training_gif_path.read_bytes() == (tmp_path / "wanted.gif").read_bytes()


@pytest.fixture
def words(fit_words):
    return [*fit_words, "--confusion-gif"]


def test_a_resumed_training_ends_with_the_same_gif(words, tmp_path, monkeypatch, capsys):
    def train(name, *more):
        assert fit.main([*words, "--model-prefix", str(tmp_path / name / "model"), *more]) == 0
        return Run(str(tmp_path / name / "model"))

    def fails_once(path, arrays):
        monkeypatch.undo()
        raise InputError(f"{path}: No space left on device") from OSError(28, "full")

    straight = train("straight", "--num-epochs", "2")
    monkeypatch.setattr(confusion_gif, "write_arrays", fails_once)
    train("resumed", "--num-epochs", "1")
    assert "No space left on device; trying again" in capsys.readouterr().err
    resumed = train("resumed", "--num-epochs", "2")
    assert resumed.training_gif_path.read_bytes() == straight.training_gif_path.read_bytes()
    with Image.open(straight.training_gif_path) as gif:
        assert gif.n_frames == 2
    images = EventAccumulator(str(resumed.tensorboard_path), {"images": 0}).Reload()
    shown = images.Images("validation/confusion")
    epoch = 60 // 8  # updates; the rest of the images opens the next epoch
    assert len(shown) == 2 and abs(shown[1].step - 2 * epoch) <= 1
    with Image.open(io.BytesIO(shown[1].encoded_image_string)) as image:
        wanted = draw(read_arrays(resumed.confusion_path(2, ".fit.npz"))["matrix"])
        np.testing.assert_array_equal(np.array(image), np.array(wanted))
    kept = read_arrays(straight.confusion_path(2, ".fit.npz"))
    # 15 images, five of each class; of three classes the first prediction counts alone.
    history = straight.read_history()
    assert (kept["matrix"].sum(axis=1) == 5).all()
    assert np.trace(kept["matrix"]) == round(15 * float(history[1]["val_rank1"]))
    assert float(kept["rank1"]) == float(history[1]["val_rank1"])
