"""Metrics of a network from its predictions, each with its 95 % confidence interval.

Definitions, where several are in use:

- Equally probable classes are ordered by their index.
- The precision of a class that is never predicted is zero in the macro average (scikit-learn's
  default) and unknown in the table of classes. Macro averages are over the classes with images.
- Expected calibration error (Guo, Pleiss, Sun and Weinberger 2017): 15 bins of equal width
  (0, 1/15], ... of the probability of the most probable class; the difference between accuracy
  and mean probability in each bin, weighted by the bin's share of the images.
"""

from dataclasses import dataclass
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from scipy.sparse import csr_matrix, hstack

from imagenet_trainer.metrics.confidence import percentiles, resampled_sums, wilson
from imagenet_trainer.metrics.counts import has_rank5, loss_of
from imagenet_trainer.metrics.predictions import Predictions

BINS = 15
"""Bins of the calibration error."""


@dataclass(frozen=True)
class Estimate:
    """A value and the bounds of its 95 % confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ClassTable:
    """Counts for every class, int64 (classes,), and the metrics that follow from them."""

    images: np.ndarray  # images of the class
    predicted: np.ndarray  # images for which it is the most probable class
    hits: np.ndarray  # images of the class for which it is the most probable
    top5_hits: np.ndarray  # images of the class that have it among the five most probable

    def recall(self) -> np.ndarray:
        """Share, low, high: float64 (classes, 3), nan without images."""
        return _shares(self.hits, self.images)

    def precision(self) -> np.ndarray:
        """Share, low, high of the images for which the class is predicted."""
        return _shares(self.hits, self.predicted)

    def f1(self) -> np.ndarray:
        """The harmonic mean of recall and precision, float64 (classes,), nan without images.

        2 hits / (images + predicted), which is 0 for a class that is never predicted.
        """
        with np.errstate(invalid="ignore"):
            return np.where(self.images > 0, 2 * self.hits / (self.images + self.predicted), np.nan)

    def top5_recall(self) -> np.ndarray:
        """Share, low, high of the images of the class that have it among the top five."""
        return _shares(self.top5_hits, self.images)


def class_table(predictions: Predictions) -> ClassTable:
    """Count images, predictions and hits of each class."""

    def count(labels: np.ndarray) -> np.ndarray:
        return np.bincount(labels, minlength=predictions.classes)

    labels = predictions.labels
    return ClassTable(
        count(labels),
        count(predictions.top[:, 0]),
        count(labels[predictions.rank < 1]),
        count(labels[predictions.rank < 5]),
    )


def estimates(predictions: Predictions, top_k: Sequence[int] = ()) -> Dict[str, Estimate]:
    """All metrics by name, in the order in which they are printed; nan without images.

    `rank1`, `rank5` and `rankK` for each K of `top_k`: shares of the images whose true class is
    among the K most probable; `loss`: mean cross-entropy in nats; `macro_recall`,
    `macro_precision`, `macro_rank5`: means over the classes; `calibration_error`.
    """
    images = len(predictions)
    metrics: Dict[str, Estimate] = {}
    for name in rank_names(top_k):
        hits = (predictions.rank < int(name[4:])).sum()
        low, high = wilson(hits, np.array(images))
        metrics[name] = Estimate(hits / images if images else np.nan, float(low), float(high))
    if not images:
        return {**metrics, **{name: Estimate(np.nan, np.nan, np.nan) for name in _TITLES}}
    columns = _columns(predictions)
    whole = _Sums.of(np.asarray(columns.sum(axis=0)), predictions.classes, images)
    resampled = [
        _Sums.of(block, predictions.classes, images).means() for block in resampled_sums(columns)
    ]
    for name, values in whole.means().items():
        resamples = np.concatenate([block[name] for block in resampled])
        metrics[name] = (
            _calibration_error(values, resamples)
            if name == "calibration_error"
            else Estimate(float(values[0]), *percentiles(resamples))
        )
    return metrics


def rank_names(top_k: Sequence[int]) -> List[str]:
    """Names of rank-1, rank-5 and the ranks in `top_k`, ascending."""
    return [f"rank{k}" for k in sorted({1, 5, *top_k})]


def shown_ranks(classes: int, top_k: Sequence[int] = ()) -> List[str]:
    """The `rank_names` to show for a network: rank-5 only where it says anything."""
    return [
        name for name in rank_names(top_k) if name != "rank5" or 5 in top_k or has_rank5(classes)
    ]


class Collapse(NamedTuple):
    """A class that is predicted whatever the image, and the share of images with it."""

    label: int
    share: float


COLLAPSED = 0.99
"""Predictions have collapsed if this share of the images of other classes gets one class."""


def collapse(predictions: Predictions) -> Optional[Collapse]:
    """The class that is predicted for nearly all images, also those of other classes, or None.

    None too if all images are of that class.
    """
    if not len(predictions):
        return None
    first = predictions.top[:, 0]
    label = int(np.bincount(first, minlength=predictions.classes).argmax())
    others = predictions.labels != label
    share = float((first == label).mean())
    if share < COLLAPSED or not others.any() or (first[others] == label).mean() < COLLAPSED:
        return None
    return Collapse(label, share)


def at_chance(rank1: float, classes: int, images: int) -> bool:
    """Whether an accuracy is not above chance; for 100 classes or more not above five times that.

    Trained networks of many classes are far above that, and those with wrong preprocessing not.
    Fewer than 30 images do not say it.
    """
    return images >= 30 and rank1 <= (5 if classes >= 100 else 1) / classes


def calibration(predictions: Predictions) -> Dict[str, np.ndarray]:
    """The reliability diagram: `images` int64, `accuracy` and `confidence` float64, each (BINS,).

    Bins without images are nan.
    """
    bin_of = _bin(predictions.probabilities[:, 0])
    images = np.bincount(bin_of, minlength=BINS)
    hits = np.bincount(bin_of, predictions.rank < 1, minlength=BINS)
    confidence = np.bincount(bin_of, predictions.probabilities[:, 0], minlength=BINS)
    with np.errstate(invalid="ignore"):
        return {"images": images, "accuracy": hits / images, "confidence": confidence / images}


def as_json(metrics: Dict[str, Estimate], predictions: Predictions) -> Dict[str, Any]:
    """The metrics in the form of evaluation.json; unknown values are None."""
    entry: Dict[str, Any] = {"images": len(predictions)}
    entry.update((name, _known(one.value)) for name, one in metrics.items())
    for name in metrics:
        if name.startswith("rank"):
            entry[f"{name}_count"] = int((predictions.rank < int(name[4:])).sum())
    entry["intervals"] = {
        name: [_known(one.low), _known(one.high)] for name, one in metrics.items()
    }
    return entry


# --- sums over images ------------------------------------------------------------------------


def _columns(predictions: Predictions) -> csr_matrix:
    """The values to sum over the images, sparse (images, 4 classes + bins + 1).

    For each class: images, hits, top-5 hits, predictions; for each bin: hits minus
    probabilities; the loss.
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
            _spread(hit - confidence, _bin(confidence), BINS),
            csr_matrix(loss_of(predictions.true)[:, None]),
        ],
        format="csr",
    )


