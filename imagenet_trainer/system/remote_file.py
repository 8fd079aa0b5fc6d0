"""An object read at any position, through blocks in the cache, with blocks fetched ahead."""

import hashlib
import os
import threading
from collections import deque
from typing import Deque, Dict, List, Optional, Tuple

import numpy as np

from imagenet_trainer.system.block_cache import BlockCache, current_cache
from imagenet_trainer.system.object_storage import fetch, find_object
from imagenet_trainer.system.storage_faults import StorageError, wait_for

BLOCK = 4 << 20  # bytes
_THREADS = 16  # that fetch ahead: most of the time they wait for an answer


class _Fetching:
    """A block on its way, for which other threads wait."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.data: Optional[bytes] = None
        self.error: Optional[BaseException] = None


class RemoteFile:
    """An object, read by any number of threads; the methods are those of `PositionalFile`.

    Raises StorageError if it cannot be read, or is not there.
    """

    def __init__(self, url: str):
        found = find_object(url)
        if found is None:
            raise StorageError(f"{url}: no such object; check the address and what was uploaded")
        self._object, self.size = found, found.size
        self._digest = hashlib.sha256(repr(tuple(found)).encode()).hexdigest()[:32]

    def read(self, length: int, offset: int) -> bytes:
        """Bytes from a position on; fewer at the end. Raises StorageError."""
        end = min(offset + length, self.size)
        if end <= offset:
            return b""
        cache, parts = current_cache(), []
        for number in range(offset // BLOCK, -(-end // BLOCK)):
            first = number * BLOCK
            begin, until = max(offset - first, 0), min(end - first, BLOCK)
            part = cache.read(*self._block(number), begin, until)
            if part is None and _keeps(cache):
                part = self._fetched(cache, number)[begin:until]
            elif part is None:
                part = fetch(self._object, first + begin, first + until)
            parts.append(part)
        return b"".join(parts) if len(parts) > 1 else parts[0]

    def read_again(self, length: int, offset: int) -> bytes:
        """The bytes from the storage, whose blocks in the cache may be damaged and are removed."""
        cache, end = current_cache(), min(offset + length, self.size)
        for number in range(offset // BLOCK, -(-end // BLOCK)):
            cache.remove(self._block(number)[0])
        return fetch(self._object, offset, end) if end > offset else b""

    def read_all(self) -> bytes:
        """The whole object."""
        self.will_need(np.array([0]), np.array([self.size]))
        return self.read(self.size, 0)

    def will_need(self, begins: np.ndarray, ends: np.ndarray) -> None:
        """Have the blocks of byte ranges fetched ahead, int64 (ranges,) both."""
        cache = current_cache()
        if not _keeps(cache):
            return
        first, last = begins // BLOCK, (ends - 1) // BLOCK
        numbers = {n for a, b in zip(first.tolist(), last.tolist()) for n in range(a, b + 1)}
        wanted = [n for n in sorted(numbers) if not cache.has(self._block(n)[0])]
        if wanted:
            _ahead.add(self, wanted)

    def duplicate(self) -> "RemoteFile":
        """The object itself: nothing is open."""
        return self

    def close(self) -> None:
        """Nothing is open."""

    def fetch_block(self, number: int) -> None:
        """Put a block into the cache, unless it is there."""
        cache = current_cache()
        if _keeps(cache) and not cache.has(self._block(number)[0]):
            self._fetched(cache, number)

    def _block(self, number: int) -> Tuple[str, int]:
        """The name of a block in the cache, and its length in bytes."""
        return f"{self._digest}-{number}.block", min(BLOCK, self.size - number * BLOCK)

    def _fetched(self, cache: BlockCache, number: int) -> bytes:
        """A block from the storage, which each process fetches once at a time."""
        name, length = self._block(number)
        while True:
            with _ahead.lock:
                other = _ahead.fetching.get(name)
                if other is None:
                    mine = _ahead.fetching[name] = _Fetching()
                    break
            wait_for(other.done)
            if other.data is not None:
                return other.data
            if isinstance(other.error, StorageError):
                raise StorageError(*other.error.args) from other.error
        try:
            # Another thread may have put it there since this one looked.
            mine.data = cache.read(name, length, 0, length)
            if mine.data is None:
                first = number * BLOCK
                mine.data = fetch(self._object, first, first + length)
                mine.done.set()
                cache.write(name, mine.data)
            return mine.data
        except BaseException as error:
            mine.error = error
            raise
        finally:
            mine.done.set()
            with _ahead.lock:
                del _ahead.fetching[name]


def _keeps(cache: BlockCache) -> bool:
    """Whether a block that is fetched can be kept."""
    return cache.is_writable and cache.size >= BLOCK


class _Ahead:
    """Blocks that are being fetched, and threads that fetch some before they are needed.

    The threads are daemons: they do not keep a process that ends.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.fetching: Dict[str, _Fetching] = {}
        self._wanted: Deque[Tuple[RemoteFile, int]] = deque()
        self._more = threading.Semaphore(0)
        self._threads = 0

    def add(self, file: RemoteFile, numbers: List[int]) -> None:
        with self.lock:
            while self._threads < _THREADS:
                name = f"fetch-{self._threads}"
                threading.Thread(target=self._work, name=name, daemon=True).start()
                self._threads += 1
            self._wanted.extend((file, number) for number in numbers)
        for _ in numbers:
            self._more.release()

    def _work(self) -> None:
        while True:
            self._more.acquire()
            file, number = self._wanted.popleft()
            try:
                file.fetch_block(number)
            except Exception:  # who reads the block meets the error too, and raises it
                continue


_ahead = _Ahead()


def _after_fork() -> None:
    global _ahead
    _ahead = _Ahead()


os.register_at_fork(after_in_child=_after_fork)
