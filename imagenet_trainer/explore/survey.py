"""Properties of a set of images: every header, in columns, and the colours of a sample."""

import sys
import warnings
from dataclasses import dataclass
from typing import Callable, Dict, Iterator, List, Optional, Tuple, TypeVar

import numpy as np
from PIL import Image

from imagenet_trainer.data.dataset import default_classes
from imagenet_trainer.data.records.manifest import ClassName
from imagenet_trainer.explore.channels import Channels, channels, histogram
from imagenet_trainer.explore.sources import ImageSource
from imagenet_trainer.packing.parallel import in_order

_CHUNK = 64  # images per call of a thread
T = TypeVar("T")


@dataclass(frozen=True)
class Survey:
    """The headers of a source in columns; row i is image i.

    Attributes
    ----------
    names
        paths, or shards and records.
    labels, widths, heights, sizes
        int64 (images,); labels are -1 if missing, sizes are in bytes. Unreadable files have
        label -1 and zeros.
    kinds
        format and colour mode, such as "JPEG RGB"; "" for unreadable files.
    problems
        reason by row, for unreadable files.
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


def survey(source: ImageSource, threads: int, progress: Callable[[int], object]) -> Survey:
    """Read every header; `progress` is called with the number of further images done."""
    # Large images are listed, not refused.
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)
    rows: List[np.ndarray] = [np.empty((0, 4), np.int64)]
    kinds: List[str] = []
    problems: Dict[int, str] = {}

    def read(numbers: range) -> Tuple[np.ndarray, Tuple[str, ...], Tuple[str, ...]]:
        columns, chunk_kinds, reasons = zip(*(_read(source, number) for number in numbers))
        return np.array(columns, np.int64), chunk_kinds, reasons

    for chunk, chunk_kinds, reasons in _in_chunks(read, len(source), threads):
        problems.update((n, reason) for n, reason in enumerate(reasons, len(kinds)) if reason)
        kinds += map(sys.intern, chunk_kinds)
        rows.append(chunk)
        progress(len(chunk))
    labels, widths, heights, sizes = np.ascontiguousarray(np.concatenate(rows).T)
    classes = source.classes
    if labels.max(initial=-1) >= len(classes):  # shards without a manifest
        classes = default_classes(int(labels.max()) + 1)
    names = [source.name(number) for number in range(len(source))]
    return Survey(names, labels, widths, heights, sizes, kinds, problems, classes)


def _read(source: ImageSource, number: int) -> Tuple[Tuple[int, int, int, int], str, str]:
    """((label, width, height, bytes), kind, problem) of an image."""
    try:
        label, size, header = source.info(number)
    except ValueError as error:
        return (-1, 0, 0, 0), "", str(error)
    return (label, header.width, header.height, size), f"{header.format} {header.mode}", ""


def measure_channels(
    source: ImageSource,
    result: Survey,
    sample: int,
    seed: int,
    threads: int,
    progress: Callable[[int], object],
) -> Tuple[Optional[Channels], int]:
    """The colours of a random sample (0: of all images), and the number of decoded images.

    Images that cannot be decoded are added to the survey's problems. The colours are None if no
    image can be decoded.
    """
    numbers = np.flatnonzero(result.good)
    if 0 < sample < len(numbers):
        # Sorted to read shards sequentially. Raw words are the same in every version of NumPy.
        words = np.random.Philox(key=np.array([seed, 0], np.uint64)).random_raw(len(numbers))
        numbers = np.sort(numbers[np.argsort(words, kind="stable")[:sample]])

    def measure(part: range) -> List[Tuple[int, np.ndarray, str]]:
        results = []
        for number in numbers[part.start : part.stop].tolist():
            try:
                results.append((number, histogram(source.pixels(source.read(number))), ""))
            except ValueError as error:
                results.append((number, np.zeros(0), str(error)))
        return results

    total, count = np.zeros((3, 256)), 0
    for results in _in_chunks(measure, len(numbers), threads):
        for number, shares, problem in results:
            if problem:
                result.problems[number] = problem
            else:
                total += shares
                count += 1
        progress(len(results))
    return (channels(total / count) if count else None), count


def _in_chunks(function: Callable[[range], T], count: int, threads: int) -> Iterator[T]:
    """Call a function with parts of range(count), in threads; yield results in order."""
    parts = (range(first, min(first + _CHUNK, count)) for first in range(0, count, _CHUNK))
    return in_order(function, parts, threads)
