"""Measure the time from 50,000 predictions to all metrics, and of evaluation against inference.

`numbers` needs no network: the probabilities are synthetic. `forward` packs photographs and runs
ResNet-50 on the CPU: on one batch repeatedly, on the images of the shard with everything that
`evaluate` does, and the same with the decoded images in memory.
"""

import statistics
import tempfile
import time
from typing import Dict, List, Tuple

import numpy as np

from imagenet_trainer import symbols
from imagenet_trainer.benchmarks.figures import Figures, median_ratio, named
from imagenet_trainer.benchmarks.photographs import pack_photographs
from imagenet_trainer.data.dataset import IMAGENET_CLASSES, open_dataset
from imagenet_trainer.data.loader import loader_threads
from imagenet_trainer.data.views import ViewTransform
from imagenet_trainer.engines import Devices, Engine
from imagenet_trainer.engines.factory import open_engine
from imagenet_trainer.engines.symbol import parameter_shapes
from imagenet_trainer.eval.inference import ViewBatches, predict_dataset
from imagenet_trainer.metrics.evaluation import class_rows, class_table, estimates
from imagenet_trainer.metrics.predictions import Collector, Predictions
from imagenet_trainer.train.initializers import initial_parameters
from imagenet_trainer.viz.confusion import draw, write_png

_BATCH, _LAYERS, _SIDE = 16, 50, 224


def numbers(images: int, rounds: int) -> Figures:
    """Print the seconds from probabilities (images, 1000) to all metrics and files."""
    probabilities, labels = synthetic_probabilities(images)
    seconds: Dict[str, List[float]] = {}
    for _ in range(rounds):
        start = time.perf_counter()
        collector = Collector(np.arange(images), IMAGENET_CLASSES)
        for first in range(0, images, 64):
            part = np.arange(first, min(first + 64, images))
            collector.add(part, probabilities[part[0] : part[-1] + 1], labels[part])
        predictions = collector.complete()
        start = _record(seconds, "ranks and best classes", start)
        matrix = predictions.confusion()
        start = _record(seconds, "top-5 confusion matrix", start)
        estimates(predictions)
        start = _record(seconds, "numbers with intervals", start)
        class_rows(class_table(predictions), [("", "")] * IMAGENET_CLASSES)
        start = _record(seconds, "table of classes", start)
        _save(predictions, matrix)
        _record(seconds, "files and picture", start)
    print(f"{images:,} predictions of {IMAGENET_CLASSES:,} classes, median of {rounds}")
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    for name, middle in medians.items():
        print(f"{name:<28}{middle:8.2f} s")
    total = statistics.median(map(sum, zip(*seconds.values())))
    print(f"{'all':<28}{total:8.2f} s (target 5)")
    return {**{named(name): middle for name, middle in medians.items()}, "all": total}


def synthetic_probabilities(images: int) -> Tuple[np.ndarray, np.ndarray]:
    """Return float32 (images, 1000), correct for about half of the labels int64 (images,)."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, IMAGENET_CLASSES, images)
    scores = rng.random((images, IMAGENET_CLASSES), np.float32) ** 8
    scores[np.arange(images), labels] += 2 * rng.random(images, np.float32)
    return scores / scores.sum(axis=1, keepdims=True), labels


def _save(predictions: Predictions, matrix: np.ndarray) -> None:
    with tempfile.TemporaryDirectory() as folder:
        predictions.save(f"{folder}/predictions.npz")
        write_png(f"{folder}/confusion.png", draw(matrix))


def _record(seconds: Dict[str, List[float]], name: str, start: float) -> float:
    now = time.perf_counter()
    seconds.setdefault(name, []).append(now - start)
    return now


def forward(images: int, rounds: int) -> Figures:
    """Print images per second of the forward pass alone, and of a whole evaluation."""
    engine = _engine()
    speeds: Dict[str, List[float]] = {"forward alone": [], "evaluate": [], "from memory": []}
    with tempfile.TemporaryDirectory() as folder:
        dataset = open_dataset(pack_photographs(folder, images))
        threads = loader_threads(0, False)
        transform = ViewTransform((3, _SIDE, _SIDE))
        in_memory = ViewBatches(dataset, transform, _BATCH, threads, keep=True)
        batch, *_ = [views.copy() for _, views, _ in in_memory]  # also decodes all
        engine.predict(batch)
        for turn in range(rounds):
            start = time.perf_counter()
            for first in range(0, images, _BATCH):
                engine.predict(batch[: images - first])
            speeds["forward alone"].append(images / (time.perf_counter() - start))
            for name in ("evaluate", "from memory"):
                start = time.perf_counter()
                source = ViewBatches(dataset, transform, _BATCH, threads)
                predictions = predict_dataset(
                    engine, source if name == "evaluate" else in_memory, 5
                )
                predictions.confusion()
                speeds[name].append(images / (time.perf_counter() - start))
            last = ", ".join(f"{name} {rates[-1]:.2f}" for name, rates in speeds.items())
            print(f"round {turn + 1}, images/s: {last}", flush=True)
    for name in ("evaluate", "from memory"):
        share = median_ratio(speeds[name], speeds["forward alone"])
        print(f"{name}: {100 * share:.1f} % of the speed of the forward pass (target 95)")
    return {named(name): statistics.median(rates) for name, rates in speeds.items()}


def _engine() -> Engine:
    shape = (3, _SIDE, _SIDE)
    symbol = symbols.get_symbol("resnet", IMAGENET_CLASSES, shape, _LAYERS)
    engine = open_engine(symbol, Devices(), (_BATCH, _SIDE, _SIDE, 3), (0, 0, 0), (1, 1, 1))
    engine.set_params(*initial_parameters(*parameter_shapes(symbol, shape), "xavier", 0))
    return engine
