"""Writes report.html of an epoch from the files of its run, and the thumbnails beside it."""

import platform
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from imagenet_trainer import __version__
from imagenet_trainer.config.flags import formatted
from imagenet_trainer.data.images import opencv
from imagenet_trainer.data.views import Views, ViewTransform
from imagenet_trainer.eval.evaluator import EpochResult, Evaluator
from imagenet_trainer.metrics.predictions import Predictions
from imagenet_trainer.runs.checkpoint import Preprocessing
from imagenet_trainer.runs.run import Run
from imagenet_trainer.system.files import write_file
from imagenet_trainer.system.machine import processors
from imagenet_trainer.text import printable
from imagenet_trainer.viz import paired_report, report
from imagenet_trainer.viz.feature_map import FeatureMap
from imagenet_trainer.viz.thumbnails import Thumbnails, thumbnails, write_thumbnails
from imagenet_trainer.viz.why import Explained

MOST_THUMBNAILS = 100_000
"""A larger dataset gets thumbnails of its errors only, unless all are requested: 5 KB each."""


def write_report(
    evaluator: Evaluator,
    one: EpochResult,
    which: str = "auto",
    places: Optional[FeatureMap] = None,
    explained: Optional[Sequence[Explained]] = None,
) -> Path:
    """Write report.html, or report-NAME.html for a named dataset, into the folder of results.

    `which` images have a thumbnail beside the page: see `EvaluateSettings.thumbnails`. `places` is
    a map of their features; the errors that were explained are shown. Returns the page's path.
    Raises InputError when it cannot be written.
    """
    run, dataset = evaluator.run, evaluator.dataset
    content = report.Report(
        title=title_of(run, one),
        facts=facts_of(evaluator, one),
        classes=one.classes,
        predictions=one.predictions,
        numbers=one.metrics,
        history=[row for row in run.read_history() if int(row["epoch"]) <= one.epoch],
        thumbnails=lambda places: thumbnails(dataset.shards, one.predictions.keys, places),
        files=thumbnail_files(evaluator, one.predictions, one.predictions.rank > 0, which),
        places=places,
        explained=explained,
    )
    path = run.results / f"report{one.name and '-' + one.name}.html"
    write_file(path, report.page(content))
    return path


def write_paired_report(
    path: Path,
    evaluators: Sequence[Evaluator],
    results: Sequence[EpochResult],
    comparison: Mapping[str, Any],
    which: str = "auto",
) -> None:
    """Write the page about two networks, with the thumbnails of the first one's images."""
    first, predictions = evaluators[0], (results[0].predictions, results[1].predictions)
    wrong = (predictions[0].rank > 0) | (predictions[1].rank > 0)
    facts = [dict(facts_of(evaluator, one)) for evaluator, one in zip(evaluators, results)]
    one, other = (title_of(evaluator.run, one) for evaluator, one in zip(evaluators, results))
    content = paired_report.PairedReport(
        (one, other),
        [
            (name, facts[0].get(name, ""), facts[1].get(name, ""))
            for name in {**facts[0], **facts[1]}
        ],
        results[0].classes,
        predictions,
        comparison,
        lambda places: thumbnails(first.dataset.shards, predictions[0].keys, places),
        thumbnail_files(first, predictions[0], wrong, which),
    )
    write_file(path, paired_report.page(content))


def thumbnail_files(
    evaluator: Evaluator, predictions: Predictions, wrong: np.ndarray, which: str
) -> Optional[Thumbnails]:
    """The thumbnails beside the pages of a dataset, which all of them share; None for `none`."""
    if which == "none":
        return None
    dataset, all_ = evaluator.dataset, np.ones(len(predictions), bool)
    only_errors = which == "errors" or (which == "auto" and len(predictions) > MOST_THUMBNAILS)
    chosen, folder = wrong if only_errors else all_, thumbnails_folder(evaluator)
    return write_thumbnails(dataset.shards, predictions.keys, chosen, folder, processors())


def thumbnails_folder(evaluator: Evaluator) -> Path:
    """The folder of the thumbnails of a dataset."""
    return evaluator.run.results / f"thumbnails-{evaluator.dataset.fingerprint[:8]}"


def title_of(run: Run, one: EpochResult) -> str:
    """`resnet-18, epoch 30 on train`."""
    dataset = one.name and f" on {one.name}"
    return f"{printable(run.folder.resolve().name)}, epoch {one.epoch}{dataset}"


def facts_of(evaluator: Evaluator, one: EpochResult) -> List[Tuple[str, str]]:
    """What was evaluated on what, and how: names and values."""
    run, dataset = evaluator.run, evaluator.dataset
    trained = run.settings()
    network = (trained.get(name) for name in ("network", "num_layers"))
    params, computed = run.params_path(one.epoch), one.metrics.get("computed", {})
    facts = {
        "network": " ".join(str(part) for part in network if part),
        "checkpoint": str(params),
        "SHA-256": run.params_sha256(one.epoch) if one.epoch in run.epochs() else "",
        "dataset": f"{dataset.path}, {len(one.predictions):,} images, {dataset.fingerprint[:16]}",
        "preprocessing": describe_preprocessing(evaluator.input.preprocessing),
        "views": _describe_views(evaluator.input.views),
        "engine": " ".join(
            str(computed[part]) for part in ("engine", "version") if part in computed
        ),
        "versions": ", ".join(f"{name} {version}" for name, version in _versions().items()),
        "date": str(computed.get("date", "")),
    }
    return [(name, value) for name, value in facts.items() if value]


def describe_preprocessing(how: Preprocessing) -> str:
    """`224 × 224 pixels of a short side of 256 (bilinear), RGB, mean 123.68,..., std 1,1,1`."""
    mean, std = map(formatted, (how.rgb_mean, how.rgb_std))
    side = ViewTransform(how.image_shape, how.val_resize, Views()).short_side
    _, height, width = how.image_shape
    size = f"{width} × {height} pixels of a short side of {side} ({how.val_interp})"
    return f"{size}, {'BGR' if how.bgr else 'RGB'}, mean {mean}, std {std}"


def _describe_views(views: Views) -> str:
    if views.crops == 10:
        return "ten crops"
    return "the image and its mirror image" if views.flip else ""


def _versions() -> Dict[str, str]:
    return {
        "imagenet-trainer": __version__, "Python": platform.python_version(),
        "NumPy": np.__version__, "OpenCV": opencv.VERSION,
    }  # fmt: skip
