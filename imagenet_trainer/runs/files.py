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
        self.folder = folder = Path(prefix).parent
        self.name = Path(prefix).name
        self.results = folder
        self.symbol_path = folder / f"{self.name}{SYMBOL}"  # the network, as MXNet writes it
        self.config_path = folder / "config.json"  # settings, versions, command line, datasets
        self.history_path = folder / "history.csv"  # metrics, one row per epoch
        self.history_parquet_path = folder / "history.parquet"  # the same, with --parquet
        self.log_path = folder / "log.txt"  # of the training
        self.events_path = folder / "events.jsonl"  # of the training, one JSON object per line
        self.tensorboard_path = folder / "tensorboard"  # a folder
        self.kernels_path = folder / "kernels"  # a folder: what PyTorch compiled for a GPU
        self.curves_path = folder / "curves.png"  # learning curves
        self.training_gif_path = folder / "confusion.fit.gif"  # counted during training
        # Measurements of `compare`: time and memory of the training, speed of inference.
        self.measured_path = folder / "compare.json"

    @property
    def evaluation_path(self) -> Path:
        """All metrics of `evaluate`, by epoch."""
        return self.results / "evaluation.json"

    # `name` is that of the dataset in evaluation.json, "" for the run's own validation images.

    def evaluation_images_path(self, name: str = "") -> Path:
        """The folder for TensorBoard with the matrices of evaluated epochs."""
        return self.results / "tensorboard" / f"evaluation{name and '-' + name}"

    def gif_path(self, name: str = "") -> Path:
        """The confusion matrix over the epochs."""
        return self.results / f"confusion{name and '-' + name}.gif"

    def comparison_path(self, epoch: int, other: str) -> Path:
        """The comparison of an epoch with another, or with NAME-EPOCH of another run."""
        return self.results / f"comparison-{epoch:04d}-{other}.json"

    def confusion_path(self, epoch: int, suffix: str, name: str = "") -> Path:
        """The confusion matrix of an epoch: drawn (.png) or counts (.npz)."""
        return self._result("confusion", epoch, name, suffix)

    def predictions_path(self, epoch: int, name: str = "") -> Path:
        """The predictions of an epoch for each image."""
        return self._result("predictions", epoch, name, ".npz")

    def probabilities_path(self, epoch: int, name: str = "") -> Path:
        """The probabilities of all classes for each image."""
        return self._result("probabilities", epoch, name, ".npz")

    def classes_path(self, epoch: int, name: str = "") -> Path:
        """Recall, precision and top-5 recall with intervals, one row per class."""
        return self._result("classes", epoch, name, ".csv")

    def average_precision_path(self, epoch: int, name: str = "") -> Path:
        """Average precision of each class, for images with several classes."""
        return self._result("average-precision", epoch, name, ".csv")

    def _result(self, kind: str, epoch: int, name: str, suffix: str) -> Path:
        return self.results / f"{kind}-{epoch:04d}{name and '-' + name}{suffix}"

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
