"""Nearest vectors against all cosines at once."""

import numpy as np

from imagenet_trainer.metrics.nearest import NearestVectors


def found_in(queries, vectors, k, size, excluded=None):
    nearest = NearestVectors(queries, k, {"place": np.int64})
    for begin in range(0, len(vectors), size):
        part = np.arange(begin, min(begin + size, len(vectors)))
        out = np.zeros((len(queries), len(part)), bool) if excluded is None else excluded[:, part]
        nearest.add(vectors[part], out, place=part)
    return nearest.found


def test_against_brute_force():
    rng = np.random.default_rng(0)
    queries, vectors = rng.normal(size=(2, 300, 9)).astype(np.float32)
    queries = queries[:7]
    cosines = (queries @ vectors.T) / np.outer(
        *(np.linalg.norm(v, axis=1) for v in (queries, vectors))
    )
    order = np.argsort(-cosines, axis=1)[:, :6]
    for size in (1, 64, 300):
        found = found_in(queries, vectors, 6, size)
        np.testing.assert_array_equal(found["place"], order)
        wanted = np.take_along_axis(cosines, order, 1)
        np.testing.assert_allclose(found["similarity"], wanted, rtol=1e-5)
    excluded = np.zeros(cosines.shape, bool)
    excluded[np.arange(7), order[:, 0]] = True
    found = found_in(queries, vectors, 5, 64, excluded)
    np.testing.assert_array_equal(found["place"], order[:, 1:])


def test_equal_vectors_zero_and_too_few():
    """The first of equal ones is first; a vector of zeros is similar to nothing."""
    vectors = np.array([[0, 1], [0, 0], [3, 0], [1, 0]], np.float32)
    found = found_in(np.array([[2, 0]], np.float32), vectors, 6, 3)
    np.testing.assert_array_equal(found["place"][0, :4], [2, 3, 0, 1])
    np.testing.assert_array_equal(found["similarity"][0], [1, 1, 0, 0, -np.inf, -np.inf])
