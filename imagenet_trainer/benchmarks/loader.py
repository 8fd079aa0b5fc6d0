"""Measure the loader: whole images and parts of them, against bare decoding and other libraries.

All ways of this package are measured in turns in one process, on the same images with the same
augmentation, so that the load of other programs is the same for all. Other libraries have a process
each, because the loader changes how its process reuses memory. Starts are not timed.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from typing import Dict, List, Sequence

import numpy as np

from imagenet_trainer.benchmarks import loading
from imagenet_trainer.benchmarks.figures import Figures, median_ratio
from imagenet_trainer.benchmarks.photographs import make_photographs, write_pack
from imagenet_trainer.data.images import jpeg_window
from imagenet_trainer.data.loader import ONE_THREAD, Threads
from imagenet_trainer.data.order import updates_before
from imagenet_trainer.data.records.shards import Shards
from imagenet_trainer.packing.conversion import Conversion
from imagenet_trainer.system.machine import keep_freed_memory, resident_memory

_EPOCHS = 10  # over which memory is measured
_PARTS = 4  # of an epoch, between which the ways take turns
_TINY = 8  # pixels of images of which the interpreter's part is most of the time
_COMPARED = 4  # batches
_TITLES = {
    "whole": "whole images",
    "region_plain": "what the crop needs",
    "region_restart": "the same, restart markers",
    "imdecode": "cv2.imdecode alone",
    "image_record_iter": "mx.io.ImageRecordIter",
    "dali": "DALI on the CPU",
    "torchvision": "torchvision, Pillow, DataLoader",
    "evaluation_whole": "evaluation, whole images",
    "evaluation_region_plain": "evaluation, the centre crop",
    "evaluation_region_restart": "the same, restart markers",
}
_LARGE_TITLES = {
    "decode_scale_plain": "at half size, --decode-scale 1",
    "decode_scale_restart": "the same, restart markers",
}
# Targets for the ratio to whole images, at full size and at 256.
_TARGETS = {"region_plain": (1.3, 1.15), "region_restart": (1.55, 1.35)}
_MXNET_TARGET = 3.3
_LOCK_TARGET = 35e-6  # seconds per image, so that one process can use 16 processors
# Target for ResNet-50 on one H100, in images/s (docs/engines.md).
_H100 = 3400
Rates = Dict[str, List[float]]  # images per CPU-second of every round


def run(count: int, rounds: int, threads: int, lock: bool) -> Figures:
    """Print images per CPU-second, ratios and memory; return the rates by name."""
    with tempfile.TemporaryDirectory() as folder:
        loading.write_packs(folder, count)
        _print_packs(folder, count)
        with Shards([os.path.join(folder, "plain.rec")]) as shards:
            resident = _memory(shards, threads)
        others = _usable_others()
        rates: Rates = {}
        for turn in range(rounds):
            for name, rate in _round(folder, turn, others).items():
                rates.setdefault(name, []).append(rate)
        figures = {name: statistics.median(each) for name, each in rates.items()}
        _print_rates(rates, rounds)
        same = _same_batches(folder)
        print(f"\nbatches of all ways of this package: {'the same' if same else 'DIFFERENT'}")
        figures[f"images_per_second_threads_{threads}"] = rate = _rate_of_threads(folder, threads)
        print(f"{threads} threads: {rate:.0f} images/s")
        if lock:
            figures["lock_seconds_per_image"] = seconds = _lock(folder, count)
            print(f"at most {seconds * 1e6:.0f} us per image hold the interpreter lock "
                  f"(target {_LOCK_TARGET * 1e6:.0f})")  # fmt: skip
    text = " ".join(f"{megabytes:.0f}" for megabytes in resident)
    print(f"resident memory in MB after epochs 1 to {_EPOCHS}: {text}")
    return {**figures, "resident_megabytes_first": resident[0],
            "resident_megabytes_last": resident[-1]}  # fmt: skip


def _print_packs(folder: str, count: int) -> None:
    plain, restart, small, small_restart = (
        os.path.getsize(os.path.join(folder, f"{name}{size}.rec"))
        for size in loading.SIZES
        for name in ("plain", "restart")
    )
    print(f"{count} JPEGs of 500 x 375 pixels, {plain / count / 1e3:.0f} kB each, with restart "
          f"markers {restart / plain - 1:.1%} more;")  # fmt: skip
    print(f"resized to 256 pixels {small / count / 1e3:.0f} kB each, "
          f"with restart markers {small_restart / small - 1:.1%} more")  # fmt: skip
    print(f"random resized crop to {loading.SIDE} pixels and mirror; batch {loading.BATCH}; "
          "one thread")  # fmt: skip
    if not jpeg_window.LIBRARY:
        print("parts of images cannot be decoded here: doctor says what to install")


def _usable_others() -> List[str]:
    """Names of the other libraries that can be imported here; print why one cannot."""
    usable = []
    for name in loading.installed_others():
        reason = loading.import_problem(loading.LIBRARIES[name][-1])
        if reason:
            print(f"{_TITLES[name]} is left out: {reason}")
        else:
            usable.append(name)
    return usable


# --- rates ---------------------------------------------------------------------------------------


def _round(folder: str, turn: int, others: Sequence[str]) -> Figures:
    """Images per CPU-second of everything, by name."""
    figures = _in_a_process("measure_ways", folder, turn)
    for name in others:
        for size in loading.SIZES:
            rec = os.path.join(folder, f"plain{size}.rec")
            figures.update(_in_a_process("measure_other", name, rec, name + size))
    return figures


def _in_a_process(function: str, *arguments: object) -> Figures:
    code = (
        "import sys; from imagenet_trainer.benchmarks import loader; "
        "getattr(loader, sys.argv[1])(*sys.argv[2:])"
    )
    command = [sys.executable, "-c", code, function, *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure_ways(folder: str, turn: str) -> None:
    """Print the images per CPU-second of every way and of bare decoding, as JSON."""
    epoch = int(turn)
    keep_freed_memory()  # as the loader does, also for bare decoding
    seconds: Dict[str, float] = {}
    images: Dict[str, int] = {}
    packs = {
        name + size: loading.open_checked(os.path.join(folder, f"{name}{size}.rec"))
        for name in ("plain", "restart")
        for size in (*loading.SIZES, loading.LARGE)
    }
    encoded = {
        size: [np.frombuffer(packs["plain" + size].record(n).image, np.uint8)
               for n in range(len(packs["plain" + size]))]
        for size in loading.SIZES
    }  # fmt: skip
    loading.load(packs["plain"], 1, epoch)  # warms up
    buffers = loading.Buffers()
    turns = [(size, loading.ways()) for size in loading.SIZES]
    turns.append((loading.LARGE, loading.ways(loading.LARGE_WAYS)))
    for part in range(_PARTS):
        for size, ways in turns:
            for name, way in ways.items():
                shards = packs[way.pack + size]
                threads = buffers.threads(1)
                began = time.process_time()
                loader = loading.open_way(way, shards, epoch, part, _PARTS, threads)
                count = loading.images_in(loader)
                _add(seconds, images, name + size, time.process_time() - began, count)
        for size, files in encoded.items():
            began = time.process_time()
            count = loading.imdecode(files[part::_PARTS])
            _add(seconds, images, "imdecode" + size, time.process_time() - began, count)
    print(json.dumps({name: images[name] / seconds[name] for name in seconds}))


def _add(
    seconds: Dict[str, float], images: Dict[str, int], name: str, spent: float, count: int
) -> None:
    seconds[name] = seconds.get(name, 0.0) + spent
    images[name] = images.get(name, 0) + count


def measure_other(name: str, rec: str, title: str) -> None:
    """Print the images per CPU-second of another library in its second epoch, as JSON."""
    way = loading.OTHERS[name]
    way(rec)()  # warms up
    read = way(rec)  # a new one: ImageRecordIter counts correctly only in its first pass
    began = cpu_seconds()
    images = read()
    print(json.dumps({title: images / (cpu_seconds() - began)}))


def cpu_seconds() -> float:
    """Processor time of this process and of its ended children."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _print_rates(rates: Rates, rounds: int) -> None:
    head = f"images per CPU-second, median of {rounds}"
    print(f"\n{head:<40}{'500 x 375':>10}{'':>8}{'256':>10}")
    for name, title in _TITLES.items():
        if name not in rates:
            continue
        whole = "evaluation_whole" if name.startswith("evaluation") else "whole"
        cells = ""
        for size in loading.SIZES:
            middle = statistics.median(rates[name + size])
            cells += f"{middle:>10.0f}{_ratio(rates, name + size, whole + size):>7.2f}x"
        print(f"{title:<40}{cells}")
    _print_large(rates)
    print()
    for name, targets in _TARGETS.items():
        if name in rates:
            values = ", ".join(
                f"{_ratio(rates, name + size, 'whole' + size):.2f} (target {target})"
                for size, target in zip(loading.SIZES, targets)
            )
            print(f"{_TITLES[name]}, against whole images: {values}")
    best = "region_restart" if "region_restart" in rates else "whole"
    if "image_record_iter" in rates:
        values = ", ".join(
            f"{_ratio(rates, best + size, 'image_record_iter' + size):.2f}"
            for size in loading.SIZES
        )
        print(f"against {_TITLES['image_record_iter']}: {values} (target {_MXNET_TARGET})")
    packed = statistics.median(rates[best + "_256"])
    print(f"processors for {_H100} images/s, packed at 256 pixels: {_H100 / packed:.1f}")


