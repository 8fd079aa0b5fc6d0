import functools
import warnings

import numpy as np
import pytest
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve

from imagenet_trainer.metrics import evaluation
from imagenet_trainer.metrics.predictions import Collector, Predictions


def predictions_of(probabilities, labels, k=5):
    collector = Collector(np.arange(len(labels)), probabilities.shape[1], k)
    collector.add(np.arange(len(labels)), probabilities, labels)
    return collector.complete()


def known():
    """Predictions with known metrics: six images of three classes."""
    probabilities = np.array(
        [
            [0.8, 0.1, 0.1],  # correct
            [0.4, 0.5, 0.1],  # 0 predicted as 1
            [0.1, 0.9, 0.0],  # correct
            [0.2, 0.6, 0.2],  # correct
            [0.5, 0.0, 0.5],  # a tie: 2 predicted as 0, the lower class
            [0.1, 0.6, 0.3],  # 2 predicted as 1
        ],
        np.float32,
    )
    return predictions_of(probabilities, np.array([0, 0, 1, 1, 2, 2]))


@pytest.fixture(scope="module")
def random_predictions():
    """Probabilities without ties for 700 images of 12 classes, and labels; half are correct."""
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 12, 700)
    logits = rng.normal(0, 1.5, (700, 12))
    logits[np.arange(700), labels] += 2
    p = np.exp(logits)
    return (p / p.sum(axis=1, keepdims=True)).astype(np.float32), labels


# --- by hand --------------------------------------------------------------------------------------


def test_metrics_by_hand():
    found = evaluation.estimates(known(), (2,))
    value = {name: one.value for name, one in found.items()}
    assert list(value) == [
        "rank1", "rank2", "rank5", "loss", "macro_recall", "macro_precision", "macro_rank5",
        "calibration_error",
    ]  # fmt: skip
    assert value["rank1"] == 3 / 6 and value["rank2"] == 1 and value["rank5"] == 1
    assert value["macro_recall"] == pytest.approx((1 / 2 + 1 + 0) / 3)
    # Predictions: class 0 twice (1 correct), class 1 four times (2 correct), class 2 never.
    assert value["macro_precision"] == pytest.approx((1 / 2 + 2 / 4 + 0) / 3)
    assert value["macro_rank5"] == 1
    true = np.float32([0.8, 0.4, 0.9, 0.6, 0.5, 0.3]).astype(float)
    assert value["loss"] == pytest.approx(-np.log(true).mean())
    # Bins of 1/15: .5 and .5 in (.467, .533], .6 and .6 in (.533, .6] or the next, .8 and .9 alone.
    gaps = [abs(0 - 1.0), abs(1 - 1.2), abs(1 - 0.8), abs(1 - 0.9)]
    assert value["calibration_error"] == pytest.approx(sum(gaps) / 6, abs=1e-6)
    for one in found.values():
        assert one.low <= one.value <= one.high


def test_the_table_of_classes_by_hand():
    counted = evaluation.class_table(known())
    assert counted.images.tolist() == [2, 2, 2]
    assert counted.predicted.tolist() == [2, 4, 0]
    assert counted.hits.tolist() == [1, 2, 0] and counted.top5_hits.tolist() == [2, 2, 2]
    assert counted.recall()[:, 0].tolist() == [0.5, 1, 0]
    precision = counted.precision()
    assert precision[:2, 0].tolist() == [0.5, 0.5] and np.isnan(precision[2]).all()
    # Wilson of 1 of 2.
    assert counted.recall()[0, 1:] == pytest.approx([0.0945, 0.9055], abs=1e-4)
    rows = evaluation.class_rows(counted, [("n01", "a, b"), ("n02", "c"), ("n03", "d")])
    assert rows[0][:6] == (0, "n01", "a, b", 2, 2, "0.500000")
    assert rows[2][8:11] == ("", "", "")
    assert len(rows[0]) == len(evaluation.CLASS_COLUMNS)


