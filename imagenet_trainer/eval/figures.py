"""Draws the confusion matrices of evaluated epochs: figures, animations, differences."""

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Iterator, List, Optional, Sequence, Tuple

import numpy as np

from imagenet_trainer.config import EvaluateSettings, FigureSettings
from imagenet_trainer.errors import attributed_to
from imagenet_trainer.eval.evaluator import EpochResult
from imagenet_trainer.eval.report import title_of
from imagenet_trainer.metrics.confusion import Counts, arrays_of, as_counts, reordered
from imagenet_trainer.metrics.evaluation import shown_ranks
from imagenet_trainer.metrics.semantic import short_names
from imagenet_trainer.metrics.taxonomy import taxonomy_of
from imagenet_trainer.runs.run import Run
from imagenet_trainer.system.files import write_file
from imagenet_trainer.text import printable
from imagenet_trainer.viz import confusion, video
from imagenet_trainer.viz.class_order import class_order
from imagenet_trainer.viz.confusion_figure import Sides, draw_figure, note_in, surroundings
from imagenet_trainer.viz.matrix_style import PLAIN, Style


class _Matrix:
    """A matrix of counts by label, and what is written around it.

    The order is determined when a picture needs it: `cluster` takes seconds.
    """

    def __init__(
        self, one: EpochResult, counts: Counts, order: str, style: Style, title: str, subtitle: str
    ) -> None:
        self.counts, self.style, self.title = counts, style, title
        self._confusion, self._order = one.predictions.confusion, order
        self._taxonomy = taxonomy_of([id_ for id_, _ in one.classes])
        self.names = short_names(one.classes)
        # Of each class, int64 (classes,).
        self.images = np.bincount(one.predictions.labels, minlength=len(one.classes))
        shown = style.order(np.arange(len(one.classes)), self.images)
        described = style.description(len(one.classes), len(shown))
        self.subtitle = "; ".join(filter(None, (subtitle, described)))

    @cached_property
    def order(self) -> np.ndarray:
        """Of all classes, int64 (classes,)."""
        return class_order(self._order, self._confusion(), self._taxonomy)

    @cached_property
    def sides(self) -> Sides:
        """Of the classes that are shown."""
        return Sides(self.names, self.style.order(self.order, self.images), self._taxonomy)


def style_of(settings: FigureSettings) -> Style:
    """How the flags want matrices to be drawn."""
    return Style(
        settings.figure_scale, settings.figure_colours, settings.figure_shares,
        settings.figure_without,
    )  # fmt: skip


def draw_epoch(run: Run, one: EpochResult, settings: FigureSettings) -> List[Path]:
    """Draw the figure of an epoch, and in another order than the default also its bare pixels.

    Returns the files: the figure as PNG comes first.
    """
    bare = _with_order(run.confusion_path(one.epoch, ".png", one.name), settings.order)
    counts = _counts_of(one, settings.figure_top_k)
    images = len(one.predictions)
    k = counts.sum() // max(images, 1)
    title = f"{title_of(run, one)}: {counts.sum():,} top-{k} predictions of {images:,} images"
    ranks = shown_ranks(len(one.classes)) if images else []
    subtitle = ", ".join(f"rank-{name[4:]} {100 * one.metrics[name]:.2f} %" for name in ranks)
    matrix = _Matrix(one, counts, settings.order, style_of(settings), title, subtitle)
    paths, drawn = _draw(bare, matrix, settings)
    if settings.order == "imagenet":
        return paths
    if drawn or not bare.exists():
        whole = reordered(one.predictions.confusion(), matrix.order)
        confusion.write_png(bare, confusion.draw(whole))
    return [*paths, bare]


