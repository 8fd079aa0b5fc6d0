"""Gathers what a report tells of from a run's files and writes the page."""

from pathlib import Path
from typing import Any, Mapping, Optional

from imagenet_trainer import report
from imagenet_trainer.answers import Answers
from imagenet_trainer.data.sets import PictureSet
from imagenet_trainer.data.thumbnails import thumbnails
from imagenet_trainer.files import atomic_write
from imagenet_trainer.run import Checkpoint, Run

NAME = "report.html"


def write_report(
    run: Run,
    checkpoint: Checkpoint,
    pictures: PictureSet,
    answers: Answers,
    numbers: Mapping[str, Any],
) -> Path:
    """Write report.html into the run's folder and return its path.

    `numbers` are those of evaluation.json. Raises InputError when it cannot be written.
    """
    epoch = checkpoint.progress.epoch
    history = [row for row in run.read_history() if int(row["epoch"]) <= epoch]
    found = report.Report(
        f"{run.folder.name}, epoch {epoch}",
        _facts(run, checkpoint, pictures),
        checkpoint.classes or pictures.classes,
        answers,
        numbers,
        history,
        lambda places: thumbnails(pictures.shards, answers.keys, places),
    )
    path = run.folder / NAME
    with atomic_write(path, "w") as file:
        file.write(report.page(found))
    return path


def _facts(run: Run, checkpoint: Checkpoint, pictures: PictureSet) -> list:
    trained = run.read_json(run.config_path).get("settings", {})
    network = " ".join(
        str(trained[name]) for name in ("network", "num_layers") if trained.get(name)
    )
    how = checkpoint.preprocessing
    facts = [
        ("network", network),
        ("parameters", str(run.params_path(checkpoint.progress.epoch))),
        ("updates", f"{checkpoint.progress.update:,}" if checkpoint.progress.update else ""),
        ("pictures", pictures.path),
        ("input", _shape(how.image_shape) if how else ""),
    ]
    return [(name, value) for name, value in facts if value]


def _shape(shape: Optional[Any]) -> str:
    return " × ".join(map(str, shape[1:])) + " pixels" if shape else ""
