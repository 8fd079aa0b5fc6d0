"""Plots, animations and reports of evaluated epochs."""

import hashlib
from pathlib import Path
from typing import Iterator, Optional, Sequence

import numpy as np

from imagenet_trainer.config import EvaluateSettings
from imagenet_trainer.data.dataset import Classes
from imagenet_trainer.errors import InputError, attributed_to
from imagenet_trainer.eval.evaluator import EpochResult, Evaluator
from imagenet_trainer.eval.explain import Explainer
from imagenet_trainer.eval.features import write_features
from imagenet_trainer.eval.report import title_of, write_report
from imagenet_trainer.metrics.confusion import Counts, arrays_of, reordered
from imagenet_trainer.metrics.evaluation import shown_ranks
from imagenet_trainer.metrics.semantic import short_names, summary_lines
from imagenet_trainer.metrics.taxonomy import Taxonomy, taxonomy_of
from imagenet_trainer.runs.run import Run
from imagenet_trainer.system.files import atomic_write
from imagenet_trainer.text import printable
from imagenet_trainer.viz import confusion, video
from imagenet_trainer.viz.class_order import MOST_CLUSTERED, class_order
from imagenet_trainer.viz.confusion_figure import Sides, draw_figure, note_in, surroundings


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


def write_outputs(
    settings: EvaluateSettings,
    evaluator: Evaluator,
    results: Sequence[EpochResult],
    explainer: Optional[Explainer] = None,
) -> Iterator[str]:
    """Draw and write what the settings request; yield the lines to print."""
    run, last = evaluator.run, results[-1]
    taxonomy = taxonomy_of([one for one, _ in last.classes])
    names = short_names(last.classes)
    yield from summary_lines(last.metrics, dict(zip((one for one, _ in last.classes), names)))
    for one in results:
        path = _draw(run, one, settings, names, taxonomy)
    yield f"drawn: {path}"
    if settings.gif or settings.video:
        yield from _animate(run, results, settings, names, taxonomy)
    found, explained = None, None
    if settings.features:
        stem = run.predictions_path(last.epoch, last.name).stem.replace("predictions", "features")
        found = evaluator.features(last)
        yield from write_features(run.results, stem, found, last.predictions, last.classes)
    if explainer is not None:
        explained = explainer.explain(last)
        yield from explainer.write(last, explained)
    if settings.report:
        page = write_report(evaluator, last, settings.thumbnails, found, explained)
        yield f"written: {page}"


def _animate(
    run: Run,
    results: Sequence[EpochResult],
    settings: EvaluateSettings,
    names: Sequence[str],
    taxonomy: Optional[Taxonomy],
) -> Iterator[str]:
    """Draw the GIF and the video of the epochs, in the order of the last one."""
    last = results[-1]
    order = class_order(settings.order, last.predictions.confusion(), taxonomy)
    frames = [
        confusion.Frame(one.epoch, _ordered(one, order), one.metrics["rank1"]) for one in results
    ]
    path, around = _with_order(run.gif_path(last.name), settings.order), None
    if settings.gif_axes:
        sides = Sides(names, order, taxonomy)
        around = surroundings(sides, printable(run.folder.resolve().name))
        path = path.with_suffix(f".axes{path.suffix}")
    if settings.gif:
        confusion.draw_gif(path, frames, surroundings=around)
        yield f"drawn: {path}"
    if settings.video:
        path = path.with_suffix(f".{settings.video}")
        with attributed_to(f"--video {settings.video}"):
            video.draw_video(path, frames, settings.video, around)
        yield f"drawn: {path}"


def _draw(
    run: Run,
    one: EpochResult,
    settings: EvaluateSettings,
    names: Sequence[str],
    taxonomy: Optional[Taxonomy],
) -> Path:
    """Draw the figure of an epoch, and in another order than the default also its bare pixels."""
    order = settings.order
    bare = _with_order(run.confusion_path(one.epoch, ".png", one.name), order)
    path = bare.with_suffix(".figure.png")
    matrix = one.predictions.confusion()
    k = int(matrix.sum()) // max(len(one.predictions), 1)
    title = (
        f"{title_of(run, one)}: {matrix.sum():,} top-{k} predictions of "
        f"{len(one.predictions):,} images"
    )
    ranks = shown_ranks(len(one.classes)) if len(one.predictions) else []
    subtitle = ", ".join(f"rank-{name[4:]} {100 * one.metrics[name]:.2f} %" for name in ranks)
    note = _digest(matrix, [order, title, subtitle, *names])
    vector = {kind: path.with_suffix(f".{kind}") for kind in settings.figure_formats}
    # The PNG file has a note of what it shows, and is written before the others.
    if bare.exists() and note_in(path) == note:
        vector = {kind: one for kind, one in vector.items() if not _is_newer(one, path)}
        if not vector:
            return path  # up to date
    sides = Sides(names, class_order(order, matrix, taxonomy), taxonomy)
    if order != "imagenet":
        confusion.write_png(bare, confusion.draw(_ordered(one, sides.order)))
    for kind, other in {"png": path, **vector}.items():
        with atomic_write(other) as file:
            file.write(draw_figure(matrix, sides, title, subtitle, note, kind))
    return path


def _is_newer(one: Path, other: Path) -> bool:
    return one.exists() and one.stat().st_mtime_ns >= other.stat().st_mtime_ns


def _digest(matrix: Counts, texts: Sequence[str]) -> str:
    """A digest of everything that is drawn."""
    digest = hashlib.sha256()
    for array in arrays_of(matrix).values():
        digest.update(array.tobytes())
    digest.update(repr(texts).encode())
    return digest.hexdigest()


def _ordered(one: EpochResult, order: np.ndarray) -> Counts:
    return reordered(one.predictions.confusion(), order)


def _with_order(path: Path, order: str) -> Path:
    """confusion-0012.png, or in another order confusion-0012.wordnet.png."""
    return path if order == "imagenet" else path.with_suffix(f".{order}{path.suffix}")
