"""What the commands return when they are called as functions.

Those of `evaluate` are in `evaluated`, those of `benchmark` and `doctor` in `measured`. All are
frozen dataclasses. Where version 0.1 returned dictionaries and lists, the items of a result are
what these had, so `fit(...)["prefix"]` is `fit(...).prefix`.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Mapping, NamedTuple, Optional, Sequence, Tuple

if TYPE_CHECKING:
    import pandas as pd


class _Fields:
    """Fields as items."""

    def __getitem__(self, name: str) -> Any:
        try:
            return getattr(self, name)
        except AttributeError:
            raise KeyError(name) from None


@dataclass(frozen=True)
class FitResult(_Fields):
    """A training, as its run has it on disk.

    Attributes
    ----------
    prefix
        prefix of the run, for `model_prefix` of the other functions.
    rows
        a dictionary for each finished epoch, with the columns of history.csv; None is an empty
        cell.
    best_epoch
        the epoch with the best score on the images of --minival, or on the validation images;
        0 without a finished epoch.
    seeds
        with several --seeds the content of seeds.json: `runs`, `last`, `best`. `rows` is empty
        then.

    """

    prefix: str
    rows: Sequence[Mapping[str, Optional[float]]] = ()
    best_epoch: int = 0
    seeds: Mapping[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The folder with the files of the run."""
        return Path(self.prefix).parent

    @property
    def history(self) -> "pd.DataFrame":
        """The rows as a table, with a column `epoch`; a missing value is NaN."""
        import pandas as pd

        return pd.DataFrame(list(self.rows))

    @property
    def epoch(self) -> int:
        """The last finished epoch; 0 for none."""
        return int(self.rows[-1]["epoch"] or 0) if self.rows else 0

    @property
    def rank1(self) -> Optional[float]:
        """Share of the validation images whose class is the first prediction, last epoch."""
        return self._last("val_rank1")

    @property
    def rank5(self) -> Optional[float]:
        """Share of the validation images whose class is among five predictions, last epoch."""
        return self._last("val_rank5")

    @property
    def loss(self) -> Optional[float]:
        """Mean cross-entropy of the validation images in nats, last epoch."""
        return self._last("val_loss")

    def _last(self, name: str) -> Optional[float]:
        return self.rows[-1][name] if self.rows else None

    def __getitem__(self, name: str) -> Any:
        return self.seeds[name] if name in self.seeds else super().__getitem__(name)


class ClassProbability(NamedTuple):
    """A class and its probability."""

    id: str
    name: str
    probability: float


@dataclass(frozen=True)
class ImagePrediction(Sequence[ClassProbability]):
    """The most probable classes of an image, the most probable first."""

    path: str
    classes: Sequence[ClassProbability]

    @property
    def best(self) -> ClassProbability:
        """The most probable class."""
        return self.classes[0]

    def __getitem__(self, position: Any) -> Any:
        return self.classes[position]

    def __len__(self) -> int:
        return len(self.classes)


@dataclass(frozen=True)
class PredictResult(Sequence[ImagePrediction]):
    """The predictions for each image, in the order of the images.

    Attributes
    ----------
    images
        the predictions.
    prefix, epoch
        the run whose network predicted, and its epoch.
    csv, parquet, submission
        the files that were written; None without the flag of that name.

    """

    images: Sequence[ImagePrediction]
    prefix: str = ""
    epoch: int = 0
    csv: Optional[Path] = None
    parquet: Optional[Path] = None
    submission: Optional[Path] = None

    def __getitem__(self, position: Any) -> Any:
        return self.images[position]

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class CompareResult(_Fields):
    """A comparison of networks.

    Attributes
    ----------
    report
        path of the page.
    networks
        the rows of compare.csv, by the name of the network.
    advice
        the recommended network for each purpose.
    failed
        excluded networks, and why.
    first_difference
        with `first_difference`: where the two runs differ first; None if they do not.
    equal
        with `first_difference`: number of equal events before it, by kind.
    settings
        with `first_difference`: what differs in config.json.

    """

    report: str = ""
    networks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    advice: Mapping[str, str] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)
    first_difference: Optional[Mapping[str, Any]] = None
    equal: Mapping[str, int] = field(default_factory=dict)
    settings: Mapping[str, Tuple[Any, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class ExportResult:
    """An export. Its items are those of the card, PREFIX-EPOCH.json."""

    card: Dict[str, Any]

    @property
    def files(self) -> Mapping[str, str]:
        """SHA-256 of each written file, by its name."""
        return self.card["files"]

    def __getitem__(self, name: str) -> Any:
        return self.card[name]


@dataclass(frozen=True)
class PublishedResult:
    """A run that was made of published parameters; they are its epoch 0."""

    prefix: str
