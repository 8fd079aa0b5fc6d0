"""Measures latencies: python -m imagenet_trainer.comparison.latency

The networks take turns, so that the load of the machine is the same for all of them; what differs
from turn to turn gives the intervals. `compare` starts this once, when all networks are evaluated.
The latencies are stored in compare.json in the folder of each run.
"""

import gc
import hashlib
import os
import sys
import time
from functools import partial
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np

from imagenet_trainer.comparison.measure import IMAGES, available_devices, best_epoch, views_of
from imagenet_trainer.comparison.results import read_stored, store
from imagenet_trainer.config import LatencySettings, flags
from imagenet_trainer.engines import Devices
from imagenet_trainer.errors import run_command
from imagenet_trainer.eval.evaluator import open_validation_set
from imagenet_trainer.eval.latency import high_of
from imagenet_trainer.eval.network import open_network
from imagenet_trainer.runs.run import Run
from imagenet_trainer.system.block_cache import use_cache

TURNS = 10
"""Turns of each network, of which the medians are compared; fewer than six give no interval."""

_VERSION = 1
_WARM_UP = 2  # calls at the beginning of a turn that are not timed

Call = Callable[[int], Any]


def take_turns(
    calls: Sequence[Call], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> np.ndarray:
    """Milliseconds of each call, float64 (networks, turns, calls of a turn).

    Each of `calls` is called with numbers, at least `rounds` times. The order of the networks is
    reversed from turn to turn.
    """
    turns = min(TURNS, rounds)
    size = -(-rounds // turns)
    times = np.empty((len(calls), turns, size))
    for turn in range(turns):
        networks = range(len(calls))
        for network in networks if turn % 2 == 0 else reversed(networks):
            call = calls[network]
            for number in range(_WARM_UP):
                call(number)
            for number in range(size):
                began = clock()
                call(turn * size + number)
                times[network, turn, number] = 1000 * (clock() - began)
    return times


def summary(times: np.ndarray) -> Dict[str, Any]:
    """The median of each turn, and the 99th percentile of all calls, of times (turns, calls)."""
    return {"medians": np.median(times, axis=1).tolist(), "high": high_of(times.ravel())}


def measure(settings: LatencySettings) -> None:
    """Measure and store the latencies of all runs, unless they are stored for the same runs."""
    use_cache(settings.cache_dir, settings.cache_size)
    runs = [Run(prefix) for prefix in settings.runs]
    epochs = [best_epoch(run) for run in runs]
    devices = available_devices(settings)
    key = _key(runs, epochs, [settings.rounds, devices])
    known = (read_stored(run).get("latency", {}).get("key") for run in runs)
    if not settings.measure_again and all(one == key for one in known):
        return
    found: List[Dict[str, Any]] = [{} for _ in runs]
    for name, device in devices:
        calls = [_calls(settings, run, epoch, device) for run, epoch in zip(runs, epochs)]
        alone = take_turns([one for one, _ in calls], settings.rounds)
        whole = take_turns([one for _, one in calls], settings.rounds)
        for entry, network, decoding in zip(found, alone, whole):
            entry[name] = {"alone": summary(network), "whole": summary(decoding)}
        del calls
        gc.collect()  # frees the engines' memory before those of the next device are opened
    for run, entry in zip(runs, found):
        store(run, {"latency": {"key": key, "devices": entry}})


def _key(runs: Sequence[Run], epochs: Sequence[int], conditions: Sequence[Any]) -> str:
    parts: List[Any] = [_VERSION, os.cpu_count(), *conditions]
    for run, epoch in zip(runs, epochs):
        parts += [run.params_sha256(epoch), run.preprocessing(epoch)]
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _calls(settings: LatencySettings, run: Run, epoch: int, device: Devices) -> Tuple[Call, Call]:
    """Functions that run one image through the network: a decoded one, and an encoded one."""
    engine, _, checkpoint = open_network(run, epoch, device, 1)
    dataset, _ = open_validation_set(settings, run, checkpoint)
    view = views_of(dataset, checkpoint)
    dataset.shards.close()
    views = [*map(view, range(IMAGES))]
    return (
        lambda number: engine.predict(views[number % IMAGES]),
        lambda number: engine.predict(view(number)),
    )


def main(argv: Optional[Sequence[str]] = None) -> int:
    """The command line, which `compare` composes."""
    about = "Measure the latency of trained networks in turn; compare runs this for its networks."
    settings = flags.parse(LatencySettings, argv, "measuring", about)
    return run_command("measuring", partial(measure, settings))


if __name__ == "__main__":
    sys.exit(main())
