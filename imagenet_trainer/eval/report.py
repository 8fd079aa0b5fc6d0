"""Writes report.html of an epoch from the files of its run."""

from pathlib import Path
from typing import List, Tuple

from imagenet_trainer.eval.evaluator import EpochResult, Evaluator
from imagenet_trainer.runs.run import Run
from imagenet_trainer.system.files import atomic_write
from imagenet_trainer.text import printable
from imagenet_trainer.viz import report
from imagenet_trainer.viz.thumbnails import thumbnails


def write_report(evaluator: Evaluator, one: EpochResult) -> Path:
    """Write report.html, or report-NAME.html for a named dataset, into the folder of results.

    Returns its path. Raises InputError when it cannot be written.
    """
    run, dataset = evaluator.run, evaluator.dataset
    content = report.Report(
        title_of(run, one),
        _facts(evaluator, one),
        one.classes,
        one.predictions,
        one.metrics,
        [row for row in run.read_history() if int(row["epoch"]) <= one.epoch],
        lambda places: thumbnails(dataset.shards, one.predictions.keys, places),
    )
    path = run.results / f"report{one.name and '-' + one.name}.html"
    with atomic_write(path, "w") as file:
        file.write(report.page(content))
    return path


def title_of(run: Run, one: EpochResult) -> str:
    """`resnet-18, epoch 30 on train`."""
    dataset = one.name and f" on {one.name}"
    return f"{printable(run.folder.resolve().name)}, epoch {one.epoch}{dataset}"


def _facts(evaluator: Evaluator, one: EpochResult) -> List[Tuple[str, str]]:
    run, how = evaluator.run, evaluator.input.preprocessing
    trained = run.read_json(run.config_path).get("settings", {})
    network = (trained.get(name) for name in ("network", "num_layers"))
    facts = [
        ("network", " ".join(str(part) for part in network if part)),
        ("parameters", str(run.params_path(one.epoch))),
        ("images", evaluator.dataset.path),
        ("input", f"{how.image_shape[2]} × {how.image_shape[1]} pixels"),
    ]
    return [(name, value) for name, value in facts if value]
