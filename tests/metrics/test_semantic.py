import numpy as np
import pytest

from imagenet_trainer.metrics.predictions import Predictions
from imagenet_trainer.metrics.semantic import (
    PAIRS,
    ConfusedPair,
    clusters,
    confused_pairs,
    semantic_results,
    short_names,
    summary_lines,
)
from imagenet_trainer.metrics.taxonomy import taxonomy_of

# golden retriever, Labrador retriever, tabby, tench, pickup, pizza
IDS = ("n02099601", "n02099712", "n02123045", "n01440764", "n03930630", "n07873807")
GOLDEN, LABRADOR, TABBY, TENCH, PICKUP, PIZZA = range(6)
# (true, predicted): two correct, an error in the group, in the kind, in the domain, beyond it.
CASES = [
    (GOLDEN, GOLDEN), (PIZZA, PIZZA), (GOLDEN, LABRADOR), (GOLDEN, TABBY), (TABBY, TENCH),
    (PICKUP, PIZZA), (TENCH, PICKUP), (LABRADOR, GOLDEN),
]  # fmt: skip


def predictions_of(cases, classes=6):
    labels, first = np.array(cases).T
    others = (first + 1) % classes
    n = len(labels)
    probabilities = np.tile(np.float32([0.6, 0.4]), (n, 1))
    rank = np.where(labels == first, 0, np.where(labels == others, 1, 2))
    return Predictions(
        np.arange(n), labels, np.stack([first, others], axis=1), probabilities,
        np.full(n, 0.5, np.float32), rank, classes,
    )  # fmt: skip


@pytest.fixture
def entry():
    return semantic_results(predictions_of(CASES), IDS)


def test_accuracy_at_each_level(entry):
    assert entry["meaning"]["levels"] == {
        "domain": 7 / 8, "kind": 5 / 8, "group": 4 / 8, "class": 2 / 8,
    }  # fmt: skip


def test_errors_within_the_group_and_their_distance(entry):
    semantic = entry["meaning"]
    assert semantic["errors"] == 6 and semantic["errors_in_group"] == pytest.approx(2 / 6)
    distances = taxonomy_of(IDS).distances
    wrong = [(a, b) for a, b in CASES if a != b]
    assert semantic["error_distance"] == pytest.approx(np.mean([distances[pair] for pair in wrong]))
    assert semantic["chance_distance"] == pytest.approx(distances.sum() / 30)


def test_mass_of_the_two_clusters():
    matrix = np.zeros((6, 6), int)
    matrix[GOLDEN, GOLDEN], matrix[GOLDEN, TABBY], matrix[TABBY, PIZZA] = 50, 20, 6
    matrix[PICKUP, TENCH], matrix[PICKUP, PIZZA], matrix[PIZZA, PIZZA] = 4, 10, 10
    shares = clusters(matrix, taxonomy_of(IDS))
    assert shares == {
        "animals as animals": 0.7, "animals as objects": 0.06, "objects as animals": 0.04,
        "objects as objects": 0.2, "within": 0.9, "between": pytest.approx(0.1),
        "within_off_diagonal": 30 / 40,
    }  # fmt: skip


def test_groups(entry):
    by_name = {row["name"]: row for row in entry["meaning"]["groups"]}
    assert by_name["dogs"] == {
        "name": "dogs", "classes": 2, "images": 4, "rank1": 0.25, "in_group": 0.75,
    }  # fmt: skip
    assert list(by_name) == ["fish", "dogs", "cats", "vehicles", "food"]


def test_pairs_count_both_directions(entry):
    matrix = np.array([[9, 2, 0], [3, 9, 1], [4, 0, 9]])
    assert confused_pairs(matrix) == [
        ConfusedPair(0, 1, 2, 3),
        ConfusedPair(0, 2, 0, 4),
        ConfusedPair(1, 2, 1, 0),
    ]
    assert confused_pairs(matrix, 1) == [ConfusedPair(0, 1, 2, 3)]
    assert confused_pairs(np.eye(3, dtype=int)) == []
    first = entry["confused_pairs"][0]
    assert first == {"a": IDS[GOLDEN], "b": IDS[LABRADOR], "a_as_b": 1, "b_as_a": 1,
                     "a_images": 3, "b_images": 1}  # fmt: skip


def test_equal_pairs_are_in_the_order_of_their_classes():
    ones = 1 - np.eye(30, dtype=int)
    pairs = confused_pairs(ones)
    assert len(pairs) == PAIRS == 20
    assert [(pair.a, pair.b) for pair in pairs] == [(0, b) for b in range(1, 21)]


def test_classes_outside_imagenet_have_pairs_only():
    entry = semantic_results(predictions_of([(0, 1), (1, 0), (0, 0)], 2), ["shirt", "coat"])
    assert entry == {"confused_pairs": [{"a": "shirt", "b": "coat", "a_as_b": 1, "b_as_a": 1,
                                         "a_images": 2, "b_images": 1}]}  # fmt: skip


def test_without_errors_there_is_no_distance():
    entry = semantic_results(predictions_of([(0, 0), (3, 3)]), IDS)
    assert entry["confused_pairs"] == []
    assert entry["meaning"]["errors_in_group"] is None
    assert entry["meaning"]["error_distance"] is None


def test_summary_lines(entry):
    names = dict(zip(IDS, ("golden", "labrador", "tabby", "tench", "pickup", "pizza")))
    lines = list(summary_lines({**entry, "images": 8}, names))
    for share in ("object 87.50 %", "kind 62.50 %", "group 50.00 %", "class 25.00 %"):
        assert share in lines[0]
    assert lines[1].startswith("errors: 33.33 %") and "edges" in lines[1]
    assert (
        lines[3] == "confused: golden taken for labrador 1 of 3, labrador taken for golden 1 of 1"
    )
    assert len(lines) == 6


def test_short_names_are_unique():
    classes = [("n1", "crane, bird"), ("n2", "crane, machine"), ("n3", "tabby, tabby cat")]
    assert short_names(classes) == ["crane (n1)", "crane (n2)", "tabby"]
