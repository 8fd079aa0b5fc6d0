"""How long the images and the report of a network of 1,000 classes take.

The predictions are made up (`made_up`): 50,000 images, five predictions each, thirty epochs.
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
from imagenet_trainer.benchmarks.synthetic_predictions import synthetic_predictions
from imagenet_trainer.data.records.manifest import known_synsets
from imagenet_trainer.metrics.predictions import Predictions
from imagenet_trainer.metrics.semantic import semantic_results, short_names, summary_lines
from imagenet_trainer.metrics.taxonomy import taxonomy_of
from imagenet_trainer.system import files
from imagenet_trainer.viz import confusion
from imagenet_trainer.viz.class_order import ORDERS, class_order
from imagenet_trainer.viz.confusion_figure import Sides, draw_figure
from imagenet_trainer.viz.thumbnails import data_uri
from imagenet_trainer.viz.video import KINDS, draw_video

_EPOCHS = 30
_PHOTOS = assets.path("photos")
_REPEATS = 5
Row = Tuple[str, float, Optional[Path]]  # what, seconds, the file


def run(keep: Optional[str] = None) -> None:
    """Print the table; with `keep`, leave images, film and report in that folder."""
    epochs = [synthetic_predictions(epoch / _EPOCHS) for epoch in range(1, _EPOCHS + 1)]
    last = epochs[-1]
    with tempfile.TemporaryDirectory() as temporary:
        folder = files.make_folder(keep or temporary)
        rows = [*_images(last, folder), *_films(epochs, folder), *_report(last, folder)]
        print(f"made-up predictions: {len(last):,} images, {last.classes:,} classes")
        for name, seconds, file in rows:
            size = f"{os.path.getsize(file) / 1e6:8.2f} MB" if file else ""
            print(f"{name:<42}{seconds:8.2f} s{size}")
    ids = list(known_synsets())
    names = short_names(list(known_synsets().items()))
    numbers = {"images": len(last), **semantic_results(last, ids)}
    print("\n".join(summary_lines(numbers, dict(zip(ids, names)))))
    if keep:
        print(f"kept in {folder}")


def _images(predictions: Predictions, folder: Path) -> Iterable[Row]:
    classes = list(known_synsets().items())
    matrix, taxonomy = predictions.confusion(), taxonomy_of([one for one, _ in classes])
    yield (
        "import of datashader",
        _seconds(lambda: importlib.import_module("datashader.transfer_functions")),
        None,
    )
    bare = folder / "confusion-made-up.png"
    yield from _repeated("PNG", lambda: confusion.write_png(bare, confusion.draw(matrix)), bare)
    rank1, rank5 = ((predictions.rank < k).mean() for k in (1, 5))
    title = (
        f"made-up predictions: {matrix.sum():,} top-5 predictions of {len(predictions):,} images"
    )
    subtitle = f"rank-1 {100 * rank1:.2f} %, rank-5 {100 * rank5:.2f} %"
    for order in ORDERS:
        seconds = _seconds(functools.partial(class_order, order, matrix, taxonomy))
        yield f"order {order}", seconds, None
        sides = Sides(short_names(classes), class_order(order, matrix, taxonomy), taxonomy)
        path = folder / f"confusion-made-up.{order}.figure.png"
        draw = functools.partial(_draw_figure, path, matrix, sides, title, subtitle)
        yield from _repeated(f"PNG with axes, {order}", draw, path)


def _draw_figure(path: Path, *what: Any) -> None:
    path.write_bytes(draw_figure(*what))


def _films(epochs: List[Predictions], folder: Path) -> Iterable[Row]:
    frames = [
        confusion.Frame(epoch, one.confusion(), float((one.rank < 1).mean()))
        for epoch, one in enumerate(epochs, start=1)
    ]
    gif = folder / "confusion-made-up.gif"
    seconds = _seconds(lambda: confusion.draw_gif(gif, frames))
    yield f"GIF of {len(frames)} frames", seconds, gif
    for kind in KINDS if shutil.which("ffmpeg") else ():
        path = gif.with_suffix(f".{kind}")
        seconds = _seconds(functools.partial(draw_video, path, frames, kind))
        yield f"{kind} of {len(frames)} frames", seconds, path


def _report(predictions: Predictions, folder: Path) -> Iterable[Row]:
    from imagenet_trainer.metrics import evaluation as numbers
    from imagenet_trainer.viz import report

    found: Dict = {}
    yield (
        "numbers with intervals",
        _seconds(
            lambda: found.update(numbers.as_json(numbers.estimates(predictions), predictions))
        ),
        None,
    )
    photos = [
        path.read_bytes() for path in sorted(_PHOTOS.rglob("*.jpg"))
    ]  # one of these stands for each image

    def thumbnails(places: Iterable[int]) -> Dict[int, str]:
        return {place: data_uri(memoryview(photos[place % len(photos)])) for place in places}

    facts = [("network", "none: the predictions are made up, the photographs stand for any image")]
    classes = list(known_synsets().items())
    path = folder / "report-made-up.html"

    def write() -> None:
        told_of = report.Report(
            "Made-up predictions", facts, classes, predictions, found, [], thumbnails
        )
        path.write_text(report.page(told_of), encoding="utf-8")

    yield "report", _seconds(write), path


def _repeated(name: str, action: Callable[[], object], path: Path) -> Iterable[Row]:
    first, *again = [_seconds(action) for _ in range(1 + _REPEATS)]
    yield f"{name}, first", first, path
    yield f"{name}, median of {_REPEATS} more", statistics.median(again), path


def _seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start
