"""One function applied to many images by threads, with results in order."""

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Callable, Deque, Generator, Iterable, TypeVar

import cv2

from imagenet_trainer.system.machine import keep_freed_memory

# The caller works on each result; while it waits for a processor, the threads continue.
_PENDING_PER_THREAD = 12
T = TypeVar("T")
R = TypeVar("R")
ProgressCallback = Callable[[int, int, int], None]  # (images done, images, rejected)


def in_order(
    function: Callable[[T], R], items: Iterable[T], threads: int
) -> Generator[R, None, None]:
    """`map` over threads, with results in order and a bounded number of them pending.

    With one thread the function runs in the caller's.
    """
    cv2.setNumThreads(0)  # one thread per image is enough
    keep_freed_memory()
    if threads == 1:
        yield from map(function, items)
        return
    pending: Deque[Future[R]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) >= _PENDING_PER_THREAD * threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