def test_json_entry_and_table():
    found = evaluation.as_json(evaluation.estimates(known()), known())
    assert found["images"] == 6 and found["rank1_count"] == 3 and found["rank5_count"] == 6
    assert found["intervals"].keys() < found.keys()
    lines = evaluation.table(found, 6).splitlines()
    assert lines[1].split() == ["rank-1", "50.00", "%", "18.76", "to", "81.24", "%"]
    assert lines[2].startswith("rank-5 ")
    assert lines[3].startswith("loss ") and "%" not in lines[3]


def test_rank5_is_shown_only_if_it_can_differ_from_100_percent():
    found = evaluation.as_json(evaluation.estimates(known()), known())
    assert "rank-5" not in evaluation.table(found, 5) and "rank-1" in evaluation.table(found, 5)
    assert evaluation.shown_ranks(5, (3,)) == ["rank1", "rank3"]
    assert evaluation.shown_ranks(6) == ["rank1", "rank5"]
    assert evaluation.rank_names(()) == ["rank1", "rank5"]  # files have both


def predicted(labels, first, classes=3):
    """Predictions of a class for each image."""
    labels, first = np.array(labels, int), np.array(first, int)
    p = np.full((len(labels), classes), 0.1, np.float32)
    p[np.arange(len(labels)), first] = 0.8
    return predictions_of(p, labels)


@pytest.mark.parametrize(
    ("labels", "first", "wanted"),
    [
        ([0, 1, 2, 1], [1, 1, 1, 1], (1, 1.0)),
        ([0, 1, 2, 1], [1, 1, 1, 2], None),
        ([1, 1, 1], [1, 1, 1], None),  # all images are of that class
        ([0] * 1 + [1] * 199, [1] * 200, (1, 1.0)),  # one rare class, never recognised
        ([0] * 1 + [1] * 199, [0] + [1] * 199, None),  # one rare class, recognised
        ([0] * 150 + [1] * 150, [2] + [1] * 299, (1, 299 / 300)),
    ],
)
def test_predictions_that_collapse_to_one_class(labels, first, wanted):
    assert evaluation.collapse(predicted(labels, first)) == wanted


def test_metrics_without_images_are_unknown():
    nothing = Predictions(*(np.zeros(s, d) for s, d in [(0, int), (0, int), ((0, 3), int),
                      ((0, 3), np.float32), (0, np.float32), (0, int)]), 3)  # fmt: skip
    found = evaluation.as_json(evaluation.estimates(nothing), nothing)
    assert found["rank1"] is None and found["loss"] is None and found["images"] == 0
    assert "rank-1" in evaluation.table(found, 3)


def test_macro_averages_ignore_classes_without_images():
    wider = predictions_of(
        np.pad(np.float32([[0.8, 0.2], [0.7, 0.3]]), ((0, 0), (0, 4))), np.array([0, 1])
    )
    value = {name: one.value for name, one in evaluation.estimates(wider).items()}
    assert value["macro_recall"] == 0.5 and value["macro_precision"] == pytest.approx(0.25)
    assert np.isnan(evaluation.class_table(wider).recall()[2:]).all()


def test_intervals_are_the_same_each_time():
    assert evaluation.estimates(known()) == evaluation.estimates(known())


# --- scikit-learn ---------------------------------------------------------------------------------


