"""Measure packing of photographs against MXNet's im2rec.py.

Both run as whole processes, in turns, on the same list. Their start is measured by packing a list
of one image, so that rates are printed with and without it. The gain of a second thread is also
measured on a longer list: the start uses one thread, and its share falls with the length.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Dict, List, Sequence, Tuple

import cv2
import numpy as np

from imagenet_trainer.benchmarks.figures import Figures, named
from imagenet_trainer.benchmarks.photographs import make_photographs
from imagenet_trainer.data.images.decode import decode, read_file
from imagenet_trainer.data.records.record_file import RecordFile
from imagenet_trainer.packing.conversion import Conversion, convert
from imagenet_trainer.packing.lists import make_lists
from imagenet_trainer.system.machine import keep_freed_memory

_OURS, _MXNET, _ALONE = "tools/im2rec.py", "MXNet's im2rec.py", "ours, 1 thread"
_OUR_SCRIPT = "import sys; from imagenet_trainer.packing.im2rec import main; sys.exit(main())"
# With our import of MXNet: its tool alone cannot import it with today's NumPy.
_MXNET_SCRIPT = (
    "import os, runpy; from imagenet_trainer.system.mxnet_import import mx; "
    "tool = os.path.join(os.path.dirname(mx.__file__), 'tools', 'im2rec.py'); "
    "runpy.run_path(tool, run_name='__main__')"
)
# Flags, the target for the ratio to MXNet's tool, and a remark on what differs.
_WAYS: Tuple[Tuple[Tuple[str, ...], float, str], ...] = (
    (("--resize", "256"), 1.8, ""),
    (("--pass-through",), 1.3, "; only ours verifies that every image can be decoded"),
)
_TARGET_SCALING = 1.85
_LONGER = 4
_BOUND_IMAGES = 500

Seconds = Dict[str, List[float]]


def run(count: int, rounds: int, threads: int) -> Figures:
    """Print the rates, their ratios, and whether the packed pixels are the same.

    Returns images per second of each tool, with and without its start.
    """
    figures: Figures = {}
    with tempfile.TemporaryDirectory() as folder:
        images = os.path.join(folder, "images")
        make_photographs(images, count)
        size = sum(entry.stat().st_size for entry in os.scandir(images)) / count / 1e3
        print(f"{count} JPEGs of 500 x 375 pixels, {size:.0f} kB each")
        for number, (flags, target, remark) in enumerate(_WAYS):
            print(f"\n{' '.join(flags)} --num-thread {threads}, whole processes{remark}")
            subfolder = os.path.join(folder, str(number))
            os.mkdir(subfolder)
            tools = _tools(flags, threads)
            prefixes = {name: _write_lists(subfolder, images) for name in tools}
            start = _measure(tools, {n: p + "one" for n, p in prefixes.items()}, images, 3)
            total = _measure(tools, {n: p + "all" for n, p in prefixes.items()}, images, rounds)
            rates = _print_rates(count, rounds, start, total, threads, target)
            ours = {name: prefixes[name] + "long" for name in (_OURS, _ALONE)}
            long = _measure(tools, ours, images, rounds)
            gain = statistics.median(long[_ALONE]) / statistics.median(long[_OURS])
            print(f"on {_LONGER * count:,} images, {threads} threads against 1: {gain:.2f} times")
            bound = _bound(flags, images, threads, rounds)
            print(f"conversion alone, in memory, {threads} threads against 1: ", end="")
            print(f"{bound:.2f} times, an upper bound for packing")
            same = _same_pixels(prefixes[_OURS] + "all.rec", prefixes[_MXNET] + "all.rec")
            print(f"images whose decoded pixels are identical: {same} of {count}")
            rates.update(gain_of_threads=gain, bound_of_threads=bound, identical_images=same)
            figures.update({f"{named(flags[0])}_{key}": rate for key, rate in rates.items()})
            shutil.rmtree(subfolder)
    return figures


def _tools(flags: Sequence[str], threads: int) -> Dict[str, List[str]]:
    """Return the start of each command line; ours also with one thread, for the scaling."""
    with_threads = [*flags, "--num-thread", str(threads)]
    return {
        _OURS: [sys.executable, "-c", _OUR_SCRIPT, *with_threads],
        _MXNET: [sys.executable, "-c", _MXNET_SCRIPT, *with_threads],
        _ALONE: [sys.executable, "-c", _OUR_SCRIPT, *flags, "--num-thread", "1"],
    }


def _write_lists(folder: str, images: str) -> str:
    """Write the lists `all`, `one` and `long` into a new folder; return it with a slash."""
    prefix = os.path.join(tempfile.mkdtemp(dir=folder), "")
    make_lists(prefix + "all", images, recursive=False, flat=True, extensions=[".jpg"])
    with open(prefix + "all.lst") as file:
        lines = [line.split("\t", 1)[1] for line in file]
    for name, some in (("one", lines[:1]), ("long", lines * _LONGER)):
        with open(f"{prefix}{name}.lst", "w") as file:
            file.writelines(f"{index}\t{line}" for index, line in enumerate(some))
    return prefix


def _measure(
    tools: Dict[str, List[str]], prefixes: Dict[str, str], images: str, rounds: int
) -> Seconds:
    """Return the seconds of every round after one warm-up round."""
    seconds: Seconds = {name: [] for name in prefixes}
    environment = _with_bytecode(os.path.dirname(next(iter(prefixes.values()))))
    for _ in range(rounds + 1):
        for name, prefix in prefixes.items():
            # MXNet's tool packs every list that starts with the prefix, so each has its own folder.
            alone = tempfile.mkdtemp(dir=os.path.dirname(prefix))
            target = os.path.join(alone, os.path.basename(prefix))
            shutil.copy(prefix + ".lst", target + ".lst")
            begin = time.perf_counter()
            subprocess.run(
                [*tools[name], target, images],
                check=True,
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            seconds[name].append(time.perf_counter() - begin)
            for kind in (".rec", ".idx"):
                os.replace(target + kind, prefix + kind)
            shutil.rmtree(alone)
    return {name: all_[1:] for name, all_ in seconds.items()}


def _with_bytecode(folder: str) -> Dict[str, str]:
    """Return an environment in which the second start of a program finds cached bytecode."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": os.path.join(folder, "bytecode")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return environment


