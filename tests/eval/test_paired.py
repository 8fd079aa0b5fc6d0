from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from imagenet_trainer.config import EvaluateSettings
from imagenet_trainer.errors import InputError
from imagenet_trainer.eval.evaluator import EpochResult
from imagenet_trainer.eval.paired import (
    comparison_path,
    comparison_text,
    own_settings,
    paired_comparison,
    parse_checkpoints,
    with_classes_of,
)
from imagenet_trainer.metrics.predictions import Collector
from imagenet_trainer.runs.run import Run

CLASSES = (("n1", "one"), ("n2", "two"), ("n3", "n3"))


def side(prefix, epoch, labels, correct, keys=None):
    """A network with correct predictions where `correct` is true, elsewhere the next class."""
    labels, correct = np.array(labels), np.array(correct, bool)
    p = np.full((len(labels), 4), 0.1, np.float32)
    p[np.arange(len(labels)), np.where(correct, labels, (labels + 1) % 3)] = 0.7
    collector = Collector(np.arange(len(labels)) if keys is None else keys, 4)
    collector.add(np.arange(len(labels)), p, labels)
    predictions = collector.complete()
    return Run(prefix), EpochResult(
        epoch, predictions, {"rank1": correct.mean()}, "", (*CLASSES, ("n4", "x"))
    )


def test_a_comparison_by_hand():
    labels = [0] * 30 + [1] * 4 + [2] * 2
    right_a = [0] * 20 + [1] * 10 + [1, 1, 0, 0] + [1, 0]
    right_b = [1] * 30 + [1, 0, 0, 1] + [0, 0]
    result = paired_comparison(
        side("runs/a/m", 5, labels, right_a), side("runs/a/m", 9, labels, right_b)
    )
    assert result["images"] == 36 and result["both_right"] == 11
    assert (result["only_a_right"], result["only_b_right"]) == (2, 21)
    assert result["difference"] == pytest.approx(19 / 36)
    assert result["interval"][0] < 19 / 36 < result["interval"][1]
    assert result["mcnemar_p"] == pytest.approx(stats.binomtest(2, 23).pvalue)
    first, same, lost = result["classes"]  # the fourth has no images
    assert first == {
        "class": 0, "id": "n1", "name": "one", "pictures": 30, "right_a": 10, "right_b": 30,
        "p": pytest.approx(2 * 0.5**20), "sure": True,
    }  # fmt: skip
    assert (same["class"], same["right_a"], same["right_b"], same["p"]) == (1, 2, 2, 1)
    assert (lost["class"], lost["p"], lost["sure"]) == (2, 1, False)
    lines = comparison_text(result).splitlines()
    assert lines[0].startswith("rank-1: +52.78 points, 95 % interval +")
    assert "the first is correct: 2, only the second: 21" in lines[1]
    assert lines[1].endswith(": significant")
    assert lines[2].startswith("classes: 1 better, 1 worse, 1 equal; ")
    assert lines[2].endswith(": 1 better, 0 worse")
    assert lines[3:] == [
        "better:", "  n1 one: 10 -> 30 of 30, p 1.9e-06 *", "worse:", "  n3: 1 -> 0 of 2, p 1",
    ]  # fmt: skip
    assert comparison_path(result, Run("runs/a/m")) == Path("runs/a/comparison-0005-0009.json")


def test_a_network_compared_with_itself():
    one = side("a/m", 1, [0, 1, 2, 2], [1, 0, 1, 1])
    result = paired_comparison(one, one)
    assert result["difference"] == 0 and result["mcnemar_p"] == 1
    assert comparison_text(result).splitlines()[1].endswith("not significant")
    assert not any(row["sure"] for row in result["classes"])


def test_at_most_ten_classes_are_printed():
    labels = np.repeat([0, 1, 2], 4)
    result = paired_comparison(side("a/m", 1, labels, [0] * 12), side("b/m", 2, labels, [1] * 12))
    result["classes"] = result["classes"] * 5
    assert "  ... and 5 more" in comparison_text(result)
    assert comparison_path(result, Run("a/m")) == Path("a/comparison-0001-b_m-0002.json")
    # Views of the second network alone do not overwrite the comparison without them.
    named = comparison_path(result, Run("a/m"), "--crops 10 --flip")
    assert named == Path("a/comparison-0001-b_m-0002-crops_10_flip.json")
    long = {comparison_path(result, Run("a/m"), f"--classes {300 * 'x'}{n}").name for n in (1, 2)}
    assert len(long) == 2 and max(map(len, long)) < 100


