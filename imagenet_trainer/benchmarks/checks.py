"""What the loader's checks of records and images cost: each way in turns, in one process."""

import contextlib
import os
import statistics
import tempfile
import time
import zlib
from typing import Any, Callable, ContextManager, Dict, List, Tuple, TypeVar
from unittest import mock

import numpy as np

from imagenet_trainer.benchmarks.figures import Figures, median_ratio, named
from imagenet_trainer.benchmarks.loading import load
from imagenet_trainer.benchmarks.photographs import make_photographs, write_pack
from imagenet_trainer.data.images import jpeg_window, opencv, plausible
from imagenet_trainer.data.records.shards import Shards
from imagenet_trainer.packing.conversion import Conversion

T = TypeVar("T")
_WITHOUT, _CHECKSUMS, _ALL = "no checks", "checksums", "checksums and image checks"


def run(count: int, rounds: int) -> Figures:
    """Print the processor time of each way, and its ratio to none; return seconds per image."""
    seconds: Dict[str, List[float]] = {_WITHOUT: [], _CHECKSUMS: [], _ALL: []}
    # Whole images: how much of an image is decoded depends on the checks.
    whole = mock.patch.object(jpeg_window, "enabled", False)
    with tempfile.TemporaryDirectory() as folder, Shards([_pack(folder, count)]) as shards, whole:
        (file,) = shards.files
        sums = np.array([zlib.crc32(file.raw(n)) for n in range(len(file))], np.uint32)
        load(shards, 1, 0)  # warms up
        for number in range(rounds):
            # In another order each time: the clock of a processor changes slowly.
            ways = list(seconds)
            for way in ways[number % 3 :] + ways[: number % 3]:
                file.expect(None if way == _WITHOUT else sums, "")
                with contextlib.nullcontext() if way == _ALL else _without_image_checks():
                    began = time.process_time()
                    load(shards, 1, number + 1)
                    seconds[way].append(time.process_time() - began)
    print(f"{count} JPEGs of 500 x 375 pixels, {file.size / count / 1e3:.0f} kB each; one thread")
    for way, each in seconds.items():
        ratio = median_ratio(each, seconds[_WITHOUT])
        middle = statistics.median(each) / count * 1e6
        print(f"{way:<28}{middle:8.0f} us per image   {ratio:.3f}")
    return {named(way): statistics.median(each) / count for way, each in seconds.items()}


def _pack(folder: str, count: int) -> str:
    files = make_photographs(folder, count)
    return write_pack(os.path.join(folder, "photographs"), files, Conversion(pass_through=True))


def _without_image_checks() -> ContextManager[object]:
    """A context in which OpenCV alone decodes."""
    stack = contextlib.ExitStack()
    stack.enter_context(mock.patch.object(plausible, "check", lambda data: None))
    stack.enter_context(mock.patch.object(opencv, "with_messages", _call))
    return stack


def _call(function: Callable[..., T], *arguments: Any) -> Tuple[T, List[str]]:
    return function(*arguments), []
