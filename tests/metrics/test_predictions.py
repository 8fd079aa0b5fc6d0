import numpy as np
import pytest

from imagenet_trainer.errors import InputError
from imagenet_trainer.metrics import counts as metrics
from imagenet_trainer.metrics import predictions as predictions
from imagenet_trainer.metrics.predictions import (
    Collector,
    Predictions,
    ProbabilitiesFile,
    probabilities_key,
)

N, CLASSES = 37, 9


@pytest.fixture
def said():
    """Probabilities with many ties float32 (37, 9), labels, keys."""
    rng = np.random.default_rng(3)
    values = rng.integers(1, 6, (N, CLASSES)).astype(np.float32)
    probabilities = values / values.sum(axis=1, keepdims=True)
    return probabilities, rng.integers(0, CLASSES, N), rng.permutation(1000)[:N]


def collected(said, parts, k=5, key="abc"):
    probabilities, labels, keys = said
    collector = Collector(keys, CLASSES, k)
    for part in parts:
        collector.add(part, probabilities[part], labels[part])
    return collector.whole(key)


def same(one, other):
    for name in ("keys", "labels", "top", "probabilities", "true", "rank"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        assert getattr(one, name).dtype == getattr(other, name).dtype
    assert (one.classes, one.key) == (other.classes, other.key)


def test_answers_are_a_full_stable_sort(said):
    probabilities, labels, keys = said
    found = collected(said, [np.arange(N)], k=7)
    order = np.argsort(-probabilities, axis=1, kind="stable")
    np.testing.assert_array_equal(found.top, order[:, :7])
    np.testing.assert_array_equal(found.probabilities, -np.sort(-probabilities, axis=1)[:, :7])
    np.testing.assert_array_equal(found.rank, np.nonzero(order == labels[:, None])[1])
    np.testing.assert_array_equal(found.true, probabilities[np.arange(N), labels])
    np.testing.assert_array_equal(found.keys, keys)
    assert len(found) == N and found.true.dtype == found.probabilities.dtype == np.float32


def test_batches_in_any_order_are_the_same(said):
    order = np.random.default_rng(0).permutation(N)
    same(collected(said, [np.arange(N)]), collected(said, np.array_split(order, 5)))


@pytest.mark.parametrize("k, kept", [(1, 5), (5, 5), (7, 7), (9, 9), (100, 9)])
def test_at_least_five_at_most_all_are_kept(said, k, kept):
    assert collected(said, [np.arange(N)], k).top.shape == (N, kept)


@pytest.mark.parametrize("parts", [[range(36)], [range(37), [4]], [range(36), [4]]])
def test_every_image_exactly_once(said, parts):
    with pytest.raises(ValueError, match=r"(36|37|38) images scored, the index has 37"):
        collected(said, [np.array(part) for part in parts])


def test_confusion(said):
    found = collected(said, [np.arange(N)])
    wanted = np.zeros((CLASSES, CLASSES), int)
    np.add.at(wanted, (found.labels, found.top[:, 0]), 1)
    np.testing.assert_array_equal(found.confusion(1), wanted)
    np.testing.assert_array_equal(
        found.confusion(), metrics.top_k_confusion(found.labels, found.top[:, :5], CLASSES)
    )
    wide = collected(said, [np.arange(N)], k=8)
    np.testing.assert_array_equal(wide.confusion(), found.confusion())


def test_saved_and_loaded(said, tmp_path):
    found = collected(said, [np.arange(N)])
    found.save(tmp_path / "predictions-0001.npz")
    for key in ("abc", None):
        same(predictions.load(tmp_path / "predictions-0001.npz", key), found)
    assert predictions.load(tmp_path / "predictions-0001.npz", "abd") is None
    assert predictions.load(tmp_path / "predictions-0002.npz") is None
    first = (tmp_path / "predictions-0001.npz").read_bytes()
    found.save(tmp_path / "predictions-0001.npz")
    assert (tmp_path / "predictions-0001.npz").read_bytes() == first


def test_damaged_answers_are_none(said, tmp_path):
    path = tmp_path / "predictions-0001.npz"
    collected(said, [np.arange(N)]).save(path)
    data = path.read_bytes()
    for size in (0, 10, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:size])
        assert predictions.load(path) is None
    path.write_bytes(data[:200] + bytes(40) + data[240:])
    assert predictions.load(path) is None


def test_pickles_are_not_opened(said, tmp_path):
    found = vars(collected(said, [np.arange(N)]))
    np.savez(tmp_path / "bad.npz", **{**found, "labels": np.array([{}] * N, object)})
    assert predictions.load(tmp_path / "bad.npz") is None


def test_arrays_that_do_not_agree(said):
    found = vars(collected(said, [np.arange(N)]))
    for wrong in ({"labels": found["labels"][1:]}, {"probabilities": found["probabilities"][:, 1:]},
                  {"rank": found["rank"] + CLASSES}, {"classes": 8},
                  {"top": found["top"] - 1}):  # fmt: skip
        with pytest.raises(ValueError):
            Predictions(**{**found, **wrong})


def test_a_folder_that_is_not_there(said, tmp_path):
    with pytest.raises(InputError, match=r"predictions-0001\.npz: No such file"):
        collected(said, [np.arange(N)]).save(tmp_path / "nowhere" / "predictions-0001.npz")


# --- all probabilities ----------------------------------------------------------------------------


def test_predictions_are_written_as_they_come(said, tmp_path):
    probabilities, labels, keys = said
    answers_of_all = collected(said, [np.arange(N)])
    path = tmp_path / "probabilities-0001.npz"
    for batch in (10, N):
        with ProbabilitiesFile(path, N, CLASSES) as file:
            for part in np.split(np.arange(N), range(batch, N, batch)):
                file.add(part, probabilities[part], labels[part])
            file.finish(answers_of_all)
        with np.load(path) as found:
            assert sorted(found.files) == ["indices", "key", "labels", "probabilities", "top"]
            np.testing.assert_array_equal(found["probabilities"], probabilities)
            np.testing.assert_array_equal(found["indices"], keys)
            np.testing.assert_array_equal(found["labels"], labels)
            np.testing.assert_array_equal(found["top"], answers_of_all.top)
        if batch == 10:
            first = path.read_bytes()
    assert path.read_bytes() == first
    assert probabilities_key(path) == "abc" and probabilities_key(tmp_path / "none.npz") is None
    path.write_bytes(first[:500])
    assert probabilities_key(path) is None


def test_predictions_appear_whole_or_not_at_all(said, tmp_path):
    probabilities, labels, _ = said
    with (
        pytest.raises(KeyboardInterrupt),
        ProbabilitiesFile(tmp_path / "p.npz", N, CLASSES) as file,
    ):
        file.add(np.arange(5), probabilities[:5], labels[:5])
        raise KeyboardInterrupt
    with pytest.raises(ValueError, match="unfinished"), \
         ProbabilitiesFile(tmp_path / "p.npz", N, CLASSES) as file:  # fmt: skip
        file.add(np.arange(5), probabilities[:5], labels[:5])
    with pytest.raises(ValueError, match="image 5 came where 0"), \
         ProbabilitiesFile(tmp_path / "p.npz", N, CLASSES) as file:  # fmt: skip
        file.add(np.arange(5, 9), probabilities[5:9], labels[5:9])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("classes, k", [(2, 1), (5, 1), (6, 5), (1000, 5)])
def test_a_matrix_never_counts_all_classes_of_every_image(classes, k):
    # Its image would be one green square: every cell of a row the same.
    assert metrics.confusion_top(classes) == k
