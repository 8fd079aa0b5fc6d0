"""The names of the files of a run."""

import os
from pathlib import Path
from typing import Optional

SYMBOL = "-symbol.json"
_ARCHIVES = (".tar.gz", ".tgz")


def without_archive_ending(prefix: str) -> str:
    """A prefix without the ending of a SageMaker archive; unchanged if it has none."""
    ending = next((one for one in _ARCHIVES if prefix.lower().endswith(one)), "")
    return prefix[: len(prefix) - len(ending)]


def is_archive(prefix: str) -> bool:
    """Whether a prefix is the name of an archive that exists."""
    return without_archive_ending(prefix) != prefix and os.path.isfile(prefix)


class RunFiles:
    """The files of `--model-prefix FOLDER/NAME`.

    `results` is the folder of evaluations, by default that of the run.
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.folder = Path(prefix).parent
        self.name = Path(prefix).name
        self.results = self.folder

    @property
    def symbol_path(self) -> Path:
        """The symbol of the network, as MXNet writes it."""
        return self.folder / f"{self.name}{SYMBOL}"

    @property
    def config_path(self) -> Path:
        """Settings, versions, command line, datasets."""
        return self.folder / "config.json"

    @property
    def history_path(self) -> Path:
        """Metrics, one row per epoch."""
        return self.folder / "history.csv"

    @property
    def history_parquet_path(self) -> Path:
        """The same as Parquet, with --parquet."""
        return self.folder / "history.parquet"

    @property
    def log_path(self) -> Path:
        """The log of the training."""
        return self.folder / "log.txt"

    @property
    def events_path(self) -> Path:
        """Events of the training, one JSON object per line."""
        return self.folder / "events.jsonl"

    @property
    def tensorboard_path(self) -> Path:
        """The folder for TensorBoard."""
        return self.folder / "tensorboard"

    def evaluation_images_path(self, name: str = "") -> Path:
        """The folder for TensorBoard with the matrices of evaluated epochs."""
        return self.results / "tensorboard" / f"evaluation{name and '-' + name}"

    @property
    def kernels_path(self) -> Path:
        """The folder of kernels that PyTorch compiled for the network on a GPU."""
        return self.folder / "kernels"

    @property
    def curves_path(self) -> Path:
        """The learning curves."""
        return self.folder / "curves.png"

    @property
    def evaluation_path(self) -> Path:
        """All metrics of `evaluate`, by epoch."""
        return self.results / "evaluation.json"

    def gif_path(self, name: str = "") -> Path:
        """The confusion matrix over the epochs, for the dataset of that name in evaluation.json."""
        return self.results / f"confusion{name and '-' + name}.gif"

    @property
    def training_gif_path(self) -> Path:
        """The confusion matrix over the epochs, counted during training."""
        return self.folder / "confusion.fit.gif"

    def comparison_path(self, epoch: int, other: str) -> Path:
        """The comparison of an epoch with another, or with NAME-EPOCH of another run."""
        return self.results / f"comparison-{epoch:04d}-{other}.json"

    def confusion_path(self, epoch: int, suffix: str, name: str = "") -> Path:
        """The confusion matrix of an epoch: drawn (.png) or counts (.npz).

        `name` is the name of the dataset in evaluation.json, '' for the run's own validation
        images.
        """
        return self.results / f"confusion-{epoch:04d}{name and '-' + name}{suffix}"

    def predictions_path(self, epoch: int, name: str = "") -> Path:
        """The predictions of an epoch for each image of the dataset of that name."""
        return self.results / f"predictions-{epoch:04d}{name and '-' + name}.npz"

    def probabilities_path(self, epoch: int, name: str = "") -> Path:
        """The probabilities of all classes for each image."""
        return self.results / f"probabilities-{epoch:04d}{name and '-' + name}.npz"

    def classes_path(self, epoch: int, name: str = "") -> Path:
        """Recall, precision and top-5 recall with intervals, one row per class."""
        return self.results / f"classes-{epoch:04d}{name and '-' + name}.csv"

    def average_precision_path(self, epoch: int, name: str = "") -> Path:
        """Average precision of each class, for images with several classes."""
        return self.results / f"average-precision-{epoch:04d}{name and '-' + name}.csv"

    @property
    def measured_path(self) -> Path:
        """Measurements of `compare`: time and memory of the training, speed of inference."""
        return self.folder / "compare.json"

    def rates_path(self, name: str) -> Path:
        """schedule.png of `fit --show-schedule`; lr-range.png and lr-range.csv of `--find-lr`."""
        return self.folder / name

    def params_path(self, epoch: Optional[int]) -> Path:
        """Parameters after that epoch; None: of the newest checkpoint inside an epoch."""
        return self.folder / f"{self._stem(epoch)}.params"

    def temperature_path(self, epoch: int) -> Path:
        """The temperature of an epoch, which `evaluate --calibrate` fits."""
        return self.folder / f"{self._stem(epoch)}.temperature.json"

    def state_path(self, epoch: Optional[int]) -> Path:
        """Everything else in that checkpoint."""
        return self.folder / f"{self._stem(epoch)}.npz"

    def _stem(self, epoch: Optional[int]) -> str:
        return f"{self.name}-last" if epoch is None else f"{self.name}-{epoch:04d}"