def _print_large(rates: Rates) -> None:
    print(f"\n{'':<40}{'1000 x 750':>10}")
    for name, title in {**_TITLES, **_LARGE_TITLES}.items():
        key = name + loading.LARGE
        if key in rates:
            ratio = _ratio(rates, key, f"whole{loading.LARGE}")
            print(f"{title:<40}{statistics.median(rates[key]):>10.0f}{ratio:>7.2f}x")


def _ratio(rates: Rates, name: str, other: str) -> float:
    return median_ratio(rates[name], rates[other])


# --- more than rates -----------------------------------------------------------------------------


def _same_batches(folder: str) -> bool:
    """Whether the first batches of all ways that share a pack's images are the same."""
    results: Dict[str, set] = {}
    for size in loading.SIZES:
        for way in loading.ways().values():
            with loading.open_checked(os.path.join(folder, f"{way.pack}{size}.rec")) as shards:
                digest = 0
                with loading.open_way(way, shards, 0, 0, 1) as loader:
                    for batch, _ in zip(loader, range(_COMPARED)):
                        digest = zlib.crc32(batch.images, digest)
            results.setdefault(f"{size} {way.evaluation}", set()).add(digest)
    return all(len(digests) == 1 for digests in results.values())


def _rate_of_threads(folder: str, threads: int) -> float:
    """The images per second of several threads."""
    way = loading.ways().get("region_restart", loading.WAYS["whole"])
    jpeg_window.enabled = way.window
    with loading.open_checked(os.path.join(folder, f"{way.pack}.rec")) as shards:
        loading.load(shards, threads, 0)
        began = time.perf_counter()
        images = loading.load(shards, threads, 1)
        return images / (time.perf_counter() - began)


def _lock(folder: str, count: int) -> float:
    """Seconds per image of tiny images, most of which the interpreter lock is held."""
    images = os.path.join(folder, "tiny")
    files = make_photographs(images, count, _TINY, _TINY)
    rec = write_pack(images, files, Conversion(pass_through=True))
    with loading.open_checked(rec) as shards:
        updates = range(updates_before(_EPOCHS, count, loading.BATCH))
        seconds = []
        for _ in range(3):
            began = time.process_time()
            done = loading.images_in(loading.batches(shards, ONE_THREAD, updates, _TINY))
            seconds.append((time.process_time() - began) / done)
    return min(seconds)


def _memory(shards: Shards, threads: int) -> List[float]:
    """Return the resident megabytes at the end of each of ten epochs."""
    resident = []
    ends = [updates_before(epoch, len(shards), loading.BATCH) for epoch in range(_EPOCHS + 1)]
    with loading.batches(shards, Threads(threads), range(ends[-1])) as loader:
        for batch in loader:
            if batch.update + 1 in ends:
                resident.append(resident_memory() / 1e6)
    return resident