def _spread(values: np.ndarray, columns: np.ndarray, count: int) -> csr_matrix:
    """A sparse matrix (images, count) with one value per row."""
    rows = np.arange(len(values) + 1)
    return csr_matrix((values.astype(np.float64), columns, rows), (len(values), count))


@dataclass(frozen=True)
class _Sums:
    """Sums of the columns: float64, one row for the dataset itself or one for each resample."""

    images_of: np.ndarray  # rows, classes
    hits: np.ndarray  # rows, classes
    hits5: np.ndarray  # rows, classes
    predicted: np.ndarray  # rows, classes
    gaps: np.ndarray  # rows, bins: signed contribution of each bin to the calibration error
    losses: np.ndarray  # rows, 1
    images: int

    @classmethod
    def of(cls, sums: np.ndarray, classes: int, images: int) -> "_Sums":
        edges = np.cumsum([classes, classes, classes, classes, BINS])
        images_of, hits, hits5, predicted, gaps, losses = np.split(sums, edges, axis=1)
        return cls(images_of, hits, hits5, predicted, gaps / images, losses, images)

    def means(self) -> Dict[str, np.ndarray]:
        """The metrics by name, a value for each row; the calibration error as gaps of bins."""
        return {
            "loss": self.losses[:, 0] / self.images,
            "macro_recall": self._macro(self.hits, self.images_of),
            "macro_precision": self._macro(self.hits, self.predicted),
            "macro_rank5": self._macro(self.hits5, self.images_of),
            "calibration_error": self.gaps.copy(),  # not a view, which keeps all sums in memory
        }

    def _macro(self, hits: np.ndarray, of: np.ndarray) -> np.ndarray:
        """Mean of hits / of over the classes with images; 0 for a class where `of` is 0."""
        has_images = self.images_of > 0
        shares = np.divide(hits, of, out=np.zeros_like(hits), where=has_images & (of > 0))
        return shares.sum(axis=1) / has_images.sum(axis=1)


