"""Balanced sampling: what an epoch holds, and that it stays a pure function of (seed, update)."""

import numpy as np
import pytest
from conftest import one_line_failure, words_of_fit
from helpers.fit_runs import assert_same, parameters, train_until

from imagenet_trainer import fit
from imagenet_trainer.config import FitSettings
from imagenet_trainer.data import philox
from imagenet_trainer.data.augment import TrainTransform
from imagenet_trainer.data.balance import Balance
from imagenet_trainer.data.order import Order

LABELS = np.random.default_rng(1).permutation(np.repeat([0, 1, 2, 4], [300, 60, 7, 1]))
IMAGES = np.arange(5, 5 + 3 * len(LABELS), 3)  # of a larger set
COUNTS = np.bincount(LABELS, minlength=6)
INVERSE = np.divide(1.0, COUNTS, out=np.zeros(6), where=COUNTS > 0)


def order(seed=0, batch=32, weights=INVERSE):
    return Order(
        seed, len(IMAGES), batch, subset=IMAGES, balance=Balance(seed, IMAGES, LABELS, weights)
    )


def label_of(images):
    return LABELS[(images - 5) // 3]


@pytest.mark.parametrize("power", [1, 0.5, 0])
def test_classes_have_their_shares_of_every_epoch(power):
    weights = np.where(COUNTS > 0, INVERSE**power, 0)
    share = weights * COUNTS / (weights * COUNTS).sum() * len(LABELS)
    balance = Balance(3, IMAGES, LABELS, weights)
    found = np.array([np.bincount(label_of(balance.visits(e)[0]), minlength=6) for e in range(200)])
    assert (found.sum(1) == len(LABELS)).all()
    assert abs(found - share).max() < 1
    assert abs(found.mean(0) - share).max() < 0.1  # rounded up as often as the share says


def test_images_of_a_class_take_turns():
    """Pass by pass over the epochs, as written down one class and one image at a time."""
    balance = Balance(7, IMAGES, LABELS, INVERSE)
    epochs = [balance.visits(epoch) for epoch in range(4)]
    images, passes = (np.concatenate(part) for part in zip(*epochs))
    for label in np.flatnonzero(COUNTS):
        own = IMAGES[label == LABELS]
        mine = label_of(images) == label
        expected = []
        for number in range(mine.sum() // len(own) + 1):
            draws = philox.uniform(7, np.full(len(own), number), own, 1, (1 << 31) + 3)[:, 0]
            expected += [(image, number) for image in own[np.argsort(draws)].tolist()]
        got = list(zip(images[mine].tolist(), passes[mine].tolist()))
        assert got == expected[: len(got)]


def test_the_batches_of_workers_and_of_resumed_runs():
    """The batch of an update does not depend on what was asked before, nor on the workers."""
    straight = order()
    batches = [straight.batch(update) for update in range(40)]
    for update in (39, 3, 17):
        fresh = order()
        parts = [fresh.batch(update, rank, 4) for rank in range(4)]
        for whole, split in zip(batches[update], zip(*parts)):
            assert np.array_equal(whole, np.concatenate(split))
    other = order(seed=1).batch(3)
    assert not np.array_equal(other[0], batches[3][0])
    # The requests to read ahead are the same images.
    ahead = np.concatenate(list(straight.reads(0, 40, 2)))
    read = np.concatenate([images for images, _ in batches])
    assert np.isin(read, ahead).all()


def test_every_visit_of_an_image_has_an_augmentation_of_its_own():
    """The only image of class 4 is visited 92 times an epoch."""
    one = IMAGES[LABELS == 4]
    straight = order()
    found = [straight.batch(update) for update in range(23)]  # two epochs
    images, visits = (np.concatenate(part) for part in zip(*found))
    mine = images == one
    assert mine.sum() > 150 and len(np.unique(visits[mine])) == mine.sum()
    drawn = TrainTransform(FitSettings(), (3, 32, 32), 0).draw(images[mine], visits[mine])
    assert len(set(drawn.left)) == mine.sum()


def test_a_resumed_training_is_the_uninterrupted_one(packed, tmp_path, capsys):
    weights = tmp_path / "weights.csv"
    weights.write_text("class,weight\nsquare,1\ncircle,3.5\n cross ,0.25\n")
    words = [*words_of_fit(packed), "--sample-weights", str(weights), "--minival", "6"]
    straight, resumed = (str(tmp_path / name / "model") for name in ("straight", "resumed"))
    assert fit.main([*words, "--model-prefix", straight]) == 0
    train_until(9, [*words, "--model-prefix", resumed, "--checkpoint-minutes", "1e-9"])
    assert fit.main([*words, "--model-prefix", resumed]) == 0
    assert_same(parameters(resumed, 2), parameters(straight, 2))
    weights.write_text("class,weight\nsquare,1\ncircle,3.5\ncross,0.5\n")
    refused = one_line_failure(fit.main, "fit", capsys)
    assert "other weights than those" in refused(*words, "--model-prefix", resumed)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("circle,1\ncross,1\nsqare,1\n", "line 3: 'sqare' is not a class"),
        ("circle,1\ncross,1\n", "has no weight of 1 of the 3 classes, the first is square"),
        ("circle,1\ncircle,1\n", "line 2: gives circle a second weight"),
        ("circle,0\n", "line 1: '0' is not a weight"),
        ("circle,nan\n", "line 1: 'nan' is not a weight"),
        ("circle 1\n", "line 1: is not `class,weight`"),
        (f"{'x' * 200_000},1\n", "is no CSV file"),
    ],
)
def test_files_of_weights_that_are_refused(packed, tmp_path, capsys, text, message):
    path = tmp_path / "w.csv"
    path.write_text(text)
    words = [*words_of_fit(packed), "--model-prefix", str(tmp_path / "m")]
    refused = one_line_failure(fit.main, "fit", capsys)
    found = refused(*words, "--sample-weights", str(path))
    assert found.startswith(f"--sample-weights {path}: ") and message in found
    assert "--shuffle-window 8: " in refused(
        *words, "--sample-weights", "sqrt", "--shuffle-window", "8"
    )


