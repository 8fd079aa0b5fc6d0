import math

import numpy as np
import pytest
from scipy import stats
from scipy.sparse import csr_matrix

from imagenet_trainer.metrics import confidence


def test_wilson_agrees_with_scipy():
    for hits, images in ((0, 10), (3, 10), (10, 10), (7012, 10_000), (1, 1)):
        wanted = stats.binomtest(hits, images).proportion_ci(0.95, "wilson")
        low, high = confidence.wilson(np.array(hits), np.array(images))
        assert (low, high) == pytest.approx((wanted.low, wanted.high), abs=1e-12)


def test_wilson_is_nan_without_images_and_contains_the_share():
    hits, images = np.array([0, 0, 5]), np.array([0, 7, 5])
    low, high = confidence.wilson(hits, images)
    assert math.isnan(low[0]) and math.isnan(high[0])
    assert low[1] == 0 and high[2] == 1 and high[1] > 0 and low[2] < 1


def resamples(values, **more):
    return np.concatenate(list(confidence.resampled_sums(values, **more)))


def test_resamples_are_sums_of_rows_drawn_with_replacement():
    values = np.arange(12.0).reshape(4, 3) + 1
    found = resamples(csr_matrix(values), seed=5, rounds=7)
    generator = np.random.Generator(np.random.PCG64(5))
    wanted = [values[generator.integers(0, 4, 4)].sum(axis=0) for _ in range(7)]
    np.testing.assert_allclose(found, wanted)


def test_resamples_do_not_depend_on_blocks(monkeypatch):
    values = csr_matrix(np.random.default_rng(0).random((50, 2)))
    wanted = resamples(values, rounds=20)
    monkeypatch.setattr(confidence, "_BLOCK_VALUES", 150)
    assert len(list(confidence.resampled_sums(values, rounds=20))) == 7
    np.testing.assert_array_equal(resamples(values, rounds=20), wanted)
    assert not np.array_equal(resamples(values, seed=1, rounds=20), wanted)


def test_the_bootstrap_interval_of_a_mean_has_the_theoretical_width():
    values = np.random.default_rng(1).normal(3, 2, 2000)
    sums = resamples(csr_matrix(values[:, None]))
    low, high = confidence.percentiles(sums[:, 0] / 2000)
    spread = 1.96 * values.std() / math.sqrt(2000)
    assert low == pytest.approx(values.mean() - spread, abs=0.1 * spread)
    assert high == pytest.approx(values.mean() + spread, abs=0.1 * spread)


def test_percentiles():
    found = confidence.percentiles(np.append(np.arange(201.0), np.nan))
    assert found == pytest.approx((5, 195))
    assert all(map(math.isnan, confidence.percentiles(np.array([np.nan]))))


def test_the_interval_of_a_median():
    assert confidence.median_interval([3, 1, 2, 5, 4, 6]) == (1, 6)
    assert confidence.median_interval(range(10)) == (1, 8)
    assert all(map(math.isnan, confidence.median_interval([1, 2, 3, 4, 5])))
    wanted = stats.quantile_test(np.arange(40), p=0.5).confidence_interval(0.95)
    assert confidence.median_interval(range(40)) == (wanted.low, wanted.high)
    rng = np.random.default_rng(3)
    bounds = [confidence.median_interval(rng.exponential(size=10)) for _ in range(1000)]
    assert 940 <= sum(low <= math.log(2) <= high for low, high in bounds) <= 995


def test_mcnemar_is_a_binomial_test():
    for first, second in ((0, 0), (1, 0), (3, 12), (12, 3), (10, 10), (900, 1000)):
        found = confidence.mcnemar(np.array(first), np.array(second))
        wanted = stats.binomtest(first, first + second).pvalue if first + second else 1
        assert found == pytest.approx(wanted, rel=1e-9)


def test_paired_difference_by_hand():
    # 100 images: only the first network classifies 5 correctly, only the second 15.
    low, high = confidence.paired_difference(5, 15, 100)
    difference, variance = 10 / 102, 5.5 + 15.5 - 10**2 / 102
    assert low == pytest.approx(difference - 1.959964 * math.sqrt(variance) / 102, abs=1e-6)
    assert high == pytest.approx(difference + 1.959964 * math.sqrt(variance) / 102, abs=1e-6)
    assert low < 0.10 < high
    assert confidence.paired_difference(5, 15, 100) == pytest.approx(
        [-bound for bound in confidence.paired_difference(15, 5, 100)][::-1]
    )


def test_the_interval_of_a_difference_covers_it_in_95_percent():
    rng = np.random.default_rng(2)
    both, first, second, none = 0.6, 0.08, 0.13, 0.19
    inside = 0
    for counts in rng.multinomial(300, [both, first, second, none], 1000):
        low, high = confidence.paired_difference(counts[1], counts[2], 300)
        inside += low <= second - first <= high
    assert 930 <= inside <= 970


def test_false_discovery_limit():
    # The limits of five p-values are .01 .02 .03 .04 .05.
    assert confidence.false_discovery_limit(np.array([0.5, 0.001, 0.03, 0.02, 0.9])) == 0.03
    assert confidence.false_discovery_limit(np.array([0.5, 0.06])) == -1
    assert confidence.false_discovery_limit(np.array([])) == -1
