import numpy as np
import pytest

from imagenet_trainer.data.philox import between, normal, philox4x32, uniform

# Random123's kat_vectors, philox4x32 with 10 rounds: counter, key, result.
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000",
     "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff",
     "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0",
     "d16cfe09 94fdcceb 5001e420 24126ea1"),
]  # fmt: skip


def parsed(text):
    return np.array([int(word, 16) for word in text.split()], np.uint64)


@pytest.mark.parametrize("counter, key, result", KNOWN)
def test_philox_gives_the_published_vectors(counter, key, result):
    assert np.array_equal(philox4x32(parsed(counter), parsed(key)), parsed(result))
    batch = philox4x32(np.tile(parsed(counter), (3, 2, 1)), parsed(key))
    assert np.array_equal(batch, np.tile(parsed(result), (3, 2, 1)))


def test_uniform_never_changes():
    # These numbers determine the augmentation of every run.
    first = uniform(2**63 - 1, np.array([0, 7]), np.array([5, 2**33 + 1]), 5)
    assert first.tolist() == [
        [0.7873709248378873, 0.6168352365493774, 0.5132552583236247, 0.1141830871347338,
         0.24127595336176455],
        [0.3799961800687015, 0.07803735113702714, 0.1004852659534663, 0.3018177605699748,
         0.6929380893707275],
    ]  # fmt: skip


def test_numbers_of_an_image_do_not_depend_on_the_batch():
    images = np.array([3, 900, 17, 4, 2**40])
    epochs = np.array([1, 1, 1, 2, 2])
    together = uniform(9, epochs, images, 11)
    for row, epoch, image in zip(together, epochs, images):
        assert np.array_equal(uniform(9, epoch, image, 11)[0], row)
    assert np.array_equal(uniform(9, epochs, images, 3), together[:, :3])


def test_numbers_depend_on_seed_epoch_and_image():
    seen = {
        tuple(uniform(seed, epoch, image, 4)[0])
        for seed in (0, 1, 2**32, 2**63 - 1)
        for epoch in (0, 1, 2**31)
        for image in (0, 1, 2**32, 2**32 + 1)
    }
    assert len(seen) == 4 * 3 * 4


def test_uniform_is_uniform_and_its_columns_independent():
    draws = uniform(0, 0, np.arange(50_000), 6)
    assert draws.min() >= 0 and draws.max() < 1
    counts = np.stack([np.histogram(column, 20, (0, 1))[0] for column in draws.T])
    chi_squared = ((counts - 2500) ** 2 / 2500).sum(axis=1)
    assert chi_squared.max() < 43.8  # 0.1 % of 19 degrees of freedom
    correlation = np.corrcoef(draws.T) - np.eye(6)
    assert np.abs(correlation).max() < 4 / np.sqrt(50_000)


def test_a_range_of_uniform_numbers():
    np.testing.assert_allclose(between(2, 5, np.array([0, 0.25, 1])), [2, 2.75, 5])


def test_normal_is_standard_normal():
    draws = normal(uniform(1, 0, np.arange(50_000), 4))
    assert draws.shape == (50_000, 4)
    assert np.abs(draws.mean(axis=0)).max() < 4 / np.sqrt(50_000)
    assert np.abs(draws.std(axis=0) - 1).max() < 0.015
    for limit, share in ((1, 0.6827), (2, 0.9545), (3, 0.9973)):
        assert (np.abs(draws) < limit).mean() == pytest.approx(share, abs=0.003)
    assert np.abs(np.corrcoef(draws.T) - np.eye(4)).max() < 4 / np.sqrt(50_000)


def test_normal_is_finite_for_the_smallest_and_largest_numbers():
    assert np.isfinite(normal(np.array([[0.0, 0.0], [1 - 2.0**-32, 1 - 2.0**-32]]))).all()
