"""Training on the CPU beside busy processes, by engine and number of OpenMP threads."""

import contextlib
import os
import statistics
import subprocess
import sys
from typing import Dict, Iterator, List, Tuple

from imagenet_trainer.benchmarks.figures import Figures
from imagenet_trainer.benchmarks.train import speed_without_data
from imagenet_trainer.engines.choice import has_torch
from imagenet_trainer.system.competition import Competition
from imagenet_trainer.system.machine import processors

_BUSY = "while True: pass"
_Way = Tuple[str, int]  # engine, OpenMP threads


def run(others: int, rounds: int) -> Figures:
    """Print images per second of ResNet-18 alone and beside `others` busy processes, in turn.

    Its images have 112 pixels and stay in memory. Fair is the share of the processors that as many
    equal threads would get. What already runs on the machine is printed too: it is not idle then.
    """
    count = processors()
    engines = ["mxnet", *(["torch"] if has_torch() else [])]
    ways = [(engine, threads) for engine in engines for threads in sorted({1, count})]
    alone: Dict[_Way, List[float]] = {way: [] for way in ways}
    beside: Dict[_Way, List[float]] = {way: [] for way in ways}
    for turn in range(rounds):
        for way in ways:
            already = Competition()
            alone[way].append(_speed(*way))
            with _busy(others):
                beside[way].append(_speed(*way))
            print(
                f"round {turn + 1}: {way[0]} with {way[1]} threads: {alone[way][-1]:.2f} images/s "
                f"alone, {beside[way][-1]:.2f} beside {others}; in that time all processes used "
                f"{already.read():.1f} of {count} processors",
                flush=True,
            )
    for engine, threads in ways:
        pairs = zip(alone[engine, threads], beside[engine, threads])
        ratio = statistics.median(with_others / without for without, with_others in pairs)
        fair = min(1.0, count / (threads + others))
        print(
            f"{engine} with {threads} threads: {statistics.median(alone[engine, threads]):.2f} "
            f"images/s alone, {ratio:.0%} of it beside {others} (fair: {fair:.0%})"
        )
    return {
        f"{engine}_{threads}{ending}": statistics.median(group[engine, threads])
        for ending, group in (("", alone), (f"_beside_{others}", beside))
        for engine, threads in ways
    }


@contextlib.contextmanager
def _busy(count: int) -> Iterator[None]:
    """Processes that never wait."""
    started = [subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for one in started:
            one.kill()
            one.wait()


def _speed(engine: str, threads: int) -> float:
    command = [
        sys.executable, "-m", "imagenet_trainer.fit", "--engine", engine,
        "--network", "resnet-18", "--image-shape", "3,112,112", "--batch-size", "16",
        "--disp-batches", "2", "--lr", "0.01",
    ]  # fmt: skip
    return speed_without_data(command, {**os.environ, "OMP_NUM_THREADS": str(threads)})
