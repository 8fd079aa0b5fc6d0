"""Images that check and calibrate an export: datasets of flags or of the run, and samples."""

import numpy as np

from imagenet_trainer import config
from imagenet_trainer.data.dataset import Dataset
from imagenet_trainer.data.matching import open_matching_dataset
from imagenet_trainer.errors import InputError, attributed_to
from imagenet_trainer.eval.sample import evenly_spaced, prepared
from imagenet_trainer.runs.checkpoint import Checkpoint, Preprocessing
from imagenet_trainer.runs.run import Run


def open_images(value: str, kind: str, run: Run, checkpoint: Checkpoint) -> Dataset:
    """The shards that --data-KIND names, `train` or `val`, by default those of the run."""
    path, index = (value, "") if value else run.shard(kind)
    with attributed_to(f"--data-{kind}", " "):
        return open_matching_dataset(
            path, index, checkpoint.classes, run.prefix, label_index=run.label_index(),
            multi_label=run.multi_label(),
        )  # fmt: skip


def open_calibration(settings: config.ExportSettings, run: Run, checkpoint: Checkpoint) -> Dataset:
    """The training shard, which is not scored; the validation shard if there is none."""
    if settings.data_train:
        return open_images(settings.data_train, "train", run, checkpoint)
    try:
        return open_images("", "train", run, checkpoint)
    except InputError:
        return open_images(settings.data_val, "val", run, checkpoint)


def sample_images(dataset: Dataset, preprocessing: Preprocessing, count: int) -> np.ndarray:
    """`count` images, evenly spaced in the set, prepared as for evaluation: uint8 (n, h, w, 3)."""
    numbers = evenly_spaced(dataset, count).tolist()
    return prepared([dataset.shards.record(number).image for number in numbers], preprocessing)
