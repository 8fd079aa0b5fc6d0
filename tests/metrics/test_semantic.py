import numpy as np
import pytest

from imagenet_trainer.metrics import semantic as meaning
from imagenet_trainer.metrics.predictions import Predictions
from imagenet_trainer.metrics.semantic import (
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
# (true, predicted): two right, an error in the group, in the kind, in the domain, beyond it.
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
def found():
    return semantic_results(predictions_of(CASES), IDS)


def test_accuracy_at_each_level_by_hand(found):
    assert found["meaning"]["levels"] == {
        "domain": 7 / 8, "kind": 5 / 8, "group": 4 / 8, "class": 2 / 8,
    }  # fmt: skip


def test_errors_that_stay_in_the_group_and_their_distance_by_hand(found):
    numbers = found["meaning"]
    assert numbers["errors"] == 6 and numbers["errors_in_group"] == pytest.approx(2 / 6)
    distances = taxonomy_of(IDS).distances
    wrong = [(a, b) for a, b in CASES if a != b]
    assert numbers["error_distance"] == pytest.approx(np.mean([distances[pair] for pair in wrong]))
    assert numbers["chance_distance"] == pytest.approx(distances.sum() / 30)


def test_mass_of_the_two_clusters_by_hand():
    matrix = np.zeros((6, 6), int)
    matrix[GOLDEN, GOLDEN], matrix[GOLDEN, TABBY], matrix[TABBY, PIZZA] = 50, 20, 6
    matrix[PICKUP, TENCH], matrix[PICKUP, PIZZA], matrix[PIZZA, PIZZA] = 4, 10, 10
    shares = clusters(matrix, taxonomy_of(IDS))
    assert shares == {
        "animals as animals": 0.7, "animals as objects": 0.06, "objects as animals": 0.04,
        "objects as objects": 0.2, "within": 0.9, "between": pytest.approx(0.1),
        "within_off_diagonal": 30 / 40,
    }  # fmt: skip


def test_groups_by_hand(found):
    by_name = {row["name"]: row for row in found["meaning"]["groups"]}
    assert by_name["dogs"] == {
        "name": "dogs", "classes": 2, "images": 4, "rank1": 0.25, "in_group": 0.75,
    }  # fmt: skip
    assert list(by_name) == ["fish", "dogs", "cats", "vehicles", "food"]


def test_pairs_are_counted_in_both_directions(found):
    matrix = np.array([[9, 2, 0], [3, 9, 1], [4, 0, 9]])
    assert confused_pairs(matrix) == [
        ConfusedPair(0, 1, 2, 3),
        ConfusedPair(0, 2, 0, 4),
        ConfusedPair(1, 2, 1, 0),
    ]
    assert confused_pairs(matrix, 1) == [ConfusedPair(0, 1, 2, 3)]
    assert confused_pairs(np.eye(3, dtype=int)) == []
    first = found["confused_pairs"][0]
    assert first == {"a": IDS[GOLDEN], "b": IDS[LABRADOR], "a_as_b": 1, "b_as_a": 1}


def test_twenty_pairs_and_equal_ones_by_class():
    ones = 1 - np.eye(30, dtype=int)
    pairs = confused_pairs(ones)
    assert len(pairs) == meaning.PAIRS == 20
    assert [(pair.a, pair.b) for pair in pairs] == [(0, b) for b in range(1, 21)]


def test_other_classes_have_pairs_only():
    found = semantic_results(predictions_of([(0, 1), (1, 0), (0, 0)], 2), ["shirt", "coat"])
    assert found == {"confused_pairs": [{"a": "shirt", "b": "coat", "a_as_b": 1, "b_as_a": 1}]}


def test_all_right_has_no_distance():
    numbers = semantic_results(predictions_of([(0, 0), (3, 3)]), IDS)
    assert numbers["confused_pairs"] == []
    assert numbers["meaning"]["errors_in_group"] is None
    assert numbers["meaning"]["error_distance"] is None


def test_lines_for_a_terminal(found):
    names = dict(zip(IDS, ("golden", "labrador", "tabby", "tench", "pickup", "pizza")))
    lines = list(summary_lines({**found, "images": 8}, names))
    assert lines[0] == (
        "right: animal or object 87.50 %, kind 62.50 %, group 50.00 %, class 25.00 %"
    )
    assert lines[1].startswith("errors: 33.33 % stay in the group; ")
    assert lines[3] == "confused: golden taken for labrador 1, labrador for golden 1"
    assert len(lines) == 6


def test_short_names_differ():
    classes = [("n1", "crane, bird"), ("n2", "crane, machine"), ("n3", "tabby, tabby cat")]
    assert short_names(classes) == ["crane (n1)", "crane (n2)", "tabby"]
