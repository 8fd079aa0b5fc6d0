"""From predictions to numbers: what is published of a network, each with its 95 % interval.

Rules, where there are several in use:

- Two equally probable classes are ordered by their index, the lower first.
- The precision of a class that is never predicted is nought in the macro average (scikit-learn's
  default) and unknown in the table of classes. Macro averages are over the classes with images.
- Expected calibration error (Guo, Pleiss, Sun and Weinberger 2017): 15 bins of equal width
  (0, 1/15], ... on the probability of the first class; the distance between accuracy and mean
  probability in a bin, weighted with its share of the images.
"""

from dataclasses import dataclass
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np
from scipy.sparse import csr_matrix, hstack

from imagenet_trainer.metrics.confidence import percentiles, resampled_sums, wilson
from imagenet_trainer.metrics.counts import loss_of
from imagenet_trainer.metrics.predictions import Predictions

BINS = 15
"""Of the calibration error."""


@dataclass(frozen=True)
class Estimate:
    """A number and the bounds of its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ClassTable:
    """Counts of every class: int64 (classes,), and what follows from them."""

    images: np.ndarray  # that show it
    predicted: np.ndarray  # whose most probable class it is
    hits: np.ndarray  # both
    top5_hits: np.ndarray  # that show it and have it among the first five

    def recall(self) -> np.ndarray:
        """Share, low, high: float64 (classes, 3), nan without images."""
        return _shares(self.hits, self.images)

    def precision(self) -> np.ndarray:
        """Likewise, of the images for which the class was predicted."""
        return _shares(self.hits, self.predicted)

    def top5_recall(self) -> np.ndarray:
        """Likewise, of the images of the class: those that have it among the first five."""
        return _shares(self.top5_hits, self.images)


def class_table(predictions: Predictions) -> ClassTable:
    """Count the classes."""

    def count(labels: np.ndarray) -> np.ndarray:
        return np.bincount(labels, minlength=predictions.classes)

    labels = predictions.labels
    return ClassTable(
        count(labels),
        count(predictions.top[:, 0]),
        count(labels[predictions.rank < 1]),
        count(labels[predictions.rank < 5]),
    )


def estimates(
    predictions: Predictions, top_k: Sequence[int] = (), seed: int = 0
) -> Dict[str, Estimate]:
    """All numbers of a network by name, in the order in which they are told.

    `rank1`, `rank5` and `rankK` for each K of `top_k`: shares of the images whose true class is
    among the first; `loss`: mean cross-entropy in nats; `macro_recall`, `macro_precision`,
    `macro_rank5`: means over the classes; `calibration_error`. Of no images all are nan.
    """
    images = len(predictions)
    found: Dict[str, Estimate] = {}
    for name in rank_names(top_k):
        hits = (predictions.rank < int(name[4:])).sum()
        low, high = wilson(hits, np.array(images))
        found[name] = Estimate(hits / images if images else np.nan, float(low), float(high))
    if not images:
        names = ("loss", "macro_recall", "macro_precision", "macro_rank5", "calibration_error")
        return {**found, **{name: Estimate(np.nan, np.nan, np.nan) for name in names}}
    columns = _columns(predictions)
    whole = _Sums.of(np.asarray(columns.sum(axis=0)), predictions.classes, images)
    again = _Sums.of(resampled_sums(columns, seed), predictions.classes, images)
    for name in ("loss", "macro_recall", "macro_precision", "macro_rank5"):
        found[name] = Estimate(
            float(getattr(whole, name)()[0]), *percentiles(getattr(again, name)())
        )
    found["calibration_error"] = _calibration_error(whole.gaps, again.gaps)
    return found


def rank_names(top_k: Sequence[int]) -> List[str]:
    """Names of rank-1, rank-5 and the ranks asked for, ascending."""
    return [f"rank{k}" for k in sorted({1, 5, *top_k})]


def calibration(predictions: Predictions, bins: int = BINS) -> Dict[str, np.ndarray]:
    """The reliability diagram: `images` int64, `accuracy`, `confidence` float64, each (bins,).

    nan in bins without images.
    """
    place = _bin(predictions.probabilities[:, 0], bins)
    images = np.bincount(place, minlength=bins)
    hits = np.bincount(place, predictions.rank < 1, minlength=bins)
    confidence = np.bincount(place, predictions.probabilities[:, 0], minlength=bins)
    with np.errstate(invalid="ignore"):
        return {"images": images, "accuracy": hits / images, "confidence": confidence / images}


def as_json(found: Dict[str, Estimate], predictions: Predictions) -> Dict[str, Any]:
    """The numbers as evaluation.json holds them; null for what is unknown."""
    numbers: Dict[str, Any] = {"images": len(predictions)}
    numbers.update((name, _known(one.value)) for name, one in found.items())
    for name in found:
        if name.startswith("rank"):
            numbers[f"{name}_count"] = int((predictions.rank < int(name[4:])).sum())
    numbers["intervals"] = {
        name: [_known(one.low), _known(one.high)] for name, one in found.items()
    }
    return numbers


# --- sums over images ------------------------------------------------------------------------


def _columns(predictions: Predictions) -> csr_matrix:
    """What is added up over the images, sparse (images, 4 classes + bins + 1).

    For each class: its images, its hits, its hits among five, its predictions; for each bin:
    hits minus probabilities; the loss.
    """
    labels, first = predictions.labels, predictions.top[:, 0]
    hit, hit5 = predictions.rank < 1, predictions.rank < 5
    confidence = predictions.probabilities[:, 0].astype(np.float64)
    return hstack(
        [
            _spread(np.ones(len(labels)), labels, predictions.classes),
            _spread(hit, labels, predictions.classes),
            _spread(hit5, labels, predictions.classes),
            _spread(np.ones(len(labels)), first, predictions.classes),
            _spread(hit - confidence, _bin(confidence, BINS), BINS),
            csr_matrix(loss_of(predictions.true)[:, None]),
        ],
        format="csr",
    )


def _spread(values: np.ndarray, columns: np.ndarray, count: int) -> csr_matrix:
    """A sparse matrix (images, count) with one value in each row."""
    rows = np.arange(len(values) + 1)
    return csr_matrix((values.astype(np.float64), columns, rows), (len(values), count))


@dataclass(frozen=True)
class _Sums:
    """Sums of the columns over the set itself, or over its resamples: float64, a row for each."""

    shown: np.ndarray  # rows, classes
    hits: np.ndarray  # likewise
    hits5: np.ndarray  # likewise
    predicted: np.ndarray  # likewise
    gaps: np.ndarray  # rows, bins: what a bin adds to the calibration error, with its sign
    losses: np.ndarray  # rows, 1
    images: int

    @classmethod
    def of(cls, sums: np.ndarray, classes: int, images: int) -> "_Sums":
        edges = np.cumsum([classes, classes, classes, classes, BINS])
        shown, hits, hits5, predicted, gaps, losses = np.split(sums, edges, axis=1)
        return cls(shown, hits, hits5, predicted, gaps / images, losses, images)

    def loss(self) -> np.ndarray:
        return self.losses[:, 0] / self.images

    def macro_recall(self) -> np.ndarray:
        return self._macro(self.hits, self.shown)

    def macro_precision(self) -> np.ndarray:
        return self._macro(self.hits, self.predicted)

    def macro_rank5(self) -> np.ndarray:
        return self._macro(self.hits5, self.shown)

    def _macro(self, hits: np.ndarray, of: np.ndarray) -> np.ndarray:
        """Mean of hits / of over the classes that are shown; nought for one where `of` is."""
        there = self.shown > 0
        shares = np.divide(hits, of, out=np.zeros_like(hits), where=there & (of > 0))
        return shares.sum(axis=1) / there.sum(axis=1)


def _calibration_error(gaps: np.ndarray, resampled: np.ndarray) -> Estimate:
    """Sum of the bins' gaps without sign, (1, bins) and (rounds, bins).

    Chance alone makes gaps, so the estimate is too high for a network that is well calibrated,
    and its bootstrap higher still: the percentiles would leave the truth out (measured: always).
    By the triangle inequality the true error is no further below the estimate than all gaps
    together are off; that distance is resampled for the lower bound.
    """
    value = float(np.abs(gaps).sum())
    off = percentiles(np.abs(resampled - gaps).sum(axis=1))[1]
    return Estimate(value, max(0.0, value - off), percentiles(np.abs(resampled).sum(axis=1))[1])


def _bin(confidence: np.ndarray, bins: int) -> np.ndarray:
    """Bin of each probability, its upper edge included: int64."""
    return np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], confidence)


def _shares(hits: np.ndarray, of: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return np.stack([hits / of, *wilson(hits, of)], axis=1)


def _known(value: float) -> Any:
    return float(value) if np.isfinite(value) else None


# --- told --------------------------------------------------------------------------------------

_TITLES = {
    "loss": "loss",
    "macro_recall": "recall, mean of the classes",
    "macro_precision": "precision, mean of the classes",
    "macro_rank5": "rank-5, mean of the classes",
    "calibration_error": "calibration error",
}


def table(numbers: Dict[str, Any], top_k: Sequence[int] = ()) -> str:
    """The numbers of evaluation.json with their intervals, a line each.

    Of the ranks, which may be there from earlier calls, those of `rank_names`.
    """
    lines = [f"{'':<32}{'':>10}   95 % interval"]
    ranks = rank_names(top_k)
    for name, (low, high) in numbers["intervals"].items():
        if name.startswith("rank") and name not in ranks:
            continue
        title = _TITLES.get(name) or f"rank-{name[4:]}"
        cells = [_cell(name, value) for value in (numbers[name], low, high)]
        unit = "" if name == "loss" else " %"
        lines.append(f"{title:<32}{cells[0] + unit:>10}   {cells[1]} to {cells[2]}{unit}")
    return "\n".join(lines)


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if name == "loss" else f"{100 * value:.2f}"


CLASS_COLUMNS: Tuple[str, ...] = (
    "class", "id", "name", "pictures", "predicted", "recall", "recall_low", "recall_high",
    "precision", "precision_low", "precision_high", "rank5", "rank5_low", "rank5_high",
)  # fmt: skip


def class_rows(counted: ClassTable, classes: Sequence[Tuple[str, str]]) -> List[Tuple]:
    """A row for each class under CLASS_COLUMNS; what is unknown is an empty cell."""
    shares = np.concatenate([counted.recall(), counted.precision(), counted.top5_recall()], axis=1)
    return [
        (label, *names, int(counted.images[label]), int(counted.predicted[label]),
         *("" if np.isnan(value) else f"{value:.6f}" for value in shares[label]))
        for label, names in enumerate(classes)
    ]  # fmt: skip
