import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagenet_trainer.data.order import (
    BLOCKS_IN_WINDOW,
    Order,
    permutation,
    share_of,
    subset,
    updates_before,
)
from imagenet_trainer.errors import InputError


def test_permutations_never_change():
    # They determine the images of every run; they must be the same with every version of NumPy.
    assert permutation(0, 0, 12).tolist() == [0, 2, 11, 9, 1, 8, 5, 4, 3, 10, 6, 7]
    assert permutation(2**63 - 1, 7, 12).tolist() == [10, 6, 9, 2, 3, 1, 7, 4, 5, 11, 8, 0]
    assert permutation(3, 1, 1000)[:8].tolist() == [681, 462, 998, 967, 427, 504, 716, 47]


def test_a_permutation_is_the_stable_sort_of_raw_words():
    raw = np.random.Philox(key=np.array([5, 2], np.uint64)).random_raw(50)
    assert permutation(5, 2, 50).tolist() == sorted(range(50), key=lambda i: raw[i])


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 5))
def test_every_image_comes_once_in_an_epoch(images, batch, seed):
    batch = min(images, batch)
    order = Order(seed, images, batch)
    updates = updates_before(4, images, batch)
    parts = [order.batch(update) for update in range(updates + 1)]
    visited, epochs = (np.concatenate(part) for part in zip(*parts))
    for epoch in range(4):
        assert np.array_equal(visited[epochs == epoch], permutation(seed, epoch, images))
    assert (np.diff(epochs) >= 0).all()


@given(st.integers(0, 20), st.integers(1, 2_000_000), st.integers(1, 5000))
def test_epochs_are_ranges_of_updates(epoch, images, batch):
    first, last = updates_before(epoch, images, batch), updates_before(epoch + 1, images, batch)
    # The last update of an epoch ends at the epoch's end or less than a batch before it.
    assert 0 <= (epoch + 1) * images - last * batch < batch
    assert first <= last


@pytest.mark.parametrize("world", [1, 2])
def test_repeated_images_have_different_augmentations(world):
    order, shorter = Order(3, 31, 12, repeats=3), Order(3, 31, 4)
    seen = []
    for update in range(24):
        parts = [order.batch(update, rank, world) for rank in range(world)]
        images, visits = (np.concatenate(part) for part in zip(*parts))
        once, epochs = shorter.batch(update)
        np.testing.assert_array_equal(images, np.tile(once, 3))
        np.testing.assert_array_equal(visits, np.concatenate([3 * epochs + k for k in range(3)]))
        assert (images[::2] != images[1::2]).all()  # pairs that mixup mixes
        seen += zip(images, visits)
    assert len(set(seen)) == len(seen)
    reads = list(order.reads(0, 24, 2, 0, world))
    for update in range(20):
        wanted = set(order.batch(update, 0, world)[0])
        assert wanted <= {int(one) for read in reads[: update + 1] for one in read}


@given(st.integers(0, 400), st.sampled_from([1, 2, 3, 4, 6, 12]))
def test_workers_share_a_batch(update, world):
    whole, whole_epochs = Order(1, 31, 12).batch(update)
    order = Order(1, 31, 12)
    parts = [order.batch(update, rank, world) for rank in range(world)]
    assert np.array_equal(np.concatenate([part[0] for part in parts]), whole)
    assert np.array_equal(np.concatenate([part[1] for part in parts]), whole_epochs)
    assert whole.dtype == whole_epochs.dtype == np.int64


def test_updates_in_any_order():
    forward = Order(2, 50, 7)
    batches = [forward.batch(update) for update in range(40)]
    for update in (39, 3, 20, 20, 0, 7, 6):
        for array, expected in zip(Order(2, 50, 7).batch(update), batches[update]):
            assert np.array_equal(array, expected)
        assert np.array_equal(forward.batch(update)[0], batches[update][0])


def test_at_most_three_permutations_are_cached():
    order = Order(0, 10, 10)
    for update in range(20):
        order.batch(update)
    assert len(order._epochs) == 3


# --- windows -----------------------------------------------------------------------------------


