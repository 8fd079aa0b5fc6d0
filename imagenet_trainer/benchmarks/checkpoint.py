"""Measure what a checkpoint costs: the seconds for which training waits, as a share of a minute.

This includes what fit does: fetching parameters and optimizer state from the engine, checking that
all are finite, checksums, writing and fsync of both files. A bare write and fsync of the same
number of bytes is measured too: the disk's share.
"""

import os
import statistics
import tempfile
import time
from dataclasses import replace
from typing import List, Tuple

import numpy as np

from imagenet_trainer import symbols
from imagenet_trainer.benchmarks.figures import Figures, named
from imagenet_trainer.config import FitSettings
from imagenet_trainer.data.dataset import IMAGENET_CLASSES, default_classes
from imagenet_trainer.runs.checkpoint import Checkpoint, Preprocessing, Progress
from imagenet_trainer.runs.run import Run
from imagenet_trainer.train.engine import open_training_engine
from imagenet_trainer.train.session import check_finite
from imagenet_trainer.train.setup import untrained_parameters

_NETWORKS = ("squeezenet1.0", "resnet-18", "resnet-50")
_MINUTE = 60.0
_TARGET = 0.01


def run(rounds: int) -> Figures:
    """Print the seconds of a checkpoint of some networks, and the share of one per minute."""
    print(f"{f'median of {rounds}':<16}{'MB':>8}{'fetch, s':>10}{'write, s':>10}{'bare, s':>10}"
          f"{'at one per minute':>18}")  # fmt: skip
    figures: Figures = {}
    for name in _NETWORKS:
        with tempfile.TemporaryDirectory() as folder:
            size, fetch, write, bare = _measure(name, folder, rounds)
        share = (fetch + write) / _MINUTE
        print(f"{name:<16}{size / 1e6:>8.1f}{fetch:>10.3f}{write:>10.3f}{bare:>10.3f}"
              f"{share:>17.2%} (target below {_TARGET:.0%})")  # fmt: skip
        parts = {
            "bytes": size,
            "fetch_seconds": fetch,
            "write_seconds": write,
            "bare_seconds": bare,
        }
        figures.update({f"{named(name)}_{part}": value for part, value in parts.items()})
    return figures


def _measure(name: str, folder: str, rounds: int) -> Tuple[int, float, float, float]:
    """Return bytes, and seconds of fetching, of writing and of a bare write."""
    settings = replace(FitSettings(), network=name, batch_size=2)
    network = symbols.find(name)
    symbol = symbols.get_symbol(name, IMAGENET_CLASSES)
    engine = open_training_engine(settings, symbol)
    engine.set_params(*untrained_parameters(settings, network, symbol))
    images = np.zeros((2, *settings.image_shape[1:], 3), np.uint8)
    engine.train_batch(images, np.zeros(2, np.int64), 0.0)  # momentum exists after an update
    how = Preprocessing(settings.image_shape, settings.rgb_mean, settings.rgb_std, 0)
    run = Run(os.path.join(folder, "model"))
    fetches, writes, bares = [], [], []
    for _ in range(rounds):
        start = time.perf_counter()
        (arg, aux), state = engine.get_params(), engine.get_state()
        check_finite({**arg, **aux}, Progress())
        fetched = time.perf_counter()
        run.save(
            Checkpoint(arg, aux, Progress(), state, how, default_classes(IMAGENET_CLASSES)), None
        )
        written = time.perf_counter()
        sizes = [run.params_path(None).stat().st_size, run.state_path(None).stat().st_size]
        fetches.append(fetched - start)
        writes.append(written - fetched)
        bares.append(_bare(folder, sizes))
    median = statistics.median
    return sum(sizes), median(fetches), median(writes), median(bares)


def _bare(folder: str, sizes: List[int]) -> float:
    blocks = [os.urandom(size) for size in sizes]
    start = time.perf_counter()
    for number, block in enumerate(blocks):
        with open(os.path.join(folder, f"bare-{number}"), "wb") as file:
            file.write(block)
            file.flush()
            os.fsync(file.fileno())
    return time.perf_counter() - start
