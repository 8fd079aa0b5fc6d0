"""Measure reading: opening and ordering a dataset as large as ImageNet, and reading from a disk.

Opening and ordering are measured on eight shards with 1,281,167 records of 48 bytes. Reading is
measured on records of the size of ImageNet's original images, in the orders of a training. Before
each reading the file is dropped from the page cache. Nothing is decoded.
"""

import os
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Dict, List, Optional, Tuple

import numpy as np

from imagenet_trainer.benchmarks.figures import Figures, named
from imagenet_trainer.data.order import Order, permutation
from imagenet_trainer.data.records.record_writer import RecordWriter
from imagenet_trainer.data.records.shard_names import numbered
from imagenet_trainer.data.records.shards import Shards
from imagenet_trainer.errors import InputError
from imagenet_trainer.system.machine import resident_memory

_IMAGENET, _SHARDS = 1_281_167, 8
_SMALL = 48  # bytes of payload
IMAGE = 110_000  # bytes: 140 GB / 1,281,167, of the original images
_BATCH, _AHEAD = 256, 4
WINDOW = 2048


def run(images: int, rounds: int, threads: int) -> Figures:
    """Print times, memory and reading rates, with the targets; return them."""
    check_images(images)
    with tempfile.TemporaryDirectory() as folder:
        figures = _opening(_write_small(folder), rounds)
    with tempfile.TemporaryDirectory() as folder:
        print(f"\n{images:,} records of {IMAGE / 1e3:.0f} kB in {os.path.dirname(folder)}")
        figures.update(_disk(write_large(folder, images), rounds, threads))
    return figures


# --- opening and ordering ----------------------------------------------------------------------


def _write_small(folder: str) -> List[str]:
    """Write shards with NumPy: record by record a million would take seconds."""
    record = np.dtype([("magic", "<u4"), ("length", "<u4"), ("payload", "u1", _SMALL)])
    paths = []
    for shard in range(_SHARDS):
        keys = range(_IMAGENET * shard // _SHARDS, _IMAGENET * (shard + 1) // _SHARDS)
        records = np.zeros(len(keys), record)
        records["magic"], records["length"] = 0xCED7230A, _SMALL
        path = os.path.join(folder, numbered("train", shard, _SHARDS) + ".rec")
        records.tofile(path)
        with open(path[:-3] + "idx", "w") as file:
            file.writelines(f"{key}\t{record.itemsize * n}\n" for n, key in enumerate(keys))
        paths.append(path)
    return paths


def _opening(paths: List[str], rounds: int) -> Figures:
    before = resident_memory()
    seconds = []
    for turn in range(rounds):
        begin = time.perf_counter()
        with Shards(paths) as shards:
            seconds.append(time.perf_counter() - begin)
            count = len(shards)
            if turn == 0:
                added = (resident_memory() - before) / 1e6
    print(f"{count:,} records in {_SHARDS} shards")
    print(f"opened in            {statistics.median(seconds):6.3f} s   (target: under 2 s)")
    print(f"memory added         {added:6.0f} MB  (target: under 300 MB)")
    figures = {"opening_seconds": statistics.median(seconds), "opening_megabytes": added}
    for window in (0, 8192):
        seconds = []
        for turn in range(rounds):
            begin = time.perf_counter()
            permutation(0, turn, count, window)
            seconds.append(time.perf_counter() - begin)
        name = f"order, window {window}" if window else "order of an epoch"
        print(f"{name:<20} {statistics.median(seconds):6.3f} s   (target: under 0.2 s)")
        figures[f"{named(name)}_seconds"] = statistics.median(seconds)
    return figures


# --- reading a disk ----------------------------------------------------------------------------


def check_images(images: int) -> None:
    """Raise InputError for fewer images than a batch, of which none would be read."""
    if images < _BATCH:
        raise InputError(f"--images {images}: reading takes batches of {_BATCH}; give as many")


def write_large(folder: str, images: int) -> str:
    """Write train.rec with so many records of random bytes into a folder; return its path."""
    path = os.path.join(folder, "train.rec")
    random = np.random.default_rng(0)
    with RecordWriter(path, path[:-3] + "idx") as writer:
        for key in range(images):
            writer.write(key, random.bytes(IMAGE))
        writer.flush()
        writer.sync()
    return path


def _disk(path: str, rounds: int, threads: int) -> Figures:
    """Print and return the median images per second of each order; the orders take turns."""
    with Shards([path]) as shards:
        orders = {
            "random, no read-ahead": (0, False),
            "random, read-ahead": (0, True),
            f"--shuffle-window {WINDOW}": (WINDOW, True),
            "sequential, read-ahead": (None, True),
        }
        rates: Dict[str, List[float]] = {name: [] for name in orders}
        for turn in range(rounds):
            for name, (window, ahead) in orders.items():
                _forget(path)
                rates[name].append(read_epoch(shards, window, ahead, turn, threads))
    print(f"{f'{threads} threads, batch {_BATCH}':<28}{'images/s':>10}{'MB/s':>8}")
    for name, values in rates.items():
        _print_rate(name, statistics.median(values))
    rate, cost = _in_memory(path, threads)
    _print_rate("random, from memory", rate)
    print(f"read-ahead of records that are in memory costs {cost:.1f} us per image")
    medians = {named(name): statistics.median(values) for name, values in rates.items()}
    return {**medians, "random_from_memory": rate, "read_ahead_seconds": cost / 1e6}


def _print_rate(name: str, rate: float) -> None:
    print(f"{name:<28}{rate:>10,.0f}{rate * IMAGE / 1e6:>8,.0f}")


def _in_memory(path: str, threads: int) -> Tuple[float, float]:
    """Images per second from the page cache, and microseconds per image of read-ahead there."""
    with open(path, "rb", buffering=0) as file:
        while file.read(1 << 24):
            pass
    with Shards([path]) as shards:
        rate = read_epoch(shards, 0, False, 0, threads)
        indices = permutation(0, 0, len(shards))
        begin = time.perf_counter()
        for first in range(0, len(indices), _BATCH):
            shards.will_need(indices[first : first + _BATCH])
        return rate, 1e6 * (time.perf_counter() - begin) / len(indices)


def _forget(path: str) -> None:
    """Drop the file from the page cache; some systems take it as advice only."""
    if hasattr(os, "posix_fadvise"):
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_epoch(
    shards: Shards, window: Optional[int], ahead: bool, epoch: int, threads: int
) -> float:
    """Images per second of reading the full batches of an epoch; window None: in sequence."""
    images = len(shards)
    updates = images // _BATCH
    order = Order(epoch, images, _BATCH, window or 0)
    reads, requested = order.reads(0, updates, _AHEAD), 0
    begin = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        for update in range(updates):
            indices = order.batch(update)[0]
            wanted = next(reads)
            if window is None:
                indices = np.arange(update * _BATCH, (update + 1) * _BATCH)
                wanted = (indices + _AHEAD * _BATCH)[indices + _AHEAD * _BATCH < images]
            if ahead and requested < images:  # the rest is of the next epoch
                shards.will_need(wanted)
                requested += len(wanted)
            for _ in pool.map(shards.read, indices.tolist()):
                pass
    return updates * _BATCH / (time.perf_counter() - begin)
