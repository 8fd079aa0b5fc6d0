import numpy as np
import pytest

from imagenet_trainer.errors import InputError
from imagenet_trainer.metrics import confusion
from imagenet_trainer.metrics.predictions import (
    Collector,
    Predictions,
    ProbabilitiesFile,
    holds_probabilities,
    load,
    probabilities_key,
)

N, CLASSES = 37, 9


@pytest.fixture
def batch():
    """Probabilities with many ties float32 (37, 9), labels, keys."""
    rng = np.random.default_rng(3)
    values = rng.integers(1, 6, (N, CLASSES)).astype(np.float32)
    probabilities = values / values.sum(axis=1, keepdims=True)
    return probabilities, rng.integers(0, CLASSES, N), rng.permutation(1000)[:N]


def collected(batch, parts, k=5, key="abc"):
    probabilities, labels, keys = batch
    collector = Collector(keys, CLASSES, k)
    for part in parts:
        collector.add(part, probabilities[part], labels[part])
    return collector.complete(key)


def same(one, other):
    for name in ("keys", "labels", "top", "probabilities", "true", "rank"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        assert getattr(one, name).dtype == getattr(other, name).dtype
    assert (one.classes, one.key) == (other.classes, other.key)


def test_predictions_agree_with_a_stable_sort(batch):
    probabilities, labels, keys = batch
    found = collected(batch, [np.arange(N)], k=7)
    order = np.argsort(-probabilities, axis=1, kind="stable")
    np.testing.assert_array_equal(found.top, order[:, :7])
    np.testing.assert_array_equal(found.probabilities, -np.sort(-probabilities, axis=1)[:, :7])
    np.testing.assert_array_equal(found.rank, np.nonzero(order == labels[:, None])[1])
    np.testing.assert_array_equal(found.true, probabilities[np.arange(N), labels])
    np.testing.assert_array_equal(found.keys, keys)
    assert len(found) == N and found.true.dtype == found.probabilities.dtype == np.float32


def test_the_order_of_the_batches_does_not_matter(batch):
    order = np.random.default_rng(0).permutation(N)
    same(collected(batch, [np.arange(N)]), collected(batch, np.array_split(order, 5)))


@pytest.mark.parametrize("k, kept", [(1, 5), (5, 5), (7, 7), (9, 9), (100, 9)])
def test_at_least_five_and_at_most_all_classes_are_kept(batch, k, kept):
    assert collected(batch, [np.arange(N)], k).top.shape == (N, kept)


@pytest.mark.parametrize("parts", [[range(36)], [range(37), [4]], [range(36), [4]]])
def test_every_image_must_come_exactly_once(batch, parts):
    with pytest.raises(ValueError, match=r"(36|37|38) images .* 37"):
        collected(batch, [np.array(part) for part in parts])


def test_confusion(batch):
    found = collected(batch, [np.arange(N)])
    wanted = np.zeros((CLASSES, CLASSES), int)
    np.add.at(wanted, (found.labels, found.top[:, 0]), 1)
    np.testing.assert_array_equal(found.confusion(1).toarray(), wanted)
    wanted = confusion.top_k_confusion(found.labels, found.top[:, :5], CLASSES)
    assert confusion.equal(found.confusion(), wanted)
    wide = collected(batch, [np.arange(N)], k=8)
    np.testing.assert_array_equal(wide.confusion().toarray(), found.confusion().toarray())


def test_save_and_load(batch, tmp_path):
    found = collected(batch, [np.arange(N)])
    found.save(tmp_path / "predictions-0001.npz")
    for key in ("abc", None):
        same(load(tmp_path / "predictions-0001.npz", key), found)
    assert load(tmp_path / "predictions-0001.npz", "abd") is None
    assert load(tmp_path / "predictions-0002.npz") is None
    first = (tmp_path / "predictions-0001.npz").read_bytes()
    found.save(tmp_path / "predictions-0001.npz")
    assert (tmp_path / "predictions-0001.npz").read_bytes() == first


def test_damaged_files_load_as_none(batch, tmp_path):
    path = tmp_path / "predictions-0001.npz"
    collected(batch, [np.arange(N)]).save(path)
    data = path.read_bytes()
    for size in (0, 10, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:size])
        assert load(path) is None
    path.write_bytes(data[:200] + bytes(40) + data[240:])
    assert load(path) is None


def test_pickles_are_not_loaded(batch, tmp_path):
    found = vars(collected(batch, [np.arange(N)]))
    np.savez(tmp_path / "bad.npz", **{**found, "labels": np.array([{}] * N, object)})
    assert load(tmp_path / "bad.npz") is None