def test_weights_in_the_loss(packed, tmp_path, capsys):
    """They change the update, are scaled to a mean of 1, and must stay the same."""
    weights = tmp_path / "weights.csv"
    words = [*words_of_fit(packed), "--num-epochs", "1"]
    prefixes = {}
    for name, text in (("equal", "2,2,2"), ("other", "1,2,4")):
        a, b, c = text.split(",")
        weights.write_text(f"circle,{a}\ncross,{b}\nsquare,{c}\n")
        prefixes[name] = str(tmp_path / name / "model")
        more = ["--class-weights", str(weights), "--model-prefix", prefixes[name]]
        assert fit.main([*words, *more]) == 0
    plain = str(tmp_path / "plain" / "model")
    assert fit.main([*words, "--model-prefix", plain]) == 0
    found = {name: parameters(prefix, 1)["arg:fc1_bias"] for name, prefix in prefixes.items()}
    expected = parameters(plain, 1)["arg:fc1_bias"]
    np.testing.assert_allclose(found["equal"], expected, atol=1e-4)
    assert abs(found["other"] - expected).max() > 1e-3
    refused = one_line_failure(fit.main, "fit", capsys)
    more = ["--class-weights", str(weights), "--model-prefix", prefixes["other"]]
    assert "--bce-loss" in refused(*words, *more, "--bce-loss", "1", "--model-prefix", plain + "2")
    weights.write_text("circle,1\ncross,2\nsquare,5\n")
    assert "other weights than those" in refused(*words, *more)


def test_the_visits_are_those_of_all_versions():
    labels = np.repeat([0, 1, 2, 3], [9, 4, 3, 2])
    balance = Balance(3, np.arange(18), labels, np.array([1, 1.7, 2.9, 3.1]))
    images, passes = balance.visits(1)
    assert images.tolist() == [8, 3, 6, 1, 4, 12, 9, 11, 10, 15, 14, 13, 15, 13, 17, 16, 17, 16]
    assert passes.tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 2, 2, 2, 3, 2, 2, 3, 3]
    counts = [np.bincount(labels[balance.visits(epoch)[0]]).tolist() for epoch in range(2, 6)]
    assert counts == [[5, 4, 6, 3], [6, 4, 5, 3], [6, 4, 5, 3], [5, 4, 5, 4]]