def draw_difference(
    path: Path, runs: Sequence[Run], results: Sequence[EpochResult], settings: FigureSettings
) -> List[Path]:
    """Draw the predictions of the second of two results minus those of the first.

    Their classes must have the same labels. `path` is that of the comparison, with any suffix.
    Returns the files, PNG first.
    """
    first, second = results
    k = settings.figure_top_k or 1
    counts = as_counts(_counts_of(second, k) - _counts_of(first, k))
    names = [title_of(run, one) for run, one in zip(runs, results)]
    title = f"{names[1]}, minus {names[0]}"
    gain = 100 * (second.metrics["rank1"] - first.metrics["rank1"])
    subtitle = (
        f"top-{k} predictions of {len(second.predictions):,} images; rank-1 {gain:+.2f} points; "
        "orange: more, blue: fewer"
    )
    matrix = _Matrix(second, counts, settings.order, style_of(settings), title, subtitle)
    return _draw(_with_order(path.with_suffix(".png"), settings.order), matrix, settings)[0]


def animate(
    run: Run, results: Sequence[EpochResult], settings: EvaluateSettings
) -> Iterator[Tuple[str, Path]]:
    """Draw the GIF and the video of the epochs, in the order of the last one.

    Yields `gif` or `video`, and the path, when it is drawn.
    """
    last, axes = results[-1], settings.gif_axes
    style, k = (style_of(settings), settings.figure_top_k) if axes else (PLAIN, None)
    all_counts = [_counts_of(one, k) for one in results]
    matrix = _Matrix(last, all_counts[-1], settings.order, style, "", "")
    order, around = matrix.sides.order, None
    path = _with_order(run.gif_path(last.name), settings.order)
    if axes:
        around = surroundings(matrix.sides, printable(run.folder.resolve().name), style)
        path = path.with_suffix(f".axes{_suffix(settings)}{path.suffix}")
    frames = [
        confusion.Frame(one.epoch, reordered(counts, order), one.metrics["rank1"])
        for one, counts in zip(results, all_counts)
    ]
    animation = confusion.Animation(
        frames, surroundings=around, style=style, images=matrix.images[order]
    )
    if settings.gif:
        confusion.write_gif(path, animation)
        yield "gif", path
    if settings.video:
        path = path.with_suffix(f".{settings.video}")
        with attributed_to(f"--video {settings.video}"):
            video.draw_video(path, animation, settings.video)
        yield "video", path


def _counts_of(one: EpochResult, k: Optional[int]) -> Counts:
    """The counts of the k first predictions, by label; None for the usual ones."""
    return one.predictions.confusion(1 if k == 1 else 0)


def _draw(bare: Path, matrix: _Matrix, settings: FigureSettings) -> Tuple[List[Path], bool]:
    """Draw a figure beside the bare picture, unless it is up to date; whether it was drawn.

    The paths are those of all kinds, PNG first.
    """
    path = bare.with_suffix(f"{_suffix(settings)}.figure.png")
    note = _digest(matrix.counts, [
        settings.order, matrix.title, matrix.subtitle, *matrix.names, *matrix.style.words()
    ])  # fmt: skip
    paths = {kind: path.with_suffix(f".{kind}") for kind in ("png", *settings.figure_formats)}
    # The PNG file has a note of what it shows, and is written before the others.
    wanted = paths
    if note_in(path) == note:
        wanted = {kind: one for kind, one in paths.items() if not _is_current(one, path)}
    for kind, other in wanted.items():
        write_file(other, draw_figure(
            matrix.counts, matrix.sides, matrix.title, matrix.subtitle, note=note, kind=kind,
            style=matrix.style, images=matrix.images,
        ))  # fmt: skip
    return list(paths.values()), "png" in wanted


def _is_current(one: Path, png: Path) -> bool:
    return one.exists() and one.stat().st_mtime_ns >= png.stat().st_mtime_ns


def _digest(matrix: Counts, texts: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for array in arrays_of(matrix).values():
        digest.update(array.tobytes())
    digest.update(repr(texts).encode())
    return digest.hexdigest()


def _with_order(path: Path, order: str) -> Path:
    """confusion-0012.png, or in another order confusion-0012.wordnet.png."""
    return path if order == "imagenet" else path.with_suffix(f".{order}{path.suffix}")


def _suffix(settings: FigureSettings) -> str:
    """Nothing, or for another style than the default `.shares-log`."""
    words = style_of(settings).words()
    words = [f"top{settings.figure_top_k}", *words] if settings.figure_top_k else words
    return f".{'-'.join(words)}" if words else ""
