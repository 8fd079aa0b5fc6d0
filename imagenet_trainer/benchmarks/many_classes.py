"""Measure time and memory of all results of an evaluation with the classes of ImageNet-21k.

The predictions are synthetic: 500,000 images of 21,841 classes, five predictions each.
"""

import csv
import io
import resource
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Callable, Dict, List, Tuple

import numpy as np

from imagenet_trainer.benchmarks.figures import Figures, named
from imagenet_trainer.benchmarks.synthetic_predictions import many_predictions
from imagenet_trainer.metrics.confusion import arrays_of
from imagenet_trainer.metrics.evaluation import as_json, class_rows, class_table, estimates
from imagenet_trainer.metrics.predictions import Predictions
from imagenet_trainer.metrics.semantic import semantic_results, short_names
from imagenet_trainer.viz import confusion, report
from imagenet_trainer.viz.confusion_figure import Sides, draw_figure

CLASSES = 21_841  # of ImageNet-21k, in its version of 2011
SECONDS, GIGABYTES = 60, 2
"""Targets on two processors."""


def run(images: int, classes: int = CLASSES) -> Figures:
    """Print the seconds and the peak of memory of each step."""
    predictions = many_predictions(images, classes)
    classes_named = [(f"n{label:08d}", f"class {label}") for label in range(classes)]
    print(f"synthetic predictions: {images:,} images, {classes:,} classes")
    figures: Figures = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, action in _steps(predictions, classes_named, Path(folder)):
            start = time.perf_counter()
            action()
            seconds = time.perf_counter() - start
            figures[named(name)] = seconds
            print(f"{name:<28}{seconds:8.2f} s{_peak():8.2f} GB", flush=True)
    total = sum(figures.values())
    print(f"{'all':<28}{total:8.2f} s{_peak():8.2f} GB (target {SECONDS} s, {GIGABYTES} GB)")
    return {**figures, "all": total, "peak_gigabytes": _peak()}


def _peak() -> float:
    """The greatest memory of this process so far, in GB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def _steps(
    predictions: Predictions, classes: List[Tuple[str, str]], folder: Path
) -> List[Tuple[str, Callable[[], object]]]:
    """What `evaluate --gif --report` computes and writes after inference."""
    matrix, names = predictions.confusion(), short_names(classes)
    numbers: Dict = {}

    def save_counts() -> None:
        np.savez_compressed(folder / "confusion.npz", **arrays_of(matrix))

    def write_classes() -> None:
        csv.writer(io.StringIO()).writerows(class_rows(class_table(predictions), classes))

    def write_figure() -> None:
        sides = Sides(names, np.arange(len(classes)))
        (folder / "figure.png").write_bytes(draw_figure(matrix, sides, "synthetic", ""))

    def write_report() -> None:
        content = report.Report(
            "synthetic", [], classes, predictions, numbers, [], lambda positions: {}
        )
        (folder / "report.html").write_text(report.page(content), encoding="utf-8")

    return [
        ("predictions, saved", partial(predictions.save, folder / "predictions.npz")),
        ("numbers with intervals",
         lambda: numbers.update(as_json(estimates(predictions), predictions))),
        ("confused pairs",
         lambda: numbers.update(semantic_results(predictions, [one for one, _ in classes]))),
        ("confusion matrix", predictions.confusion),
        ("counts, saved", save_counts),
        ("table of classes", write_classes),
        ("picture", lambda: confusion.write_png(folder / "a.png", confusion.draw(matrix))),
        ("picture with axes", write_figure),
        ("GIF of two epochs",
         lambda: confusion.draw_gif(folder / "a.gif", [(1, matrix, 0.4), (2, matrix, 0.5)])),
        ("report", write_report),
    ]  # fmt: skip