def test_inconsistent_arrays_are_refused(batch):
    found = vars(collected(batch, [np.arange(N)]))
    for wrong in ({"labels": found["labels"][1:]}, {"probabilities": found["probabilities"][:, 1:]},
                  {"rank": found["rank"] + CLASSES}, {"classes": 8},
                  {"top": found["top"] - 1}):  # fmt: skip
        with pytest.raises(ValueError):
            Predictions(**{**found, **wrong})


def test_saving_into_a_missing_folder(batch, tmp_path):
    with pytest.raises(InputError, match=r"predictions-0001\.npz"):
        collected(batch, [np.arange(N)]).save(tmp_path / "nowhere" / "predictions-0001.npz")


# --- all probabilities ----------------------------------------------------------------------------


def test_probabilities_are_written_batch_by_batch(batch, tmp_path):
    probabilities, labels, keys = batch
    predictions = collected(batch, [np.arange(N)])
    path = tmp_path / "probabilities-0001.npz"
    for size in (10, N):
        with ProbabilitiesFile(path, N, CLASSES) as file:
            for part in np.split(np.arange(N), range(size, N, size)):
                file.add(part, probabilities[part], labels[part])
            file.finish(predictions)
        with np.load(path) as found:
            assert sorted(found.files) == ["indices", "key", "labels", "probabilities", "top"]
            np.testing.assert_array_equal(found["probabilities"], probabilities)
            np.testing.assert_array_equal(found["indices"], keys)
            np.testing.assert_array_equal(found["labels"], labels)
            np.testing.assert_array_equal(found["top"], predictions.top)
        if size == 10:
            first = path.read_bytes()
    assert path.read_bytes() == first
    assert probabilities_key(path) == "abc" and probabilities_key(tmp_path / "none.npz") is None
    assert holds_probabilities(path)
    path.write_bytes(first[:500])
    assert probabilities_key(path) is None and not holds_probabilities(path)
    predictions.save(path)  # another kind of file
    assert probabilities_key(path) is None and not holds_probabilities(path)


def test_a_probabilities_file_is_complete_or_missing(batch, tmp_path):
    probabilities, labels, _ = batch
    with (
        pytest.raises(KeyboardInterrupt),
        ProbabilitiesFile(tmp_path / "p.npz", N, CLASSES) as file,
    ):
        file.add(np.arange(5), probabilities[:5], labels[:5])
        raise KeyboardInterrupt
    with pytest.raises(ValueError, match="finish"), \
         ProbabilitiesFile(tmp_path / "p.npz", N, CLASSES) as file:  # fmt: skip
        file.add(np.arange(5), probabilities[:5], labels[:5])
    with pytest.raises(ValueError, match=r"image 5.* image 9"), \
         ProbabilitiesFile(tmp_path / "p.npz", N, CLASSES) as file:  # fmt: skip
        file.add(np.arange(5, 9), probabilities[5:9], labels[5:9])
        file.add(np.arange(5, 9), probabilities[5:9], labels[5:9])
    with pytest.raises(ValueError, match=f"5 rows for {N}"), \
         ProbabilitiesFile(tmp_path / "p.npz", N, CLASSES) as file:  # fmt: skip
        file.add(np.arange(5), probabilities[:5], labels[:5])
        file.finish(collected(batch, [np.arange(N)]))
    assert list(tmp_path.iterdir()) == []


def test_images_that_were_left_out(batch, tmp_path):
    probabilities, labels, keys = batch
    used = np.delete(np.arange(N), [0, 4, N - 1])
    collector = Collector(keys, CLASSES)
    path = tmp_path / "p.npz"
    with ProbabilitiesFile(path, N, CLASSES) as file:
        for part in np.split(used, [7]):
            collector.add(part, probabilities[part], labels[part])
            file.add(part, probabilities[part], labels[part])
        for skipped in (0, 2, 4):
            with pytest.raises(ValueError, match=f"{N - 3} images evaluated"):
                collector.complete("abc", skipped)
        predictions = collector.complete("abc", skipped=3)
        file.finish(predictions)
    whole = collected(batch, [np.arange(N)])
    for name in ("keys", "labels", "top", "probabilities", "true", "rank"):
        np.testing.assert_array_equal(getattr(predictions, name), getattr(whole, name)[used])
    with np.load(path) as found:
        np.testing.assert_array_equal(found["probabilities"][used], probabilities[used])
        assert np.isnan(found["probabilities"][[0, 4, N - 1]]).all()
        assert (found["labels"] == np.where(np.isin(np.arange(N), used), labels, -1)).all()
        assert (found["indices"][[0, 4, N - 1]] == -1).all()