def test_permutations_of_windows_never_change():
    assert permutation(0, 0, 12, 4).tolist() == [2, 0, 9, 11, 8, 1, 4, 5, 10, 3, 6, 7]
    assert permutation(3, 1, 1000, 128)[:8].tolist() == [94, 888, 479, 842, 714, 151, 61, 571]
    # Here the number of blocks in a window decides: 130 images are 64 blocks of at most three.
    assert permutation(3, 1, 1000, 130)[:8].tolist() == [821, 246, 855, 552, 885, 719, 597, 926]


@pytest.mark.parametrize("images", [1, 2, 3, 5, 9, 17, 33, 65, 1025])
def test_the_images_next_to_powers_of_two_are_all_there(images):
    assert sorted(permutation(5, 2, images).tolist()) == list(range(images))


@given(st.integers(1, 300), st.integers(0, 320), st.integers(0, 5))
def test_windows_have_every_image_once(images, window, epoch):
    order = permutation(7, epoch, images, window)
    assert np.array_equal(np.sort(order), np.arange(images))
    assert np.array_equal(order, permutation(7, epoch, images, window))


@pytest.mark.parametrize("window", [0, 500, 501])
def test_a_window_of_the_whole_dataset_changes_nothing(window):
    assert np.array_equal(permutation(1, 2, 500, window), permutation(1, 2, 500))
    order, plain = Order(1, 500, 100, window), Order(1, 500, 100)
    assert np.array_equal(order.batch(12)[0], plain.batch(12)[0])
    # Nothing is read ahead by windows: each batch is read when it is next.
    sizes = [[len(part) for part in one.reads(0, 4, 1)] for one in (order, plain)]
    assert sizes[0] == sizes[1]


def test_the_successors_of_an_image_are_all_others_from_the_next_on():
    assert list(Order(0, 5, 1).successors(3)) == [4, 0, 1, 2]
    chosen = np.array([2, 3, 7, 9])
    assert list(Order(0, 4, 1, subset=chosen).successors(3)) == [7, 9, 2]


