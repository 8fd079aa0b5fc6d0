"""Measure how long the pictures and the report of a network with 1,000 classes take.

The predictions are synthetic: 50,000 images, five predictions each, thirty epochs.
"""

import functools
import importlib
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, Optional, Tuple

from imagenet_trainer import assets
from imagenet_trainer.benchmarks.figures import Figures, named
from imagenet_trainer.benchmarks.synthetic_predictions import synthetic_predictions
from imagenet_trainer.data.records.manifest import known_synsets
from imagenet_trainer.metrics import evaluation
from imagenet_trainer.metrics.predictions import Predictions
from imagenet_trainer.metrics.semantic import semantic_results, short_names, summary_lines
from imagenet_trainer.metrics.taxonomy import taxonomy_of
from imagenet_trainer.system import files
from imagenet_trainer.viz import confusion, report
from imagenet_trainer.viz.class_order import ORDERS, class_order
from imagenet_trainer.viz.confusion_figure import Sides, draw_figure
from imagenet_trainer.viz.thumbnails import data_uri
from imagenet_trainer.viz.video import KINDS, draw_video

_EPOCHS = 30
_PHOTOS = assets.path("photos")
_REPEATS = 5
Row = Tuple[str, float, Optional[Path]]  # what was measured, seconds, the file


def run(keep: str) -> Figures:
    """Print the table; with `keep`, save pictures, videos and report in that folder."""
    epochs = [synthetic_predictions(epoch / _EPOCHS) for epoch in range(1, _EPOCHS + 1)]
    last = epochs[-1]
    with tempfile.TemporaryDirectory() as temporary:
        folder = files.make_folder(keep or temporary)
        rows = [*_matrices(last, folder), *_videos(epochs, folder), *_report(last, folder)]
        print(f"synthetic predictions: {len(last):,} images, {last.classes:,} classes")
        for name, seconds, file in rows:
            size = f"{os.path.getsize(file) / 1e6:8.2f} MB" if file else ""
            print(f"{name:<42}{seconds:8.2f} s{size}")
    ids = list(known_synsets())
    names = short_names(list(known_synsets().items()))
    numbers = {"images": len(last), **semantic_results(last, ids)}
    print("\n".join(summary_lines(numbers, dict(zip(ids, names)))))
    if keep:
        print(f"saved in {folder}")
    return {named(name): seconds for name, seconds, _ in rows}


def _matrices(predictions: Predictions, folder: Path) -> Iterable[Row]:
    classes = list(known_synsets().items())
    matrix, taxonomy = predictions.confusion(), taxonomy_of([synset for synset, _ in classes])
    yield (
        "import of datashader",
        _seconds(lambda: importlib.import_module("datashader.transfer_functions")),
        None,
    )
    bare = folder / "confusion-synthetic.png"
    yield from _repeated("PNG", lambda: confusion.write_png(bare, confusion.draw(matrix)), bare)
    rank1, rank5 = ((predictions.rank < k).mean() for k in (1, 5))
    title = f"synthetic: {matrix.sum():,} top-5 predictions of {len(predictions):,} images"
    subtitle = f"rank-1 {100 * rank1:.2f} %, rank-5 {100 * rank5:.2f} %"
    for order in ORDERS:
        seconds = _seconds(functools.partial(class_order, order, matrix, taxonomy))
        yield f"order {order}", seconds, None
        sides = Sides(short_names(classes), class_order(order, matrix, taxonomy), taxonomy)
        path = folder / f"confusion-synthetic.{order}.figure.png"
        draw = functools.partial(_draw_figure, path, matrix, sides, title, subtitle)
        yield from _repeated(f"PNG with axes, {order}", draw, path)


def _draw_figure(path: Path, *what: Any) -> None:
    path.write_bytes(draw_figure(*what))


def _videos(epochs: List[Predictions], folder: Path) -> Iterable[Row]:
    frames = [
        confusion.Frame(epoch, predictions.confusion(), float((predictions.rank < 1).mean()))
        for epoch, predictions in enumerate(epochs, start=1)
    ]
    gif = folder / "confusion-synthetic.gif"
    seconds = _seconds(lambda: confusion.draw_gif(gif, frames))
    yield f"GIF of {len(frames)} frames", seconds, gif
    for kind in KINDS if shutil.which("ffmpeg") else ():
        path = gif.with_suffix(f".{kind}")
        seconds = _seconds(functools.partial(_draw_video, path, frames, kind))
        yield f"{kind} of {len(frames)} frames", seconds, path


def _draw_video(path: Path, frames: List[confusion.Frame], kind: str) -> None:
    draw_video(path, confusion.Animation(frames), kind)


def _report(predictions: Predictions, folder: Path) -> Iterable[Row]:
    results: Dict = {}

    def estimate() -> None:
        results.update(evaluation.as_json(evaluation.estimates(predictions), predictions))

    yield "numbers with intervals", _seconds(estimate), None
    # The package's photographs take the place of the images.
    photos = [path.read_bytes() for path in sorted(_PHOTOS.rglob("*.jpg"))]

    def thumbnails(positions: Iterable[int]) -> Dict[int, str]:
        return {n: data_uri(memoryview(photos[n % len(photos)])) for n in positions}

    facts = [("network", "none: predictions are synthetic, photographs are only examples")]
    classes = list(known_synsets().items())
    path = folder / "report-synthetic.html"

    def write() -> None:
        content = report.Report(
            "Synthetic predictions", facts, classes, predictions, results, [], thumbnails
        )
        path.write_text(report.page(content), encoding="utf-8")

    yield "report", _seconds(write), path


def _repeated(name: str, action: Callable[[], object], path: Path) -> Iterable[Row]:
    first, *others = [_seconds(action) for _ in range(1 + _REPEATS)]
    yield f"{name}, first", first, path
    yield f"{name}, median of {_REPEATS} more", statistics.median(others), path


def _seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start
