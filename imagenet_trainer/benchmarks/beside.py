"""Training on the CPU beside busy processes, by engine and by OpenMP threads and their waiting."""

import contextlib
import os
import statistics
import subprocess
import sys
from typing import Dict, Iterator, List, NamedTuple, Optional

from imagenet_trainer.benchmarks.figures import Figures, median_ratio, named
from imagenet_trainer.benchmarks.train import speed_without_data
from imagenet_trainer.engines.choice import has_torch
from imagenet_trainer.system.competition import Competition
from imagenet_trainer.system.machine import compute_threads, processors

_BUSY = "while True: pass"
_LIBRARY = "GOMP_SPINCOUNT=300000"  # the number of GNU's library


class Way(NamedTuple):
    """An engine, its threads (None: what `fit` chooses when it starts), and a variable or ""."""

    engine: str
    threads: Optional[int]
    setting: str = ""

    def __str__(self) -> str:
        threads = "default" if self.threads is None else f"{self.threads} threads"
        return ", ".join(filter(None, (self.engine, threads, self.setting)))


def run(others: int, rounds: int) -> Figures:
    """Print images per second of ResNet-18 alone and beside `others` busy processes, in turn.

    Its images have 112 pixels and stay in memory. Fair is the share of the processors that as many
    equal threads would get. What already runs on the machine is printed too: it is not idle then.
    """
    ways = _ways()
    alone: Dict[Way, List[float]] = {way: [] for way in ways}
    beside: Dict[Way, List[float]] = {way: [] for way in ways}
    for turn in range(rounds):
        for way in ways:
            already = Competition()
            alone[way].append(_speed(way))
            with _busy(others):
                beside[way].append(_speed(way))
            print(
                f"round {turn + 1}: {way}: {alone[way][-1]:.2f} images/s alone, "
                f"{beside[way][-1]:.2f} beside {others}; in that time all processes used "
                f"{already.read():.1f} of {processors()} processors",
                flush=True,
            )
    print("\n".join(_table(alone, beside, others)))
    return {
        named(str(way)) + ending: statistics.median(group[way])
        for ending, group in (("", alone), (f"_beside_{others}", beside))
        for way in ways
    }


def _ways() -> List[Way]:
    most = compute_threads()
    ways = []
    for engine in ["mxnet", *(["torch"] if has_torch() else [])]:
        ways += [Way(engine, threads) for threads in (None, *sorted({1, most}))]
        if engine == "torch" and most > 1:
            ways += [
                Way(engine, most, setting) for setting in (_LIBRARY, "OMP_WAIT_POLICY=passive")
            ]
    return ways


def _table(
    alone: Dict[Way, List[float]], beside: Dict[Way, List[float]], others: int
) -> Iterator[str]:
    """Medians, each also as a share of the engine's best way; and the share that is left."""
    yield f"{'':45}{'alone':>8}  of best {f'beside {others}':>10}  of best  of alone  fair"
    for way in alone:
        rivals = [one for one in alone if one.engine == way.engine]
        columns = ""
        for group, width in ((alone, 8), (beside, 11)):
            speed = statistics.median(group[way])
            best = max(statistics.median(group[one]) for one in rivals)
            columns += f"{speed:{width}.2f}{speed / best:9.0%}"
        left = median_ratio(beside[way], alone[way])
        count = compute_threads() if way.threads is None else way.threads
        fair = min(1.0, processors() / (count + others))
        yield f"{way!s:45}{columns}{left:10.0%}{fair:6.0%}"


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


def _speed(way: Way) -> float:
    command = [
        sys.executable, "-m", "imagenet_trainer.fit", "--engine", way.engine,
        "--network", "resnet-18", "--image-shape", "3,112,112", "--batch-size", "16",
        "--disp-batches", "2", "--lr", "0.01",
    ]  # fmt: skip
    environment = {name: text for name, text in os.environ.items() if "OMP_" not in name}
    if way.threads is not None:
        environment["OMP_NUM_THREADS"] = str(way.threads)
    if way.setting:
        name, text = way.setting.split("=")
        environment[name] = text
    return speed_without_data(command, environment)
