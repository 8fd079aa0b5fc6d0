import numpy as np
import pytest
from scipy import stats

from imagenet_trainer.config import FitSettings
from imagenet_trainer.data import philox
from imagenet_trainer.data.augment import TrainTransform
from imagenet_trainer.data.loader import Threads, Worker, training_batches
from imagenet_trainer.data.mixup import Mixup, partners
from imagenet_trainer.data.order import Order
from imagenet_trainer.errors import InputError
from imagenet_trainer.train.datasets import open_training_set


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_shares_have_the_beta_distribution(alpha):
    shares = Mixup(alpha, 7).shares(np.arange(20_000), np.zeros(20_000, np.int64))
    assert shares.dtype == np.float32 and shares.min() >= 0 and shares.max() <= 1
    # 0.012 is rare for 20,000 numbers. With 0.2, float32 rounds one of sixty shares to 1.
    limit = 0.02 if alpha < 1 else 0.012
    assert stats.kstest(shares, stats.beta(alpha, alpha).cdf).statistic < limit


def test_a_share_depends_only_on_seed_epoch_and_image():
    images, epochs = np.arange(1000), np.arange(1000) % 3
    whole = Mixup(0.4, 5).shares(images, epochs)
    some = np.array([917, 3, 500])
    np.testing.assert_array_equal(Mixup(0.4, 5).shares(images[some], epochs[some]), whole[some])
    assert (Mixup(0.4, 6).shares(images, epochs) != whole).mean() > 0.9
    assert (Mixup(0.4, 5).shares(images, epochs + 1) != whole).mean() > 0.9


def test_shares_are_independent_of_augmentation():
    images = np.arange(5000)
    shares = Mixup(1.0, 5).shares(images, np.zeros_like(images))  # alpha 1: uniform
    draws = philox.uniform(5, np.zeros_like(images), images, 36)
    assert np.abs(np.corrcoef(shares, draws.T)[0, 1:]).max() < 0.06


def test_pairs_are_mixed_as_in_numpy():
    random = np.random.RandomState(0)
    images = random.randint(0, 256, (6, 5, 7, 3)).astype(np.uint8)
    shares = np.array([0.25, 0.75, 1, 0, 0.5, 0.123], np.float32)
    mixed = images.copy()
    Mixup.mix(mixed, shares)
    for i, share in enumerate(shares.astype(np.float64)):
        expected = share * images[i] + (1 - share) * images[i ^ 1]
        assert np.abs(mixed[i] - expected).max() <= 0.5 + 1e-4
    np.testing.assert_array_equal(mixed[2], images[2])
    np.testing.assert_array_equal(mixed[3], images[2])


