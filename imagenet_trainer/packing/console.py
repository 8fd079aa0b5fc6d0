"""What the packing commands tell people: progress, file names, numbers of images."""

import sys
import threading
import time
from typing import Any

SECONDS_BETWEEN_LINES = 10.0
MOST_LINES = 20


def images_told(count: int) -> str:
    """`1 image`, `1,281,167 images`."""
    return "1 image" if count == 1 else f"{count:,} images"


def classes_told(count: int) -> str:
    """`1 class`, `1,000 classes`."""
    return "1 class" if count == 1 else f"{count:,} classes"


def printable(text: str) -> str:
    """A file name, which may hold bytes that are not UTF-8 or a line break, for any terminal."""
    text = text if text.isprintable() else "".join(map(_visible, text))
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _visible(character: str) -> str:
    # Bytes that are not UTF-8 are lone surrogates, which printable() shows as such.
    return character if character.isprintable() else ascii(character)[1:-1]


class Progress:
    """A bar on a terminal, a line every ten seconds elsewhere; may be called from any thread.

    Both tell how many images a second, the time left, and how many were rejected.
    """

    def __init__(self, name: str, bad: str = "rejected"):
        self._name, self._bad = name, bad
        self._bar: Any = None
        self._first: Any = None
        self._lock = threading.Lock()

    def __call__(self, done: int, total: int, rejected: int) -> None:
        """Tell that `done` of `total` images are done, `rejected` of them rejected."""
        with self._lock:
            if self._first is None:
                self._began = self._told = time.monotonic()
                self._first = done - 1
            if sys.stderr.isatty():
                self._draw(done, total, rejected)
            else:
                self._print(done, total, rejected)

    def _draw(self, done: int, total: int, rejected: int) -> None:
        if self._bar is None:
            from tqdm import tqdm

            # Old images of an interrupted pack are no part of the rate.
            self._bar = tqdm(total=total, initial=self._first, desc=self._name, unit=" images")
        if rejected:
            self._bar.set_postfix_str(f"{rejected:,} {self._bad}", refresh=False)
        self._bar.update(done - self._bar.n)

    def _print(self, done: int, total: int, rejected: int) -> None:
        now = time.monotonic()
        if now - self._told < SECONDS_BETWEEN_LINES:
            return
        self._told = now
        rate = (done - self._first) / (now - self._began)
        left = time_told((total - done) / rate)
        print(
            f"{self._name}: {done:,} of {total:,}, {rate:,.0f} images/s, {left} left, "
            f"{rejected:,} {self._bad}",
            flush=True,
        )

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()


def time_told(seconds: float) -> str:
    """`0:07`, `12:30`, `3:05:00`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