def test_metrics_agree_with_scikit_learn(random_predictions):
    p, labels = random_predictions
    found = evaluation.estimates(predictions_of(p, labels), (3,))
    best = p.argmax(axis=1)
    value = {name: one.value for name, one in found.items()}
    for k in (1, 3, 5):
        wanted = sk.top_k_accuracy_score(labels, p, k=k, labels=np.arange(12))
        assert value[f"rank{k}"] == pytest.approx(wanted)
    wanted = sk.log_loss(labels, p.astype(np.float64) / p.sum(axis=1, keepdims=True, dtype=float))
    assert value["loss"] == pytest.approx(wanted, rel=1e-6)
    assert value["macro_recall"] == pytest.approx(sk.balanced_accuracy_score(labels, best))
    assert value["macro_precision"] == pytest.approx(
        sk.precision_score(labels, best, average="macro")
    )
    # Accuracy and mean probability of the bins that are not empty.
    hits, confidence = best == labels, p.max(axis=1)
    accuracy, mean = calibration_curve(hits, confidence, n_bins=evaluation.BINS)
    diagram = evaluation.calibration(predictions_of(p, labels))
    there = diagram["images"] > 0
    np.testing.assert_allclose(diagram["accuracy"][there], accuracy)
    np.testing.assert_allclose(diagram["confidence"][there], mean, rtol=1e-6)
    wanted = (np.abs(accuracy - mean) * diagram["images"][there]).sum() / 700
    assert value["calibration_error"] == pytest.approx(wanted, rel=1e-6)


def test_the_table_of_classes_agrees_with_scikit_learn(random_predictions):
    p, labels = random_predictions
    predictions = predictions_of(p, labels)
    best = p.argmax(axis=1)
    counted = evaluation.class_table(predictions)
    np.testing.assert_array_equal(
        predictions.confusion(1).toarray(), sk.confusion_matrix(labels, best)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        precision, recall, _, support = sk.precision_recall_fscore_support(labels, best)
    np.testing.assert_allclose(counted.recall()[:, 0], recall)
    np.testing.assert_allclose(counted.precision()[:, 0], precision)
    np.testing.assert_array_equal(counted.images, support)
    in_five = (np.argsort(-p, axis=1)[:, :5] == labels[:, None]).any(axis=1)
    wanted = [in_five[labels == label].mean() for label in range(12)]
    np.testing.assert_allclose(counted.top5_recall()[:, 0], wanted)


# --- coverage of the intervals --------------------------------------------------------------------


@pytest.fixture
def few_resamples(monkeypatch):
    """A quarter of the resamples: enough to see whether an interval covers the truth."""
    few = functools.partial(evaluation.resampled_sums, rounds=250)
    monkeypatch.setattr(evaluation, "resampled_sums", few)


@pytest.mark.parametrize("scale", [1.0, 0.97])
def test_the_interval_covers_the_calibration_error(few_resamples, scale):
    # Two classes; the more probable one is correct with `scale` times its probability, so the
    # true error is (1 - scale) times the mean probability, with the same sign in every bin.
    rng = np.random.default_rng(6)
    truth = (1 - scale) * (0.5 + 0.5 * 3 / 5)
    inside, above = 0, 0
    for _ in range(40):
        confidence = 0.5 + 0.5 * rng.beta(3, 2, 1000)
        correct = rng.random(1000) < scale * confidence
        p = np.stack([confidence, 1 - confidence], axis=1).astype(np.float32)
        one = evaluation.estimates(predictions_of(p, np.where(correct, 0, 1)))["calibration_error"]
        inside += one.low <= truth <= one.high
        above += one.value > truth
    assert inside >= 37
    assert above >= 25  # so the percentiles alone do not cover it


def test_the_interval_of_the_calibration_error_by_hand():
    gaps = np.array([[0.1, -0.1]])
    resampled = np.array([[0.12, -0.08]] * 50)  # off by 0.02 in each bin
    found = evaluation._calibration_error(gaps, resampled)
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.16, 0.2))


def test_the_interval_covers_a_mean(few_resamples):
    # 90 of 100 in one class, 50 of 100 in the other: the mean recall is .7.
    rng = np.random.default_rng(7)
    inside = 0
    for _ in range(60):
        labels = np.repeat([0, 1], 100)
        correct = rng.random(200) < np.where(labels == 0, 0.9, 0.5)
        p = np.full((200, 2), 0.3, np.float32)
        p[np.arange(200), np.where(correct, labels, 1 - labels)] = 0.7
        one = evaluation.estimates(predictions_of(p, labels))["macro_recall"]
        inside += one.low <= 0.7 <= one.high
    assert inside >= 53
