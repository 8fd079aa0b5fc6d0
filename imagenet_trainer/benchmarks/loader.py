"""Measure the loader against MXNet's ImageRecordIter, and against decoding alone.

All three read the same shard of photographs in turns, each in its own process: the loader changes
how its process reuses memory, which would speed the others up too. The start is not timed. The
loader also reads these images as im2rec.py packs them with --resize 256.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from functools import partial
from typing import Callable, Dict, List, Tuple

import cv2
import numpy as np

from imagenet_trainer.benchmarks.photographs import make_photographs, pack_photographs
from imagenet_trainer.config import AugmentSettings
from imagenet_trainer.data.augment import TrainTransform
from imagenet_trainer.data.loader import Batches, Threads, training_batches
from imagenet_trainer.data.order import Order, updates_before
from imagenet_trainer.data.records.record_writer import RecordWriter
from imagenet_trainer.data.records.recordio import pack_header
from imagenet_trainer.data.records.shards import Shards
from imagenet_trainer.system.machine import keep_freed_memory, processors, resident_memory

_BATCH, _SIDE = 64, 224
_REC = "photographs.rec"
_EPOCHS = 10  # over which memory is measured
_OURS, _MXNET, _BARE = "imagenet_trainer", "mx.io.ImageRecordIter", "cv2.imdecode alone"
_PACKED = "the same, packed at 256 pixels"
# Target for ResNet-50 on one H100, in images/s (docs/engines.md).
_H100 = 3400
Rates = Tuple[float, float]  # images per CPU-second, images per second


def run(count: int = 1000, rounds: int = 5, threads: int = 2) -> None:
    """Print the rates, their ratios, and the memory over ten epochs."""
    with tempfile.TemporaryDirectory() as folder:
        rec = pack(folder, count)
        with Shards([rec]) as shards:
            size = os.path.getsize(rec) / count / 1e3
            print(f"{count} JPEGs of 500 x 375 pixels, {size:.0f} kB each; random resized crop to")
            print(f"{_SIDE} pixels and mirror; batch {_BATCH}; {threads} threads")
            resident = _memory(shards, threads)  # first, so that MXNet's memory is not counted
            pack_photographs(os.path.join(folder, "packed"), count)
            like = min(threads, max(1, processors() - 1))
            rates = _measure(folder, rounds, threads, like)
            _print_rates(rates, rounds, threads, like)
    text = " ".join(f"{megabytes:.0f}" for megabytes in resident)
    print(f"resident memory in MB after epochs 1 to {_EPOCHS}: {text}")


def pack(folder: str, count: int) -> str:
    """Write photographs of 500 x 375 pixels as they are to a shard; return its path."""
    make_photographs(folder, count)
    rec = os.path.join(folder, _REC)
    with RecordWriter(rec, os.path.join(folder, "photographs.idx")) as writer:
        for number in range(count):
            with open(os.path.join(folder, f"{number:05d}.jpg"), "rb") as file:
                writer.write(number, pack_header(float(number % 1000), number) + file.read())
    return rec


def _measure(folder: str, rounds: int, threads: int, like: int) -> Dict[str, Rates]:
    """Return the medians over the rounds."""
    candidates = (
        (_named(_OURS, like), _OURS, like),
        (_named(_OURS, threads), _OURS, threads),
        (_PACKED, _PACKED, threads),
        (_named(_BARE, like), _BARE, like),
        (_MXNET, _MXNET, threads),
    )
    rates: Dict[str, List[Rates]] = {title: [] for title, _, _ in candidates}
    for _ in range(rounds):
        for title, kind, count in candidates:
            rates[title].append(_in_a_process(kind, folder, count))
    return {title: _medians(all_) for title, all_ in rates.items()}


def _in_a_process(kind: str, folder: str, threads: int) -> Rates:
    code = (
        "import sys; from imagenet_trainer.benchmarks import loader; "
        "loader.measure_candidate(*sys.argv[1:])"
    )
    command = [sys.executable, "-c", code, kind, folder, str(threads)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    cpu, wall = json.loads(done.stdout)
    return cpu, wall


def measure_candidate(kind: str, folder: str, threads: str) -> None:
    """Print the rates of one candidate in its second pass; the first is the warm-up."""
    count, rec = int(threads), os.path.join(folder, _REC)
    if kind == _PACKED:
        rec = os.path.join(folder, "packed", "train.rec")
    work: Callable[[], int]
    with Shards([rec]) as shards:
        if kind == _MXNET:
            _image_record_iter(rec, count)()
            # A new one: it counts correctly only in its first pass.
            work = _image_record_iter(rec, count)
        elif kind in (_OURS, _PACKED):
            load(shards, count, 0)
            work = partial(load, shards, count, 1)
        else:
            keep_freed_memory()  # as the loader does, for a fair comparison
            images = [np.frombuffer(shards.record(i).image, np.uint8) for i in range(len(shards))]
            _decode(images, count)
            work = partial(_decode, images, count)
        print(json.dumps(_rates(work)))


def _medians(rates: List[Rates]) -> Rates:
    cpu, wall = zip(*rates)
    return statistics.median(cpu), statistics.median(wall)


def _rates(work: Callable[[], int]) -> Rates:
    cpu, wall = time.process_time(), time.perf_counter()
    images = work()
    return images / (time.process_time() - cpu), images / (time.perf_counter() - wall)


def _batches(shards: Shards, threads: int, epoch: int, epochs: int = 1) -> Batches:
    first, last = (updates_before(e, len(shards), _BATCH) for e in (epoch, epoch + epochs))
    order = Order(0, len(shards), _BATCH)
    transform = TrainTransform(AugmentSettings(), (3, _SIDE, _SIDE), seed=0)
    return training_batches(
        shards, order, transform, 1000, range(first, last), threads=Threads(threads)
    )


def load(shards: Shards, threads: int, epoch: int) -> int:
    """Make the batches of an epoch; return the number of images."""
    with _batches(shards, threads, epoch) as loader:
        return sum(len(batch.images) for batch in loader)


def _image_record_iter(rec: str, threads: int) -> Callable[[], int]:
    # Only the process that measures it imports MXNet.
    from imagenet_trainer.engines.mxnet.reference import image_record_reader

    return image_record_reader(rec, _SIDE, _BATCH, threads)


def _decode(encoded: List[np.ndarray], threads: int) -> int:
    def work(part: List[np.ndarray]) -> None:
        for image in part:
            cv2.imdecode(image, cv2.IMREAD_COLOR)

    workers = [threading.Thread(target=work, args=(encoded[i::threads],)) for i in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return len(encoded)


def _memory(shards: Shards, threads: int) -> List[float]:
    """Return the resident megabytes at the end of each of ten epochs."""
    resident = []
    ends = {updates_before(epoch + 1, len(shards), _BATCH) for epoch in range(_EPOCHS)}
    with _batches(shards, threads, 0, _EPOCHS) as loader:
        for batch in loader:
            if batch.update + 1 in ends:
                resident.append(resident_memory() / 1e6)
    return resident


def _print_rates(rates: Dict[str, Rates], rounds: int, threads: int, like: int) -> None:
    print(f"\n{f'median of {rounds} rounds':<34}{'images / CPU-second':>20}{'images / second':>17}")
    for name, (cpu, wall) in rates.items():
        print(f"{name:<34}{cpu:>20.0f}{wall:>17.0f}")
    ours, theirs, bare = rates[_named(_OURS, like)], rates[_MXNET], rates[_named(_BARE, like)]
    fastest = rates[_named(_OURS, threads)]
    print(f"\nagainst {_MXNET}, per CPU-second: {ours[0] / theirs[0]:.2f} times (target 1.6)")
    print(f"against {_MXNET}, per second:     {fastest[1] / theirs[1]:.2f} times (target 2)")
    print(f"against {_BARE}, per CPU-second:    {ours[0] / bare[0]:.0%} (target 75 %)")
    packed = rates[_PACKED][0]
    print(f"processors for {_H100} images/s, packed at 256 pixels: {_H100 / packed:.1f}")
    if like < threads:
        print(
            f"({_MXNET} leaves one processor free: of {threads} requested threads it uses {like}. "
            "Comparisons\nper CPU-second use the same number, because each of two busy cores is "
            "slower.)"
        )


def _named(name: str, threads: int) -> str:
    return f"{name}, {threads} thread{'s' if threads > 1 else ''}"