def _calibration_error(gaps: np.ndarray, resampled: np.ndarray) -> Estimate:
    """The sum of the absolute gaps of the bins, from gaps (1, bins) and resamples (rounds, bins).

    Chance alone causes gaps, so the estimate is too high for a well calibrated network, and its
    bootstrap higher still: in measurements the percentiles never contained the true value. By
    the triangle inequality, the true error is below the estimate by no more than the sum of the
    errors of all gaps; the lower bound uses resamples of that sum.
    """
    value = float(np.abs(gaps).sum())
    off = percentiles(np.abs(resampled - gaps).sum(axis=1))[1]
    return Estimate(value, max(0.0, value - off), percentiles(np.abs(resampled).sum(axis=1))[1])


def _bin(confidence: np.ndarray) -> np.ndarray:
    """The bin of each probability: int64. Upper edges belong to the bin."""
    return np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], confidence)


def _shares(hits: np.ndarray, of: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return np.stack([hits / of, *wilson(hits, of)], axis=1)


def _known(value: float) -> Any:
    return float(value) if np.isfinite(value) else None


# --- tables ------------------------------------------------------------------------------------

_TITLES = {
    "loss": "loss",
    "macro_recall": "recall, mean of the classes",
    "macro_precision": "precision, mean of the classes",
    "macro_rank5": "rank-5, mean of the classes",
    "calibration_error": "calibration error",
}


def table(entry: Dict[str, Any], classes: int, top_k: Sequence[int] = ()) -> str:
    """The metrics of an entry of evaluation.json with their intervals, one per line.

    Of the ranks, which earlier calls may have added, only those of `shown_ranks`.
    """
    lines = [f"{'':<32}{'':>10}   95 % interval"]
    ranks = shown_ranks(classes, top_k)
    for name, (low, high) in entry["intervals"].items():
        if name.startswith("rank") and name not in ranks:
            continue
        if name == "macro_rank5" and not has_rank5(classes):
            continue
        title = _TITLES.get(name) or f"rank-{name[4:]}"
        cells = [_cell(name, value) for value in (entry[name], low, high)]
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
    """A row per class under CLASS_COLUMNS; unknown values are empty cells."""
    shares = np.concatenate([counted.recall(), counted.precision(), counted.top5_recall()], axis=1)
    return [
        (label, *names, int(counted.images[label]), int(counted.predicted[label]),
         *("" if np.isnan(value) else f"{value:.6f}" for value in shares[label]))
        for label, names in enumerate(classes)
    ]  # fmt: skip
