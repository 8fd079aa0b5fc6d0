import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from imagenet_trainer.metrics import confusion
from imagenet_trainer.metrics.counts import ranks, score, top_classes


@st.composite
def batches(draw):
    """Probabilities with many ties, and labels."""
    images, classes = draw(st.integers(1, 8)), draw(st.integers(2, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    probabilities = (rng.integers(0, 5, (images, classes)) / 19).astype(np.float32)
    return probabilities, rng.integers(0, classes, images)


@st.composite
def matrices(draw):
    """Counts with many zeros and ties: int64 (classes, classes)."""
    classes = draw(st.integers(1, 9))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return rng.integers(0, 3, (classes, classes)) * rng.integers(0, 2, (classes, classes))


def test_counts_in_any_form():
    parts = sparse.coo_matrix(([2, 1, 3, 0], ([1, 1, 1, 0], [2, 0, 2, 1])), (3, 3))
    unsorted = sparse.csr_matrix(([2, 1, 0], [2, 0, 1], [0, 0, 3, 3]), (3, 3))
    before = unsorted.indices.copy()
    for matrix in (parts, parts.toarray(), unsorted):
        counts = confusion.as_counts(matrix)
        assert counts.has_canonical_format and counts.dtype == np.int64
        assert counts.indices.tolist() == [0, 2] and counts.data.tolist()[0] == 1
    assert np.array_equal(unsorted.indices, before)


@given(batches())
def test_every_prediction_counts_once(batch):
    probabilities, labels = batch
    classes = probabilities.shape[1]
    top = top_classes(probabilities, 5)
    expected = np.zeros((classes, classes), np.int64)
    for label, predictions in zip(labels, top):
        for prediction in predictions:
            expected[label, prediction] += 1
    matrix = confusion.top_k_confusion(labels, top, classes)
    assert matrix.dtype == np.int64 and matrix.has_canonical_format
    assert np.array_equal(matrix.toarray(), expected)
    in_top = ranks(probabilities, labels) < 5
    assert matrix.diagonal().sum() == in_top.sum() == score(probabilities, labels).rank5


@pytest.mark.parametrize("label, prediction", [(3, 0), (0, 3), (-1, 0), (0, -1)])
def test_a_class_outside_the_matrix_is_refused(label, prediction):
    with pytest.raises(ValueError):
        confusion.top_k_confusion(np.array([label]), np.array([[prediction]]), 3)


@given(matrices())
def test_errors_and_the_most_frequent_of_them(matrix):
    counts = confusion.as_counts(matrix)
    errors = matrix - np.diag(np.diag(matrix))
    off = confusion.off_diagonal(counts)
    assert np.array_equal(off.toarray(), errors) and (off.data > 0).all()
    classes, times = confusion.most_confused(counts)
    assert np.array_equal(classes, errors.argmax(axis=1))
    assert np.array_equal(times, errors.max(axis=1))


@given(matrices(), st.randoms(use_true_random=False))
def test_another_order(matrix, random):
    order = np.arange(len(matrix))
    random.shuffle(order)
    found = confusion.reordered(confusion.as_counts(matrix), order)
    assert np.array_equal(found.toarray(), matrix[np.ix_(order, order)])
    assert confusion.equal(found, confusion.as_counts(found.toarray()))


def test_matrices_that_differ():
    one = confusion.as_counts(np.eye(3, dtype=int))
    assert confusion.equal(one, one.copy())
    assert not confusion.equal(one, confusion.as_counts(2 * np.eye(3, dtype=int)))
    assert not confusion.equal(one, confusion.as_counts(np.eye(4, dtype=int)))


@pytest.mark.parametrize("classes", [3, 1001])
def test_a_file_of_counts(classes, tmp_path):
    matrix = sparse.random(classes, classes, 0.01, "csr", random_state=0)
    matrix.data = np.arange(1, matrix.nnz + 1)
    counts = confusion.as_counts(matrix)
    np.savez_compressed(tmp_path / "a.npz", **confusion.arrays_of(counts), key=np.array("k"))
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        arrays = dict(file)
    assert confusion.equal(confusion.matrix_in(arrays), counts)
    if classes == 3:
        assert np.array_equal(arrays["matrix"], counts.toarray())
    else:
        assert confusion.equal(sparse.load_npz(tmp_path / "a.npz"), counts)


@pytest.mark.parametrize(
    "changed",
    [{"indices": np.array([0, 9])}, {"indptr": np.array([0, 1, 5])}, {"shape": np.array(3)},
     {"data": np.array(["a", "b"])}, {"shape": None}, {"matrix": np.zeros((2, 2, 2))}],
)  # fmt: skip
def test_a_file_that_holds_no_counts(changed):
    arrays = {
        "format": np.array(b"csr"), "shape": np.array([2, 2]), "data": np.array([1, 1]),
        "indices": np.array([0, 1]), "indptr": np.array([0, 1, 2]),
    }  # fmt: skip
    assert np.array_equal(confusion.matrix_in(arrays).toarray(), np.eye(2))
    arrays.update(changed)
    with pytest.raises(ValueError, match="no confusion matrix"):
        confusion.matrix_in({name: array for name, array in arrays.items() if array is not None})
