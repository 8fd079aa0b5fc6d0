"""What a set of images is made of: every header in columns, and the colours of a sample."""

import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Callable, Dict, Iterator, List, Optional, Tuple, TypeVar

import cv2
import numpy as np
from PIL import Image

from imagenet_trainer.data.dataset import default_classes
from imagenet_trainer.data.records.manifest import ClassName
from imagenet_trainer.explore.channels import Channels, channels, histogram
from imagenet_trainer.explore.sources import Source

_CHUNK = 64  # images that a thread takes at a time
T = TypeVar("T")


@dataclass(frozen=True)
class Survey:
    """What the headers say, in columns; row i is image i of the source.

    Attributes
    ----------
    names
        paths, or shards and records.
    labels, widths, heights, sizes
        int64 (images,); labels -1 where there is none, sizes in bytes, all 0 for a problem.
    kinds
        "JPEG RGB": format and colour mode, "" for a problem.
    problems
        reasons by row, for what is no image.
    classes
        names of the labels.

    """

    names: List[str]
    labels: np.ndarray
    widths: np.ndarray
    heights: np.ndarray
    sizes: np.ndarray
    kinds: List[str]
    problems: Dict[int, str]
    classes: Tuple[ClassName, ...]

    @property
    def good(self) -> np.ndarray:
        """Rows that are images, bool (images,)."""
        return self.widths > 0


def survey(source: Source, threads: int, progress: Callable[[int], None]) -> Survey:
    """Read every header; `progress` is called with how many more are done."""
    # Large images are what this tool is to find.
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)
    rows: List[np.ndarray] = [np.empty((0, 4), np.int64)]
    kinds: List[str] = []
    problems: Dict[int, str] = {}

    def look(numbers: range) -> Tuple[np.ndarray, Tuple[str, ...], Tuple[str, ...]]:
        columns, chunk_kinds, reasons = zip(*(_look(source, number) for number in numbers))
        return np.array(columns, np.int64), chunk_kinds, reasons

    for chunk, chunk_kinds, reasons in _in_chunks(look, len(source), threads):
        problems.update((n, reason) for n, reason in enumerate(reasons, len(kinds)) if reason)
        kinds += map(sys.intern, chunk_kinds)
        rows.append(chunk)
        progress(len(chunk))
    labels, widths, heights, sizes = np.ascontiguousarray(np.concatenate(rows).T)
    classes = source.classes
    if labels.max(initial=-1) >= len(classes):  # shards without a manifest
        classes = tuple(ClassName(*each) for each in default_classes(int(labels.max()) + 1))
    names = [source.name(number) for number in range(len(source))]
    return Survey(names, labels, widths, heights, sizes, kinds, problems, classes)


def _look(source: Source, number: int) -> Tuple[Tuple[int, int, int, int], str, str]:
    """((label, width, height, bytes), kind, problem) of an image."""
    try:
        label, size, header = source.look(number)
    except ValueError as error:
        return (-1, 0, 0, 0), "", str(error)
    return (label, header.width, header.height, size), f"{header.format} {header.mode}", ""


def measure_channels(
    source: Source,
    found: Survey,
    sample: int,
    seed: int,
    threads: int,
    progress: Callable[[int], None],
) -> Tuple[Optional[Channels], int]:
    """Colours of a random sample (0: of all), and how many images that were.

    Images that cannot be decoded are added to the survey's problems. None if there is no other.
    """
    cv2.setNumThreads(0)  # a thread an image is enough
    numbers = np.flatnonzero(found.good)
    if 0 < sample < len(numbers):
        # Sorted, so that shards are read forwards; raw words are the same for every NumPy.
        words = np.random.Philox(key=np.array([seed, 0], np.uint64)).random_raw(len(numbers))
        numbers = np.sort(numbers[np.argsort(words, kind="stable")[:sample]])

    def measure(places: range) -> List[Tuple[int, np.ndarray, str]]:
        results = []
        for number in numbers[places.start : places.stop].tolist():
            try:
                results.append((number, histogram(source.read(number)), ""))
            except ValueError as error:
                results.append((number, np.zeros(0), str(error)))
        return results

    total, count = np.zeros((3, 256)), 0
    for results in _in_chunks(measure, len(numbers), threads):
        for number, shares, problem in results:
            if problem:
                found.problems[number] = problem
            else:
                total += shares
                count += 1
        progress(len(results))
    return (channels(total / count) if count else None), count


def _in_chunks(function: Callable[[range], T], count: int, threads: int) -> Iterator[T]:
    """Call with the parts of range(count), in threads; results in order."""
    parts = [range(first, min(first + _CHUNK, count)) for first in range(0, count, _CHUNK)]
    pool = ThreadPoolExecutor(threads)
    try:
        yield from pool.map(function, parts)
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C need not wait for a million images


def printable(text: str) -> str:
    """A file's name on one line, bytes that are no UTF-8 written out."""
    whole = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in whole)
