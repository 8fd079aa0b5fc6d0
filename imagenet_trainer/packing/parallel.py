"""One function over many images by threads, results in order."""

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Callable, Deque, Generator, Iterable, TypeVar

import cv2

from imagenet_trainer.system.machine import keep_freed_memory

# The caller has its own work with each result; while it waits for a processor, threads go on.
_WAITING = 12
T = TypeVar("T")
R = TypeVar("R")
Progress = Callable[[int, int, int], None]  # (lines done, lines, rejected)


def in_order(
    function: Callable[[T], R], items: Iterable[T], threads: int
) -> Generator[R, None, None]:
    """`map` over threads, results in order, with so many a thread waiting; 1 is the caller's."""
    cv2.setNumThreads(0)  # a thread an image is enough
    keep_freed_memory()
    if threads == 1:
        yield from map(function, items)
        return
    waiting: Deque[Future[R]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= _WAITING * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
