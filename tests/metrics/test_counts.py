import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagenet_trainer.metrics import counts
from imagenet_trainer.metrics.counts import Scores


@st.composite
def batches(draw):
    """Probabilities with many ties, and labels."""
    images, classes = draw(st.integers(1, 8)), draw(st.integers(2, 12))
    seed, values = draw(st.integers(0, 2**32 - 1)), draw(st.integers(1, 20))
    rng = np.random.default_rng(seed)
    probabilities = (rng.integers(0, values, (images, classes)) / 19).astype(np.float32)
    return probabilities, rng.integers(0, classes, images)


def by_sorting(row):
    """Classes of a row, best first, in the order of a stable sort."""
    return sorted(range(len(row)), key=lambda index: -row[index])


@given(batches())
def test_ranks_are_positions_in_a_stable_sort(batch):
    probabilities, labels = batch
    expected = [
        by_sorting(row).index(label) for row, label in zip(probabilities.tolist(), labels.tolist())
    ]
    ranks = counts.ranks(probabilities, labels)
    assert ranks.tolist() == expected
    assert ranks.dtype == np.int64


@given(batches(), st.integers(1, 15))
def test_top_classes_are_the_head_of_a_stable_sort(batch, k):
    probabilities, _ = batch
    top = counts.top_classes(probabilities, k)
    assert top.tolist() == [by_sorting(row)[:k] for row in probabilities.tolist()]
    assert top.dtype == np.int64


def test_ties_go_to_the_lower_class():
    even = np.full((1, 4), 0.25, np.float32)
    assert [counts.ranks(even, np.array([label])).item() for label in range(4)] == [0, 1, 2, 3]
    assert counts.top_classes(even, 2).tolist() == [[0, 1]]
    # More than a hundred are found by a partition.
    tied = np.float32(np.arange(150) % 3)[None, :].repeat(2, axis=0)
    tied[1] = tied[1, ::-1]
    for k in (100, 101, 120, 149, 150):
        expected = np.argsort(-tied, axis=1, kind="stable")[:, :k]
        assert np.array_equal(counts.top_classes(tied, k), expected)
    two_best = np.array([[0.1, 0.2, 0.3, 0.1, 0.3]], np.float32)
    assert counts.top_classes(two_best, 4).tolist() == [[2, 4, 1, 0]]


def test_log_loss():
    probabilities = np.array([[0.25, 0.75], [1, 0], [1, 0]], np.float32)
    losses = counts.log_loss(probabilities, np.array([0, 0, 1]))
    assert losses.dtype == np.float64
    assert losses == pytest.approx([math.log(4), 0, -math.log(1.2e-38)])


def test_score_of_a_batch_by_hand():
    probabilities = np.array([[0.5, 0.3, 0.1, 0.05, 0.03, 0.02]] * 4, np.float32)
    scores = counts.score(probabilities, np.array([0, 1, 4, 5]))
    assert (scores.images, scores.rank1, scores.rank5) == (4, 1, 3)
    assert scores.loss == pytest.approx(-math.log(0.5 * 0.3 * 0.03 * 0.02), rel=1e-6)
    assert scores.rank1_accuracy == pytest.approx(1 / 4)
    assert scores.rank5_accuracy == pytest.approx(3 / 4)
    assert scores.mean_loss == pytest.approx(scores.loss / 4)
    assert (scores.rank_k, scores.top_k) == (3, 5)
    two = counts.score(probabilities, np.array([0, 1, 2, 5]), top_k=2)
    assert (two.rank_k, two.top_k, two.rank_k_accuracy) == (2, 2, 0.5)


def test_score_of_several_classes_by_hand():
    probabilities = np.float32([[0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3]] * 5 + [[1, 0, 0, 0, 0, 0, 0]])
    right = [{0, 6}, {4, 6}, {5}, set(), {1}, {2}]  # ranks 0, 4, 5, none, 1, and 2 by the ties
    vectors = np.array([[label in one for label in range(7)] for one in right], np.uint8)
    scores = counts.score_vectors(probabilities, vectors, top_k=2)
    assert (scores.images, scores.rank1, scores.rank5) == (6, 1, 4)
    assert (scores.rank_k, scores.top_k) == (2, 2)
    certain = 25 * math.log(2) - math.log(1.2e-38)  # 1 for a wrong class, 0 for the right one
    others = sum(
        math.log(p if is_right else 1 - p)
        for row, truth in zip(probabilities[:5].tolist(), vectors)
        for p, is_right in zip(row, truth)
    )
    assert scores.loss == pytest.approx((certain - others) / 7, rel=1e-6)


def test_mean_average_precision_selects_the_best_epoch_where_it_is_known():
    assert Scores(10, 5).merit == 0.5 and Scores(10, 5, mean_precision=0.3).merit == 0.3


def test_sums_over_different_numbers_of_classes_or_no_images_have_no_accuracy():
    three, five = Scores(10, 1, 5, 9.0, 3, 3), Scores(10, 1, 5, 9.0, 5, 5)
    assert (three + three).rank_k_accuracy == 0.3
    assert Scores().top_k == 5 and (Scores() + three).rank_k_accuracy == 0.3
    assert math.isnan((three + five).rank_k_accuracy)
    assert (three + five).rank5_accuracy == 0.5
    assert math.isnan(Scores().rank1_accuracy) and math.isnan(Scores().mean_loss)


def test_the_sum_of_the_batches_is_the_score_of_all_images():
    rng = np.random.default_rng(1)
    probabilities = rng.dirichlet(np.ones(10), 37).astype(np.float32)
    labels = rng.integers(0, 10, 37)
    parts = [slice(0, 16), slice(16, 32), slice(32, 37)]
    total = sum((counts.score(probabilities[part], labels[part]) for part in parts), Scores())
    whole = counts.score(probabilities, labels)
    assert (total.images, total.rank1, total.rank5) == (37, whole.rank1, whole.rank5)
    assert total.loss == pytest.approx(whole.loss, rel=1e-12)


@pytest.mark.parametrize(("classes", "top"), [(2, 1), (5, 1), (6, 5), (1000, 5)])
def test_five_predictions_count_if_there_are_more_classes(classes, top):
    assert counts.confusion_top(classes) == top
