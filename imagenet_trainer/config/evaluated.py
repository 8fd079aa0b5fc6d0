"""What `evaluate` returns when it is called as a function."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Iterator, List, Mapping, Optional, Sequence, Tuple

if TYPE_CHECKING:
    import pandas as pd

Interval = Tuple[Optional[float], Optional[float]]
"""The ends of a 95 % confidence interval; None where there are no images."""


def _paths_in(files: Any) -> Iterator[Path]:
    """The paths in the fields of a dataclass."""
    for one in fields(files):
        value = getattr(files, one.name)
        if isinstance(value, Path):
            yield value
        elif value:
            yield from value


@dataclass(frozen=True)
class EpochFiles:
    """The files with the results of an epoch; None for what was not requested.

    Attributes
    ----------
    predictions
        predictions-EPOCH.npz, which `imagenet_trainer.metrics.predictions.load` reads.
    probabilities
        with `save_predictions`: the probabilities of all classes.
    csv, parquet
        with `table`: the predictions as a table.
    classes
        table of the classes, CSV.
    average_precision
        for images with several classes: average precision of each class, CSV.
    matrix, picture, figure
        the confusion matrix: counts (.npz), drawn without and with names and legend (.png).
    drawings
        the same in another `order`, and in the `figure_formats`.
    temperature
        with `calibrate`: the fitted temperature, JSON.

    """

    predictions: Optional[Path] = None
    probabilities: Optional[Path] = None
    csv: Optional[Path] = None
    parquet: Optional[Path] = None
    classes: Optional[Path] = None
    average_precision: Optional[Path] = None
    matrix: Optional[Path] = None
    picture: Optional[Path] = None
    figure: Optional[Path] = None
    drawings: Sequence[Path] = ()
    temperature: Optional[Path] = None


@dataclass(frozen=True)
class EpochMetrics(Mapping[str, Any]):
    """The metrics of an epoch. Its items are those of evaluation.json.

    Attributes
    ----------
    epoch
        number of the epoch.
    metrics
        everything that evaluation.json has of it.
    files
        the files with its results.

    """

    epoch: int
    metrics: Mapping[str, Any]
    files: EpochFiles = EpochFiles()

    @property
    def images(self) -> int:
        """Number of images."""
        return int(self.metrics["images"])

    @property
    def rank1(self) -> Optional[float]:
        """Share of the images whose class is the first prediction; None without images."""
        return self.metrics["rank1"]

    @property
    def rank5(self) -> Optional[float]:
        """Share of the images whose class is among five predictions; None without images."""
        return self.metrics["rank5"]

    @property
    def loss(self) -> Optional[float]:
        """Mean cross-entropy in nats; None without images."""
        return self.metrics["loss"]

    @property
    def intervals(self) -> Mapping[str, Interval]:
        """95 % confidence interval of each metric, by its name."""
        return {name: (low, high) for name, (low, high) in self.metrics["intervals"].items()}

    def __getitem__(self, name: str) -> Any:
        return self.metrics[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.metrics)

    def __len__(self) -> int:
        return len(self.metrics)


@dataclass(frozen=True)
class EvaluateFiles:
    """The files of a call of `evaluate`, without those of its epochs; None for what has none.

    Attributes
    ----------
    metrics
        evaluation.json.
    gif, video
        the confusion matrix over the epochs.
    tensorboard
        folder with the figures for TensorBoard.
    features, projector
        with `features`: the features (.npz), and the folder for TensorBoard's projector.
    explanations, explanations_sheet, neighbours
        with `explain`: a table (CSV), a contact sheet (JPEG), and what the search for the nearest
        training images found (.npz).
    report, thumbnails
        the page of `report`, and the folder of thumbnails beside it.
    comparison, difference
        with `compare`: the content of `found` (JSON), and the difference of the matrices (PNG).
    audit, audit_sheet
        with `audit`: the labels in doubt (CSV), and the worst of them (PNG).
    corruptions
        with `corruptions`: the accuracies (CSV).
    drawings
        `difference` in the `figure_formats`.

    """

    metrics: Optional[Path] = None
    gif: Optional[Path] = None
    video: Optional[Path] = None
    tensorboard: Optional[Path] = None
    features: Optional[Path] = None
    projector: Optional[Path] = None
    explanations: Optional[Path] = None
    explanations_sheet: Optional[Path] = None
    neighbours: Optional[Path] = None
    report: Optional[Path] = None
    thumbnails: Optional[Path] = None
    comparison: Optional[Path] = None
    difference: Optional[Path] = None
    audit: Optional[Path] = None
    audit_sheet: Optional[Path] = None
    corruptions: Optional[Path] = None
    drawings: Sequence[Path] = ()


@dataclass(frozen=True)
class EvaluateResult(Mapping[int, EpochMetrics]):
    """The evaluated epochs, by their numbers.

    Attributes
    ----------
    epochs
        metrics of each epoch; with `calibrate` those with the temperature.
    found
        what takes the place of the epochs. `compare`: the content of comparison-A-B.json; `audit`:
        `images`, `issues` and `file`; `corruptions`: rank-1 of `none`, and of each kind by
        strength; `find_preprocessing`: the fields of the preprocessing that fits, if any.
    prefix
        prefix of the run, for `model_prefix` of the other functions; with `compare` the first one,
        with `audit` empty.
    folder
        the folder with the files; None where results were only printed.
    files
        the files that are not of one epoch.
    parts
        results from which this one was made: with `compare` those of the two checkpoints, with
        `audit` that of each run, with `calibrate` that without the temperature.

    """

    epochs: Mapping[int, EpochMetrics]
    found: Mapping[str, Any] = field(default_factory=dict)
    prefix: str = ""
    folder: Optional[Path] = None
    files: EvaluateFiles = EvaluateFiles()
    parts: Sequence["EvaluateResult"] = ()

    @property
    def paths(self) -> List[Path]:
        """All files and folders with results, sorted: those of the epochs and parts too.

        Also those that an earlier call wrote and that are still right.
        """
        found = {*_paths_in(self.files)}
        for one in self.epochs.values():
            found.update(_paths_in(one.files))
        for part in self.parts:
            found.update(part.paths)
        return sorted(found)

    def table(self) -> "pd.DataFrame":
        """The single-valued metrics: a row for each epoch, a column for each metric."""
        import pandas as pd

        rows = {
            epoch: {name: value for name, value in one.items() if isinstance(value, (int, float))}
            for epoch, one in self.epochs.items()
        }
        return pd.DataFrame.from_dict(rows, orient="index")

    def __getitem__(self, epoch: int) -> EpochMetrics:
        return self.epochs[epoch]

    def __iter__(self) -> Iterator[int]:
        return iter(self.epochs)

    def __len__(self) -> int:
        return len(self.epochs)
