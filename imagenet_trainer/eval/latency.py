"""Latency of inference: from a file to its classes, for one image and for a batch."""

import time
from typing import Any, Callable, List, NamedTuple, Sequence

import numpy as np

from imagenet_trainer.data.image_files import read_image
from imagenet_trainer.eval.classify import Classifier

ROUNDS, WARM_UP = 100, 10
"""Timed calls, and calls before them that are not timed."""


class Latency(NamedTuple):
    """Milliseconds of a call with `batch` images."""

    name: str
    batch: int
    median: float
    high: float  # the 99th percentile
    rounds: int


def measure(
    name: str,
    batch: int,
    call: Callable[[int], Any],
    rounds: int = ROUNDS,
    clock: Callable[[], float] = time.perf_counter,
) -> Latency:
    """Time `call(round)`, which must return only when its result is complete."""
    for number in range(min(WARM_UP, rounds)):
        call(number)
    times = np.empty(rounds)
    for number in range(rounds):
        began = clock()
        call(number)
        times[number] = clock() - began
    times *= 1000
    return Latency(name, batch, float(np.median(times)), high_of(times), rounds)


def high_of(times: np.ndarray) -> float:
    """The smallest of some times (n,) that 99 of 100 do not exceed."""
    return float(np.sort(times)[int(np.ceil(0.99 * len(times))) - 1])


def of_network(
    single: Classifier, many: Classifier, paths: Sequence[str], rounds: int = ROUNDS
) -> List[Latency]:
    """Latencies of decoding, of the network for one image, of both, and for a batch.

    Takes a classifier with batches of one image and one with larger batches. The files are used
    in turn.
    """

    def decode(number: int) -> np.ndarray:
        views = np.empty((1, *single.transform.size, 3), np.uint8)
        image = read_image(paths[number % len(paths)])
        single.transform.apply(image, None, 0, views[0])
        return views

    one = decode(0)
    batch = np.repeat(one, many.batch, axis=0)
    return [
        measure("reading and decoding", 1, decode, rounds),
        measure("network", 1, lambda number: single.predict(one), rounds),
        measure("file to classes", 1, lambda number: single.predict(decode(number)), rounds),
        measure("network", many.batch, lambda number: many.predict(batch), rounds),
    ]


def table(device: str, latencies: Sequence[Latency]) -> str:
    """The latencies as text, one per line."""
    lines: List[str] = [
        f"{device}; {latencies[0].rounds} calls each, milliseconds",
        f"{'':<26}{'batch':>6}{'median':>10}{'99th %':>10}{'per image':>11}{'images/s':>12}",
    ]
    for one in latencies:
        each = one.median / one.batch
        lines.append(
            f"{one.name:<26}{one.batch:>6}{one.median:>10.2f}{one.high:>10.2f}{each:>11.2f}"
            f"{1000 / each:>12.1f}"
        )
    return "\n".join(lines)
