"""Plots, animations and reports of evaluated epochs."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence

from imagenet_trainer.config import EvaluateSettings
from imagenet_trainer.data.dataset import Classes
from imagenet_trainer.errors import InputError, attributed_to
from imagenet_trainer.eval.evaluator import EpochResult, Evaluator
from imagenet_trainer.eval.explain import Explainer, summary
from imagenet_trainer.eval.features import write_features
from imagenet_trainer.eval.figures import animate, draw_epoch
from imagenet_trainer.eval.labels import names_by_key
from imagenet_trainer.eval.prediction_table import columns_of, write_tables
from imagenet_trainer.eval.report import thumbnails_folder, write_report
from imagenet_trainer.metrics.semantic import short_names, summary_lines
from imagenet_trainer.metrics.taxonomy import taxonomy_of
from imagenet_trainer.system import parquet
from imagenet_trainer.system.desktop import NOT_OPENED, open_page
from imagenet_trainer.viz import video
from imagenet_trainer.viz.class_order import MOST_CLUSTERED
from imagenet_trainer.viz.feature_map import check_umap, feature_map


def check_outputs(settings: EvaluateSettings, classes: Classes) -> None:
    """InputError for metrics and plots that these classes do not allow, before evaluation."""
    if max(settings.top_k, default=0) > len(classes):
        raise InputError(
            f"--top-k {max(settings.top_k)}: the network has only {len(classes)} classes; use "
            f"{len(classes) - 1} or less"
        )
    if settings.video:
        with attributed_to(f"--video {settings.video}"):
            video.check_ffmpeg(settings.video)
    if "parquet" in settings.table:
        parquet.library("--table parquet")
    if settings.map == "umap":
        check_umap()
    if settings.order == "cluster" and len(classes) > MOST_CLUSTERED:
        raise InputError(
            f"--order cluster: {len(classes):,} classes cannot be clustered in reasonable time, at "
            f"most {MOST_CLUSTERED:,}; use imagenet"
        )
    if settings.order == "wordnet" and taxonomy_of([one for one, _ in classes]) is None:
        other = next(one for one, _ in classes if taxonomy_of([one]) is None)
        raise InputError(
            f"--order wordnet: class {other} is not one of ImageNet's 1,000 WordNet ids; use "
            "imagenet or cluster"
        )


@dataclass
class Written:
    """The files that were written."""

    files: Dict[str, Any] = field(default_factory=dict)  # by the fields of EvaluateFiles
    figures: Dict[int, List[Path]] = field(default_factory=dict)  # of each epoch, PNG first
    tables: Dict[int, Dict[str, Path]] = field(default_factory=dict)  # of each epoch, by kind


def write_outputs(
    settings: EvaluateSettings,
    evaluator: Evaluator,
    results: Sequence[EpochResult],
    explainer: Optional[Explainer] = None,
    written: Optional[Written] = None,
) -> Iterator[str]:
    """Draw and write what the settings request; yield the lines to print, and fill `written`."""
    written = written or Written()
    files, figures = written.files, written.figures
    run, last = evaluator.run, results[-1]
    names = short_names(last.classes)
    yield from summary_lines(last.metrics, dict(zip((one for one, _ in last.classes), names)))
    figures.update({one.epoch: draw_epoch(run, one, settings) for one in results})
    yield f"drawn: {figures[last.epoch][0]}"
    if settings.table:
        files_of = names_by_key(evaluator.dataset)
        for one in results:
            columns = columns_of(one.predictions, one.classes, files_of)
            path = run.predictions_path(one.epoch, one.name)
            written.tables[one.epoch] = dict(write_tables(path, columns, settings.table))
            yield from (f"written: {path}" for path in written.tables[one.epoch].values())
    if settings.gif or settings.video:
        for kind, path in animate(run, results, settings):
            files[kind] = path
            yield f"drawn: {path}"
    if settings.tensorboard:
        # TensorBoard's package takes a third of a second.
        from imagenet_trainer.runs.tensorboard import write_images

        folder = files["tensorboard"] = run.evaluation_images_path(last.name)
        images = {epoch: paths[0].read_bytes() for epoch, paths in figures.items()}
        write_images(folder, "confusion", images)
        yield f"written: {folder}; tensorboard --logdir {folder.parent} shows it"
    yield from _write_details(settings, evaluator, last, explainer, files)


def _write_details(
    settings: EvaluateSettings,
    evaluator: Evaluator,
    last: EpochResult,
    explainer: Optional[Explainer],
    files: Dict[str, Any],
) -> Iterator[str]:
    """Write the features, explanations and report of the last epoch."""
    run, places, explained = evaluator.run, None, None
    if settings.features:
        stem = run.predictions_path(last.epoch, last.name).stem.replace("predictions", "features")
        found = evaluator.features(last)
        path, folder = write_features(run.results, stem, found, last.predictions, last.classes)
        files.update(features=path, projector=folder)
        yield f"written: {path}"
        yield f"written: {folder}; tensorboard --logdir {folder} shows it"
        if settings.report:
            seed = run.settings().get("seed", 0)
            places = feature_map(found, settings.map, seed)
    if explainer is not None:
        explained = explainer.explain(last)
        yield f"explain: {summary(explained)}"
        for kind, path in explainer.write(last, explained) if explained else ():
            files[kind] = path
            if kind != "neighbours":  # which only an interrupted call needs
                yield f"{'written' if kind == 'explanations' else 'drawn'}: {path}"
    if settings.report:
        page = write_report(evaluator, last, settings.thumbnails, places, explained)
        files["report"] = page
        if settings.thumbnails != "none":
            files["thumbnails"] = thumbnails_folder(evaluator)
        yield f"written: {page}"
        if settings.open and not open_page(page):
            yield NOT_OPENED.format(page)
