"""An object read at any position, through blocks in the cache, with what comes next fetched ahead.

A block is fetched while the cache has room for it. What has no room is fetched by the ranges that
are asked for, so that an epoch over a set larger than the cache fetches each byte at most once.
"""

import hashlib
import os
import threading
import weakref
from collections import deque
from functools import partial
from typing import Callable, Deque, Dict, List, Optional, Set, Tuple

import numpy as np

from imagenet_trainer.system.block_cache import BlockCache, current_cache
from imagenet_trainer.system.machine import free_memory, processes_here
from imagenet_trainer.system.object_storage import StoredObject, fetch, find_object
from imagenet_trainer.system.storage_faults import StorageError, wait_for

BLOCK = 4 << 20  # bytes
_THREADS = 32  # that fetch ahead: most of the time they wait for an answer
_SHARE = 8  # of the free memory, one part is for what is fetched ahead and not kept
_Key = Tuple[str, int, int]  # digest of an object, begin and end of a range


class RemoteFile:
    """An object, read by any number of threads; the methods are those of `data`'s `LocalFile`.

    Raises StorageError if it cannot be read, or is not there.
    """

    def __init__(self, url: str):
        found = find_object(url)
        if found is None:
            raise StorageError(f"{url}: no such object; check the address and what was uploaded")
        self._object, self.size = found, found.size
        self._digest = hashlib.sha256(repr(tuple(found)).encode()).hexdigest()[:32]
        _ahead.open(self)

    def read(self, length: int, offset: int) -> bytes:
        """Bytes from a position on; fewer at the end. Raises StorageError."""
        end = min(offset + length, self.size)
        if end <= offset:
            return b""
        span = _ahead.take((self._digest, offset, end))
        if span is not None:
            return span.part(offset, end)
        cache, parts = current_cache(), []
        while offset < end:
            number, begin = divmod(offset, BLOCK)
            until = min(end - offset + begin, BLOCK)
            part = cache.read(*self._block(number), begin, until)
            if part is None:
                block = self._kept(cache, number)
                part = fetch(self._object, offset, end) if block is None else block[begin:until]
            parts.append(part)
            offset += len(part)
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
        """Have byte ranges fetched ahead, int64 (ranges,) both: their blocks, or they alone."""
        cache = current_cache()
        begins, first = np.unique(begins, return_index=True)  # sorted
        missing: Dict[int, None] = {}  # blocks
        spans: List[_Span] = []
        for begin, end in zip(begins.tolist(), ends[first].tolist()):
            numbers = range(begin // BLOCK, -(-end // BLOCK))
            here = [n for n in numbers if n in missing or not self._is_coming(cache, n)]
            missing.update(dict.fromkeys(here))
            if here and not (spans and spans[-1].add(begin, end)):
                spans.append(_Span(self._digest, self._object, begin, end))
        if not missing:
            return
        if cache.has_room(self._block(next(iter(missing)))[1], _ahead.digests):
            _ahead.add(self, list(missing), [])
        else:
            _ahead.add(self, [], spans)

    def duplicate(self) -> "RemoteFile":
        """The object itself: nothing is open."""
        return self

    def close(self) -> None:
        """Forget what was fetched ahead."""
        _ahead.forget(self._digest)

    def fetch_block(self, number: int) -> None:
        """Put a block into the cache, unless it is there or has no room."""
        cache = current_cache()
        if not self._is_coming(cache, number):
            self._kept(cache, number)

    def _block(self, number: int) -> Tuple[str, int]:
        """The name of a block in the cache, and its length in bytes."""
        return f"{self._digest}-{number}.block", min(BLOCK, self.size - number * BLOCK)

    def _is_coming(self, cache: BlockCache, number: int) -> bool:
        """Whether a block is in the cache, or on its way to it."""
        name, _ = self._block(number)
        return name in _ahead.fetching or cache.has(name)

    def _kept(self, cache: BlockCache, number: int) -> Optional[bytes]:
        """A block that is not in the cache, which now keeps it; None if it has no room for it."""
        name, length = self._block(number)
        if name in _ahead.fetching:
            return self._fetched(cache, number)
        with cache.room_for(name, length, _ahead.digests) as has_room:
            return self._fetched(cache, number) if has_room else None

    def _fetched(self, cache: BlockCache, number: int) -> bytes:
        """A block from the storage, which each process fetches once at a time."""
        name, length = self._block(number)

        def action() -> bytes:
            # Another thread may have put it there since this one looked.
            data = cache.read(name, length, 0, length)
            if data is None:
                data = fetch(self._object, number * BLOCK, number * BLOCK + length)
                cache.write(name, data)
            return data

        return _ahead.once(name, action)


class _Span:
    """Ranges one after the other, fetched by one request and kept until all of them are read."""

    def __init__(self, digest: str, stored: StoredObject, begin: int, end: int):
        self._digest, self._object, self._data = digest, stored, b""
        self._begin, self._end = begin, end
        self.keys: List[_Key] = [(digest, begin, end)]

    def add(self, begin: int, end: int) -> bool:
        """Append a range, if it is the next one and they are not more than a block."""
        is_next = begin == self._end and end - self._begin <= BLOCK
        if is_next:
            self.keys.append((self._digest, begin, end))
            self._end = end
        return is_next

    def part(self, begin: int, end: int) -> bytes:
        """The bytes of one of the ranges."""
        return self.fetch()[begin - self._begin : end - self._begin]

    def fetch(self) -> bytes:
        """All bytes; the first thread fetches them, the others wait for it.

        That thread may do so for another span of the same ranges.
        """
        if not self._data:
            self._data = _ahead.once(f"{self._digest} {self._begin} {self._end}", self._fetch)
        return self._data

    def _fetch(self) -> bytes:
        return self._data or fetch(self._object, self._begin, self._end)


# --- this process --------------------------------------------------------------------------------


class _Fetching:
    """Bytes on their way, for which other threads wait."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.data: Optional[bytes] = None
        self.error: Optional[BaseException] = None


class _Ahead:
    """What is being fetched, and threads that fetch some of it before it is needed.

    The threads are daemons: they do not keep a process that ends.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.fetching: Dict[str, _Fetching] = {}
        self._files: weakref.WeakSet[RemoteFile] = weakref.WeakSet()
        self._spans: Dict[_Key, _Span] = {}  # by each of their ranges that nobody has read yet
        self._bytes = 0  # of these ranges
        self._most_bytes = free_memory() // _SHARE // processes_here()
        self._wanted: Deque[Callable[[], object]] = deque()
        self._more = threading.Semaphore(0)
        self._threads = 0

    def open(self, file: RemoteFile) -> None:
        """Blocks of a file that is in use are not removed for others."""
        with self.lock:
            self._files.add(file)

    def digests(self) -> Set[str]:
        """The digests of all objects in use."""
        with self.lock:
            return {file._digest for file in self._files}

    def once(self, name: str, action: Callable[[], bytes]) -> bytes:
        """What an action returns that one thread does at a time; the others wait for it."""
        while True:
            with self.lock:
                other = self.fetching.get(name)
                if other is None:
                    mine = self.fetching[name] = _Fetching()
                    break
            wait_for(other.done)
            if other.data is not None:
                return other.data
            if isinstance(other.error, StorageError):
                raise type(other.error)(*other.error.args) from other.error
        try:
            mine.data = action()
            return mine.data
        except BaseException as error:
            mine.error = error
            raise
        finally:
            mine.done.set()
            with self.lock:
                del self.fetching[name]

    def add(self, file: RemoteFile, blocks: List[int], spans: List[_Span]) -> None:
        """Have blocks of a file fetched, and ranges, as far as there is memory for these."""
        with self.lock:
            while (blocks or spans) and self._threads < _THREADS:
                name = f"fetch-{self._threads}"
                threading.Thread(target=self._work, name=name, daemon=True).start()
                self._threads += 1
            wanted: List[Callable[[], object]] = [partial(file.fetch_block, n) for n in blocks]
            for span in spans:
                new = [key for key in span.keys if key not in self._spans]
                size = sum(end - begin for _, begin, end in new)
                if new and self._bytes + size <= self._most_bytes:
                    self._bytes += size
                    self._spans.update(dict.fromkeys(new, span))
                    wanted.append(partial(_fetch_if_wanted, weakref.ref(span)))
            self._wanted.extend(wanted)
        for _ in wanted:
            self._more.release()

    def take(self, key: _Key) -> Optional[_Span]:
        """What holds a range that was to be fetched ahead; it is then forgotten."""
        with self.lock:
            span = self._spans.pop(key, None)
            self._bytes -= key[2] - key[1] if span else 0
            return span

    def forget(self, digest: str) -> None:
        """Forget the ranges of an object."""
        for key in [one for one in list(self._spans) if one[0] == digest]:
            self.take(key)

    def _work(self) -> None:
        while True:
            self._more.acquire()
            try:
                self._wanted.popleft()()
            except Exception:  # who reads the bytes meets the error too, and raises it
                continue


def _fetch_if_wanted(span: "weakref.ref[_Span]") -> None:
    """Fetch a range, unless all who wanted it have gone."""
    found = span()
    if found is not None:
        found.fetch()


_ahead = _Ahead()


def _after_fork() -> None:
    global _ahead
    files = _ahead._files
    _ahead = _Ahead()
    _ahead._files = files


os.register_at_fork(after_in_child=_after_fork)
