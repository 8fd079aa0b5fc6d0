"""95 % confidence intervals, and tests of two networks on the same images.

Proportions get Wilson's score interval, all other metrics the percentile bootstrap over images.
"""

from typing import Iterator, Sequence, Tuple

import numpy as np
from scipy.sparse import csr_matrix
from scipy.special import bdtr

LEVEL = 0.95
_Z = 1.959963984540054  # the normal distribution's quantile at 0.975
ROUNDS = 1000
"""Bootstrap resamples."""

_BLOCK_VALUES = 800_000  # in a block of resamples: 6 MB, which fits into the processor's cache


def wilson(hits: np.ndarray, images: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Bounds of hits / images: float64 in the shape of the arrays; nan where there are no images.

    E. B. Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    hits, images = np.asarray(hits, np.float64), np.asarray(images, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = hits / images
        centre = share + _Z**2 / (2 * images)
        spread = _Z * np.sqrt(share * (1 - share) / images + _Z**2 / (4 * images**2))
        low, high = ((centre + side) / (1 + _Z**2 / images) for side in (-spread, spread))
    # Rounding must not move a bound past the share itself.
    return np.clip(low, 0, share), np.clip(high, share, 1)


def resampled_sums(values: csr_matrix, seed: int = 0, rounds: int = ROUNDS) -> Iterator[np.ndarray]:
    """Column sums of `rounds` bootstrap resamples of the rows: blocks float64 (some, columns).

    A resample draws as many rows as there are, with replacement (B. Efron 1979). `values`
    (images, columns) is sparse and has a column for every sum, so all metrics share the
    resamples. The generator is PCG64(seed); nothing else is random. The blocks together have
    `rounds` rows, which for ImageNet-21k would take 700 MB.
    """
    images, columns = values.shape
    generator = np.random.Generator(np.random.PCG64(seed))
    by_column = values.T.tocsr()
    block = max(1, _BLOCK_VALUES // max(images, columns, 1))
    for first in range(0, rounds, block):
        times = np.empty((min(block, rounds - first), images))  # how often each row is drawn
        for row in times:
            row[:] = np.bincount(generator.integers(0, images, images), minlength=images)
        yield np.ascontiguousarray((by_column @ np.ascontiguousarray(times.T)).T)


def percentiles(resamples: np.ndarray) -> Tuple[float, float]:
    """The interval of the middle 95 % of resampled values; nan values are ignored."""
    resamples = resamples[np.isfinite(resamples)]
    if not len(resamples):
        return float("nan"), float("nan")
    outside = (1 - LEVEL) / 2
    low, high = np.quantile(resamples, [outside, 1 - outside])
    return float(low), float(high)


def resampled_mean(values: np.ndarray) -> Tuple[float, float]:
    """The bootstrap's 95 % interval of the mean of values (n,)."""
    columns = csr_matrix(values[:, None])
    sums = np.concatenate([np.asarray(block)[:, 0] for block in resampled_sums(columns)])
    return percentiles(sums / len(values))


def median_interval(values: Sequence[float]) -> Tuple[float, float]:
    """Interval of the median of what the values are drawn from, between two of them; nan for few.

    The number of values below the median is binomial, whatever their distribution, so at least six
    are needed (W. R. Thompson 1936, "On confidence ranges for the median").
    """
    ordered = np.sort(np.asarray(values, np.float64))
    outside = (1 - LEVEL) / 2
    ranks = [rank for rank in range(len(ordered) // 2) if bdtr(rank, len(ordered), 0.5) <= outside]
    if not ranks:
        return float("nan"), float("nan")
    return float(ordered[ranks[-1]]), float(ordered[-1 - ranks[-1]])


def mcnemar(only_first: np.ndarray, only_second: np.ndarray) -> np.ndarray:
    """Exact two-sided p-value of McNemar's test: float64 in the shape of the arrays.

    The arguments count the images that only the first, or only the second network classifies
    correctly. If both networks are equally good, these are tosses of a fair coin (Q. McNemar
    1947).
    """
    least, both = np.minimum(only_first, only_second), np.add(only_first, only_second)
    return np.minimum(1.0, 2 * bdtr(np.asarray(least, np.float64), both, 0.5))


def paired_difference(only_first: int, only_second: int, images: int) -> Tuple[float, float]:
    """Interval of the accuracy of the second network minus that of the first.

    A. Agresti and Y. Min 2005, "Simple improved confidence intervals for comparing matched
    proportions": Wald's interval, with half an image added to each of the four cells.
    """
    first, second, all_images = only_first + 0.5, only_second + 0.5, images + 2
    difference = (second - first) / all_images
    spread = _Z * np.sqrt(first + second - (second - first) ** 2 / all_images) / all_images
    return max(-1.0, float(difference - spread)), min(1.0, float(difference + spread))


def false_discovery_limit(p: np.ndarray, rate: float = 0.05) -> float:
    """The largest significant p-value at a false discovery rate; -1 where none is significant.

    Of the significant ones a share of `rate` is false on average (Y. Benjamini, Y. Hochberg 1995).
    """
    ordered = np.sort(p)
    passing = ordered <= rate * np.arange(1, len(p) + 1) / max(len(p), 1)
    return float(ordered[passing].max()) if passing.any() else -1.0