def test_rectangles_have_the_shares_of_cutmix():
    count, size = 20_000, (200, 300)
    images, epochs = np.arange(count), np.zeros(count, np.int64)
    drawn = Mixup(0.0, 7, 1.0).draw(images, epochs, size)
    cuts = np.array(drawn.cuts)
    left, top, wide, high = cuts.T
    assert (left >= 0).all() and (left + wide <= 300).all() and (top + high <= 200).all()
    np.testing.assert_allclose(drawn.shares, 1 - wide * high / 60_000, rtol=1e-6)
    # With alpha 1 the area before it is limited to the image is uniform; the sides that were not
    # limited have its square root.
    inside = (left > 0) & (top > 0) & (left + wide < 300) & (top + high < 200)
    assert np.abs(wide[inside] / 300 - high[inside] / 200).max() < 0.011
    reference = np.random.default_rng(0)
    ratio = np.sqrt(1 - reference.beta(1, 1, count))
    sides = [(side, reference.integers(0, side, count), (side * ratio).astype(int) // 2)
             for side in (300, 200)]  # fmt: skip
    wanted = np.prod([np.minimum(c + h, s) - np.maximum(c - h, 0) for s, c, h in sides], axis=0)
    assert stats.ks_2samp(wide * high, wanted).statistic < 0.02


def test_each_image_is_cut_or_blended():
    count = 20_000
    images, epochs = np.arange(count), np.zeros(count, np.int64)
    both = Mixup(0.4, 7, 1.0, 0.3).draw(images, epochs, (40, 50))
    cut = np.array([one is not None for one in both.cuts])
    assert cut.mean() == pytest.approx(0.3, abs=0.015)
    blended = Mixup(0.4, 7).shares(images, epochs)
    np.testing.assert_array_equal(both.shares[~cut], blended[~cut])
    assert np.abs(np.corrcoef(both.shares[cut], blended[cut])[0, 1]) < 0.05
    some = np.array([917, 3, 500])
    again = Mixup(0.4, 7, 1.0, 0.3).draw(some, np.zeros(3, np.int64), (40, 50))
    assert again.cuts == [both.cuts[i] for i in some]


def test_pairs_are_cut_as_in_numpy():
    images = np.random.RandomState(0).randint(0, 256, (4, 5, 7, 3)).astype(np.uint8)
    shares = np.array([1 - 6 / 35, 0.25, 0.5, 1], np.float32)
    mixed, cuts = images.copy(), [(1, 2, 3, 2), None, None, (0, 0, 0, 0)]
    Mixup.mix(mixed, shares, cuts)
    wanted = images[0].copy()
    wanted[2:4, 1:4] = images[1][2:4, 1:4]
    np.testing.assert_array_equal(mixed[0], wanted)
    assert np.abs(mixed[1] - (0.25 * images[1] + 0.75 * images[0])).max() <= 0.5 + 1e-4
    assert np.abs(mixed[2] - (0.5 * images[2] + 0.5 * images[3])).max() <= 0.5 + 1e-4
    np.testing.assert_array_equal(mixed[3], images[3])


def test_partners_are_neighbours():
    assert partners(np.array([5, 6, 7, 8])).tolist() == [6, 5, 8, 7]


# --- in the loader -------------------------------------------------------------------------------


@pytest.fixture
def batches_of(packed):
    settings = FitSettings(data_train=str(packed / "train.rec"), image_shape=(3, 16, 16))

    def some(mixup, batch=10, rank=0, world=1, threads=1, first=4, last=9):
        train = open_training_set(settings)
        order = Order(3, len(train), batch)
        transform = TrainTransform(settings, (3, 16, 16), 3)
        with training_batches(
            train.shards,
            order,
            transform,
            3,
            range(first, last),
            Worker(rank, world),
            Threads(threads),
            mixup,
        ) as loader:
            return [
                (b.images.copy(), b.labels.copy(), b.indices.copy(), b.mix) for b in loader
            ]  # fmt: skip

    return some


def test_a_mixed_batch(batches_of):
    plain, mixed = batches_of(None), batches_of(Mixup(0.4, 3))
    assert len(plain) == 5
    for number, ((images, labels, indices, none), (result, same, _, mix)) in enumerate(
        zip(plain, mixed)
    ):
        # Updates 4 and 5, of ten images each, are in the first epoch of sixty images.
        epochs = np.full(10, (4 + number) // 6)
        shares = Mixup(0.4, 3).shares(indices, epochs)
        assert none is None
        np.testing.assert_array_equal(labels, same)
        np.testing.assert_array_equal(mix[0], labels[np.arange(10) ^ 1])
        np.testing.assert_array_equal(mix[1], shares)
        Mixup.mix(images, shares)
        np.testing.assert_array_equal(result, images)


def test_mixing_does_not_depend_on_threads_or_workers(batches_of):
    mixup = Mixup(0.4, 3)
    one = batches_of(mixup, batch=12)
    many = batches_of(mixup, batch=12, threads=3)
    parts = [batches_of(mixup, batch=12, rank=rank, world=2) for rank in range(2)]
    for number, (images, labels, _, mix) in enumerate(one):
        assert (many[number][0] == images).all() and (many[number][3][1] == mix[1]).all()
        for field, whole in ((0, images), (1, labels)):
            joined = np.concatenate([part[number][field] for part in parts])
            np.testing.assert_array_equal(joined, whole)
        for field in range(2):
            joined = np.concatenate([part[number][3][field] for part in parts])
            np.testing.assert_array_equal(joined, mix[field])


def test_an_odd_number_of_images_for_a_worker(batches_of):
    with pytest.raises(InputError, match=r"batch_size 9: mixup.*multiple of 2"):
        batches_of(Mixup(0.4, 3), batch=9)
    with pytest.raises(InputError, match=r"batch_size 10: .* 5 images of a worker.*multiple of 4"):
        batches_of(Mixup(0.4, 3), batch=10, world=2)
    batches_of(None, batch=9)
