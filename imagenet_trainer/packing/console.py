"""Console output of the packing commands: progress, file names, counts of images."""

import sys
import threading
import time
from typing import Any

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 10.0
MOST_LINES = 20


def format_images(count: int) -> str:
    """`1 image`, `1,281,167 images`."""
    return "1 image" if count == 1 else f"{count:,} images"


def format_classes(count: int) -> str:
    """`1 class`, `1,000 classes`."""
    return "1 class" if count == 1 else f"{count:,} classes"


def format_shards(count: int) -> str:
    """`1 shard`, `8 shards`."""
    return "1 shard" if count == 1 else f"{count:,} shards"


class ProgressDisplay:
    """A progress bar on a terminal; elsewhere a line every ten seconds. Thread-safe.

    Both show the images per second, the time left and the number of rejected images.
    """

    def __init__(self, name: str, bad: str = "rejected"):
        self._name, self._bad = name, bad
        self._bar: Any = None
        self._first: Any = None
        self._lock = threading.Lock()

    def __call__(self, done: int, total: int, rejected: int) -> None:
        """Report that `done` of `total` images are done, `rejected` of them rejected."""
        with self._lock:
            if self._first is None:
                self._start = self._last_line = time.monotonic()
                self._first = done - 1
            if sys.stderr.isatty():
                self._draw(done, total, rejected)
            else:
                self._print(done, total, rejected)

    def _draw(self, done: int, total: int, rejected: int) -> None:
        if self._bar is None:
            # The rate excludes images packed before an interruption.
            self._bar = tqdm(total=total, initial=self._first, desc=self._name, unit=" images")
        if rejected:
            self._bar.set_postfix_str(f"{rejected:,} {self._bad}", refresh=False)
        self._bar.update(done - self._bar.n)

    def _print(self, done: int, total: int, rejected: int) -> None:
        now = time.monotonic()
        if now - self._last_line < SECONDS_BETWEEN_LINES:
            return
        self._last_line = now
        rate = (done - self._first) / (now - self._start)
        left = tqdm.format_interval(round((total - done) / rate))
        print(
            f"{self._name}: {done:,} of {total:,}, {rate:,.0f} images/s, {left} left, "
            f"{rejected:,} {self._bad}",
            flush=True,
        )

    def __enter__(self) -> "ProgressDisplay":
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()
