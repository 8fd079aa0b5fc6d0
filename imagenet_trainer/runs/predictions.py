"""The predictions of a run: where they are saved, and the names that version 0.1 gave to them.

Version 0.1 wrote the predictions of epoch 1 to `answers-0001.npz`, and the probabilities of all
classes to `predictions-0001.npz`. Both are still read. `evaluate` renames an old file of
probabilities to `probabilities-0001.npz` before it saves predictions under its old name.
"""

import os
from pathlib import Path
from typing import Optional

from imagenet_trainer.errors import InputError
from imagenet_trainer.metrics import predictions as files
from imagenet_trainer.metrics.predictions import Predictions
from imagenet_trainer.runs.run import Run
from imagenet_trainer.system.files import file_error


def load_predictions(
    run: Run, epoch: int, dataset: str = "", key: Optional[str] = None
) -> Optional[Predictions]:
    """The predictions of an epoch for a dataset; None where the run has none with this key.

    `dataset` is its name in evaluation.json, '' for the run's own validation images.
    """
    paths = run.predictions_path(epoch, dataset), _old_path(run, epoch, dataset)
    found = (files.load(path, key) for path in paths)
    return next((one for one in found if one is not None), None)


def predictions_file(run: Run, epoch: int, dataset: str = "") -> Optional[Path]:
    """The file that `load_predictions` reads; None where the run has none."""
    paths = run.predictions_path(epoch, dataset), _old_path(run, epoch, dataset)
    return next((path for path in paths if path.exists()), None)


def save_predictions(run: Run, epoch: int, dataset: str, predictions: Predictions) -> None:
    """Save the predictions of an epoch; they replace those of version 0.1."""
    predictions.save(run.predictions_path(epoch, dataset))
    _old_path(run, epoch, dataset).unlink(missing_ok=True)


def has_probabilities(run: Run, epoch: int, dataset: str, key: str) -> bool:
    """Whether the run has the probabilities of all classes that belong to this key."""
    return files.probabilities_key(run.probabilities_path(epoch, dataset)) == key


def rename_old_probabilities(run: Run, epoch: int, dataset: str) -> None:
    """Rename a file of probabilities that has the name of predictions, as in version 0.1.

    Call it before predictions or probabilities are saved. Raises InputError where the run has
    both files: neither replaces the other.
    """
    old, new = run.predictions_path(epoch, dataset), run.probabilities_path(epoch, dataset)
    if not files.holds_probabilities(old):
        return
    if new.exists():
        raise InputError(
            f"{old}: holds probabilities that version 0.1 wrote, and {new.name} exists too; move "
            "one of the two away"
        )
    try:
        os.rename(old, new)
    except OSError as error:
        raise file_error(new, error) from error


def _old_path(run: Run, epoch: int, dataset: str) -> Path:
    return run.results / f"answers-{epoch:04d}{dataset and '-' + dataset}.npz"
