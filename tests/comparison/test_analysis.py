import numpy as np
import pytest
from helpers.results import epochs_of, result, timing
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from imagenet_trainer.comparison.analysis import (
    BatchSpeed,
    Epoch,
    Timing,
    epoch_times,
    most_accurate,
    overfitting,
    p_value,
    pareto_front,
    recommendations,
)


def test_epoch_times():
    assert epoch_times(epochs_of([1] * 4, [1] * 4, 2.0)) == (2, 2, 8)
    rows = [Epoch(n, 1, 1, 1, 1, seconds) for n, seconds in enumerate([9, 1, 2, 6], start=1)]
    assert epoch_times(rows) == (9, 2, 18)
    assert np.isnan(epoch_times(rows[:1]).later)
    assert epoch_times([]).total == 0


@pytest.mark.parametrize(
    ("train", "val", "expected"),
    [
        ([3, 2, 1, 0.5], [3, 2, 2.25, 2.5], (2, 0.5, 1.5)),
        ([3, 2, 1], [3, 2, 1], None),  # still improving
        ([3, 2, 2.5], [3, 2, 2.25], None),  # the training loss does not fall further
        ([3, 2, 1, 0.5], [3, 2, 2.5, 2], None),  # as low again at the end
        ([3, 2, 1, 0.5], [2, 3, 2, 4], (3, 2, 0.5)),  # the last of equal ones
        ([3, 2, 1], [2, float("nan"), 4], (1, 2, 2)),
        ([3], [3], None),
        ([], [], None),
        ([1, 1], [float("nan")] * 2, None),
    ],
)
def test_overfitting(train, val, expected):
    assert overfitting(epochs_of(train, val)) == expected


def test_pareto_front():
    #        best    cheap  beaten  equal to best   unknown
    costs = [5.0, 1.0, 5.0, 5.0, float("nan")]
    gains = [9.0, 3.0, 8.0, 9.0, 10.0]
    assert pareto_front(costs, gains) == [1, 0, 3]
    assert pareto_front([], []) == []


points = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=12)


@given(points)
def test_pareto_front_by_its_definition(pairs):
    costs, gains = [float(a) for a, _ in pairs], [float(b) for _, b in pairs]
    chosen = pareto_front(costs, gains)
    for index, (cost, gain) in enumerate(pairs):
        better = [(a, b) for a, b in pairs if a <= cost and b >= gain and (a, b) != (cost, gain)]
        assert (index in chosen) == (not better)
    assert [costs[i] for i in chosen] == sorted(costs[i] for i in chosen)


def test_p_value_is_that_of_the_exact_binomial_test():
    one, other = result("a", 9), result("b", 3)
    assert p_value(one, other) == pytest.approx(binomtest(0, 6).pvalue)
    assert p_value(one, one) == 1


def test_advice():
    best = result("large", 198, 200, median=9, parameters=9_000_000)
    short = epochs_of([1, 1], [1, 1], 0.4)
    near = result("medium", 196, 200, median=4, parameters=500, epochs=short)
    poor = result("small", 100, 200, median=1, parameters=1000)
    networks = {one.purpose: one.network for one in recommendations([poor, near, best])}
    assert networks == {
        "most accurate": "large or medium",
        "fastest, one image on CPU": "small",
        "smallest": "medium",
        "least training": "medium",
        "fastest that is not measurably worse than the most accurate": "medium",
    }
    assert recommendations([]) == []


def turns(*medians):
    speeds = (BatchSpeed(1, 1.0),)
    return Timing("CPU", speeds, medians, 9, medians, 9)


def fastest(*networks):
    found = {one.purpose: one for one in recommendations(networks)}
    return found["fastest, one image on CPU"].network


def test_networks_are_compared_turn_by_turn():
    load = np.linspace(1, 3, 10)  # the machine becomes slower and slower
    quick = result("quick", timings=(turns(*load),))
    slow = result("slow", timings=(turns(*(1.1 * load)),))
    assert fastest(slow, quick) == "quick"
    low, high = quick.timings[0].interval
    assert low < 1.1 * np.median(load) < high  # the intervals alone overlap


def test_the_same_network_is_not_faster_than_itself():
    rng = np.random.default_rng(0)
    one, other = (result(name, timings=(turns(*rng.lognormal(0, 0.5, 10)),)) for name in "ab")
    assert fastest(one, other) in ("a or b", "b or a")


def test_too_few_turns_recommend_nothing():
    assert fastest(
        result("a", timings=(turns(1, 1, 1),)), result("b", timings=(turns(9, 9, 9),))
    ) == "a or b"  # fmt: skip


def test_without_latencies_nothing_is_recommended_for_them():
    unknown = [result("a", timings=(turns(),)), result("b", timings=(turns(),))]
    assert [one.purpose for one in recommendations(unknown)] == [
        "most accurate", "smallest", "least training",
    ]  # fmt: skip
    assert most_accurate([unknown[0], result("c")]).name == "c"


@pytest.mark.parametrize(
    ("seconds", "others", "wanted"),
    [([1, 1, 1], [2, 2, 2], "a"), ([1, 1, 2], [1, 2, 2], "a or b"), ([1], [5], "a or b")],
)
def test_the_shortest_training(seconds, others, wanted):
    both = [
        result(name, epochs=tuple(Epoch(n, 1, 1, 1, 1, s) for n, s in enumerate(rows, start=1)))
        for name, rows in (("a", seconds), ("b", others))
    ]
    assert {one.purpose: one.network for one in recommendations(both)}["least training"] == wanted


def test_ties_in_accuracy():
    assert most_accurate([result("a", loss=0.5), result("b", loss=0.4)]).name == "b"
    assert most_accurate([result("a", median=3), result("b", median=2)]).name == "b"


def test_ties_in_size():
    two = [
        result("a", 5, parameters=100),
        result("b", 7, parameters=100),
        result("c", parameters=101),
    ]
    assert {one.purpose: one.network for one in recommendations(two)}["smallest"] == "b"


def test_the_fastest_on_each_device():
    two = [
        result("a", timings=(timing(1), timing(5, "GPU"))),
        result("b", timings=(timing(2), timing(4, "GPU"))),
    ]
    networks = {one.purpose: one.network for one in recommendations(two)}
    assert networks["fastest, one image on CPU"] == "a"
    assert networks["fastest, one image on GPU"] == "b"


def test_the_best_batch_size():
    assert timing(2).best == BatchSpeed(2, 1500)