@pytest.mark.parametrize("images, window", [(20_000, 1024), (20_011, 1000), (3000, 64)])
def test_a_window_is_read_in_few_ranges(images, window):
    order = permutation(4, 1, images, window)
    block = -(-window // BLOCKS_IN_WINDOW)
    for first in range(0, images, window):
        read = np.sort(order[first : first + window])
        ranges = np.split(read, np.flatnonzero(np.diff(read) > 1) + 1)
        assert len(ranges) <= BLOCKS_IN_WINDOW + 2
        # Only the first and the last block of a window may be cut.
        assert sum(len(one) < block for one in ranges) <= 3
        if len(read) == window:
            assert read[-1] - read[0] > images / 2  # they are from the whole dataset


def test_windows_are_mixed():
    # The position of an image in its window, and the images of a window, do not depend on the
    # order of the shards or on other epochs.
    images, window = 64_000, 640
    orders = [permutation(2, epoch, images, window) for epoch in (0, 1)]
    for order in orders:
        assert abs(np.corrcoef(order, np.arange(images))[0, 1]) < 0.05
        rows = order.reshape(-1, window)
        inside = rows.argsort(axis=1)
        assert abs(np.corrcoef(inside.ravel(), np.tile(np.arange(window), len(rows)))[0, 1]) < 0.02
    common = set(orders[0][:window].tolist()) & set(orders[1][:window].tolist())
    assert len(common) < window / 4


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 70), st.sampled_from([1, 2, 4]))
def test_windows_with_any_batch_size_and_workers(images, batch, window, world):
    batch = -(-min(images, batch) // world) * world
    images = max(images, batch)
    updates = updates_before(3, images, batch) + 1
    straight = [Order(5, images, batch, window).batch(update)[0] for update in range(updates)]
    visited = np.concatenate(straight)[: 3 * images].reshape(3, images)
    assert (np.sort(visited) == np.arange(images)).all()
    resumed = Order(5, images, batch, window)
    for update in range(updates // 2, updates):
        parts = [resumed.batch(update, rank, world)[0] for rank in range(world)]
        assert np.array_equal(np.concatenate(parts), straight[update])


# --- reading ahead -----------------------------------------------------------------------------


@given(
    st.integers(10, 90), st.integers(1, 5), st.integers(0, 100), st.integers(0, 12),
    st.integers(1, 4), st.sampled_from([1, 2]),
)  # fmt: skip
def test_every_image_is_read_ahead_before_it_is_used(images, share, window, first, ahead, world):
    order, batch = Order(3, images, share * world, window), share * world
    for rank in range(world):
        known, batches = [], [order.batch(u, rank, world)[0] for u in range(first + 40 + ahead)]
        for update, read in enumerate(order.reads(first, first + 40, ahead, rank, world), first):
            known += read.tolist()
            # What is known stays known, so later on only the last of these batches is new.
            for later in range(update if update == first else update + ahead, update + ahead + 1):
                assert set(batches[later].tolist()) <= set(known)
        # Only the images that this worker uses, each as often as it comes.
        end = first + 40 + ahead + -(-2 * max(window, 1) // batch) + images // batch + 2
        batches += [order.batch(u, rank, world)[0] for u in range(len(batches), end)]
        used = np.bincount(np.concatenate(batches), minlength=images)
        assert (used >= np.bincount(known, minlength=images)).all()


def test_windows_are_read_ahead_in_the_order_of_the_shards():
    images, window, batch = 10_000, 640, 32
    order = Order(0, images, batch, window)
    reads = list(order.reads(0, 200, 4))
    sizes = [len(read) for read in reads]
    assert sizes[0] == 2 * window
    assert set(sizes[1:]) == {0, window}
    for read in filter(len, reads[1:]):
        assert np.array_equal(read, np.unique(read))
        assert (np.diff(read) > 1).sum() <= BLOCKS_IN_WINDOW + 1
    # A window is requested one window before its first image is used, and not much earlier.
    update = next(u for u, read in enumerate(reads) if u and len(read))
    begin = sizes[0] - window  # the position where the second window begins
    assert begin - batch < update * batch <= begin
    # A run that is continued inside a window reads all of it, too: its images are neighbours.
    assert len(next(order.reads(30, 31, 4))) == 2 * window


def test_batches_that_cannot_be():
    with pytest.raises(InputError, match=r"batch_size 11: .* 10 images"):
        Order(0, 10, 11)
    with pytest.raises(InputError, match=r"batch_size 12: .* multiple of 5"):
        Order(0, 31, 12, repeats=5)
    with pytest.raises(InputError, match=r"batch_size 10: .* 3 workers; .* multiple of 3"):
        Order(0, 10, 10).batch(0, 0, 3)


@given(st.integers(1, 300), st.floats(0.01, 1), st.floats(0.01, 1), st.integers(0, 2**63 - 1))
def test_a_subset_contains_smaller_subsets(images, one, other, seed):
    small, large = sorted((one, other))
    parts = [subset(seed, share, images) for share in (small, large)]
    sets = [np.arange(images) if part is None else part for part in parts]
    assert [len(part) for part in sets] == [share_of(small, images), share_of(large, images)]
    assert all((np.diff(part) > 0).all() for part in sets)
    assert set(sets[0]) <= set(sets[1]) <= set(range(images))


def test_subsets_never_change():
    assert subset(0, 1.0, 50) is None
    assert share_of(0.001, 50) == 1
    # They determine the points of a learning curve.
    assert subset(0, 0.2, 30).tolist() == [3, 8, 11, 13, 15, 19]
    # All images are equally likely: about 1,000 of 10,000 in each tenth, deviation 30.
    tenths = np.bincount(subset(7, 0.1, 100_000) // 10_000, minlength=10)
    assert (abs(tenths - 1000) < 150).all()
    assert (subset(1, 0.1, 1000) != subset(2, 0.1, 1000)).any()


@pytest.mark.parametrize("window", [0, 4])
def test_an_order_of_a_subset(window):
    some = np.array([3, 4, 9, 20, 21, 22, 40, 41, 60])
    plain, ours = Order(5, 9, 4, window), Order(5, 9, 4, window, some)
    for update in range(6):
        (positions, epochs), (images, same) = plain.batch(update), ours.batch(update)
        assert np.array_equal(images, some[positions]) and np.array_equal(epochs, same)
    assert np.array_equal(next(ours.reads(0, 2, 1)), np.sort(some[next(plain.reads(0, 2, 1))]))