@pytest.mark.parametrize("other", [{"labels": [0, 1, 1]}, {"keys": np.array([0, 1, 5])}])
def test_different_images(other):
    words = {"labels": [0, 1, 2], "correct": [1, 1, 0]}
    with pytest.raises(InputError, match=r"--compare: a/m and b/m .*--data-val"):
        paired_comparison(side("a/m", 1, **words), side("b/m", 1, **{**words, **other}))


def test_values_of_compare():
    def default():
        return Run("runs/newest/model")

    def parsed(*values):
        return [(one.run.prefix, one.epoch) for one in parse_checkpoints(values, default)]

    assert parsed("5", "9") == [("runs/newest/model", 5), ("runs/newest/model", 9)]
    assert parsed("runs/a/m", "runs/b/m,12") == [("runs/a/m", None), ("runs/b/m", 12)]
    assert parsed("3", "runs/a,b/m,4") == [("runs/newest/model", 3), ("runs/a,b/m", 4)]
    value = "runs/a b/m,12 --bgr 1 --rgb-mean=1,2,3"
    [one] = parse_checkpoints([value], default)
    assert (one.run.prefix, one.epoch) == ("runs/a b/m", 12)
    settings = own_settings(EvaluateSettings(bgr=False, val_resize=9, flip=True), one.own)
    assert (settings.bgr, settings.rgb_mean, settings.val_resize) == (True, (1, 2, 3), 9)
    assert settings.flip
    for epoch in ("last", "²"):
        with pytest.raises(InputError, match=f"--compare runs/a/m,{epoch}: '{epoch}'"):
            parsed(f"runs/a/m,{epoch}", "5")


def several(prefix, precision, **more):
    run, one = side(prefix, 1, [0, 1, 2, 2], [1, 0, 1, 1])
    return run, one._replace(has_several=True, precision=np.array(precision), **more)


def test_networks_for_images_with_several_classes():
    """By average precision, paired by class: the sign test is SciPy's binomial one."""
    before = several("a/m", [0.5, 0.25, np.nan, 0.75])
    result = paired_comparison(before, several("b/m", [0.75, 0.5, np.nan, 0.5]))
    found = result["average_precision"]
    assert result["classes"] == [] and found["mean"] == [0.5, pytest.approx(1.75 / 3)]
    assert (found["better"], found["worse"], found["median_difference"]) == (2, 1, 0.25)
    assert found["sign_test_p"] == pytest.approx(stats.binomtest(1, 3).pvalue)
    assert found["interval"] == [None, None]  # from six classes on
    assert [(row["id"], row["a"], row["b"]) for row in found["classes"]] == [
        ("n1", 0.5, 0.75), ("n2", 0.25, 0.5), ("n4", 0.75, 0.5)
    ]  # fmt: skip
    assert comparison_text(result).splitlines()[2:] == [
        "mean average precision: 50.00 % -> 58.33 %, +8.33 points",
        "classes: 2 better, 1 worse, median +25.00 points; sign test's exact p 1: not significant",
        "better:", "  n1 one: average precision 50.00 % -> 75.00 %",
        "  n2 two: average precision 25.00 % -> 50.00 %",
        "worse:", "  n4 x: average precision 75.00 % -> 50.00 %",
    ]  # fmt: skip
    with pytest.raises(InputError, match=r"only one of the networks .*--multi-label"):
        paired_comparison(before, side("b/m", 1, [0, 1, 2, 2], [1, 0, 1, 1]))
    others = (("n9", "x"), *before[1].classes[1:])
    with pytest.raises(InputError, match=r"name their classes differently; .*--classes"):
        paired_comparison(before, several("b/m", [0.5, 0.5, np.nan, 0.5], classes=others))


def test_predictions_in_the_order_of_other_classes():
    _, one = several("a/m", [0.1, 0.2, 0.3, 0.4])
    order = [2, 0, 3, 1]
    turned = with_classes_of(one, [one.classes[k] for k in order])
    names, before = (
        [[r.classes[k][0] for k in row] for row in r.predictions.top] for r in (turned, one)
    )
    assert names == before and turned.predictions.labels.tolist() == [1, 3, 0, 0]
    assert turned.precision.tolist() == [0.3, 0.1, 0.4, 0.2]
    assert with_classes_of(one, [("n9", "x"), *one.classes[1:]]) is one