def _print_rates(
    count: int, rounds: int, start: Seconds, seconds: Seconds, threads: int, target: float
) -> Figures:
    print(f"{f'median of {rounds} rounds':<20}{'images / s':>12}{'start, s':>10}{'without it':>12}")
    total = {name: statistics.median(all_) for name, all_ in seconds.items()}
    begin = {name: statistics.median(all_) for name, all_ in start.items()}
    net = {name: (count - 1) / (total[name] - begin[name]) for name in total}
    for name in total:
        print(f"{name:<20}{count / total[name]:>12.0f}{begin[name]:>10.2f}{net[name]:>12.0f}")
    print(f"against {_MXNET}: {total[_MXNET] / total[_OURS]:.2f} times (target {target}), ", end="")
    print(f"without the start {net[_OURS] / net[_MXNET]:.2f} times")
    print(f"{threads} threads against 1: {total[_ALONE] / total[_OURS]:.2f} times, ", end="")
    print(
        f"without the start {net[_OURS] / net[_ALONE]:.2f} times (target for 2: {_TARGET_SCALING})"
    )
    keys = {_OURS: "ours", _MXNET: "mxnet", _ALONE: "ours_one_thread"}
    return {
        **{key: count / total[name] for name, key in keys.items()},
        **{f"{key}_without_start": net[name] for name, key in keys.items()},
    }


def _bound(flags: Sequence[str], images: str, threads: int, rounds: int) -> float:
    """How much faster this machine converts with several threads that share nothing."""
    conversion = Conversion(pass_through="--pass-through" in flags, resize=256)
    files = sorted(entry.path for entry in os.scandir(images))[:_BOUND_IMAGES]
    data = [read_file(path) for path in files]
    cv2.setNumThreads(0)
    keep_freed_memory()

    def seconds(workers: int) -> float:
        parts = [data[first::workers] for first in range(workers)]
        begin = time.perf_counter()
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(lambda part: [convert(image, conversion) for image in part], parts))
        return time.perf_counter() - begin

    alone, together = [], []
    for _ in range(rounds + 1):
        alone.append(seconds(1))
        together.append(seconds(threads))
    return statistics.median(alone[1:]) / statistics.median(together[1:])


def _same_pixels(ours: str, theirs: str) -> int:
    """Count the records of two shards that decode to the same pixels."""
    with RecordFile(ours) as one, RecordFile(theirs) as other:
        positions = {key: n for n, key in enumerate(other.keys.tolist())}
        return sum(
            np.array_equal(decode(one.record(n).image), decode(other.record(positions[key]).image))
            for n, key in enumerate(one.keys.tolist())
            if key in positions
        )
