"""Blocks of objects in a folder of this machine, whose size is bounded.

Threads, processes and runs share the folder. A block is a file that appears whole or not at all.
Who writes one holds the folder's lock. To make room, the blocks that were not used for the longest
time are removed, but none that somebody may still need: each epoch uses all blocks of its objects,
so removing one for another of the same set would only fetch more. Readers need no lock: a block
that is removed while it is read remains readable, and one that is gone is fetched again.
"""

import contextlib
import errno
import fcntl
import os
import re
import threading
import time
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional, Set, Tuple

from imagenet_trainer.errors import ArgumentError, print_message
from imagenet_trainer.system.files import remedy

_BLOCK = re.compile(r"[0-9a-f]{32}-\d+\.block")
_TEMPORARY = re.compile(r"[0-9a-f]{32}-\d+\.block\.tmp")
_LOCK, _USED = "blocks.lock", "blocks.size"
_WAIT = 10.0  # seconds for another process that writes; a block takes milliseconds
_STAMP = 10.0  # seconds after which a block that is used again gets a new time
_SLACK = 0.05  # of the size is made free at a time, because that reads the whole folder
_FULL = 60.0  # seconds for which a cache without room is not looked at again
_IN_USE = 3600.0  # seconds for which a block that another process used is left to it
_DEFAULT_SIZE = "50GB"
_UNITS = " KMGT"
VARIABLES = "IMAGENET_TRAINER_CACHE_DIR", "IMAGENET_TRAINER_CACHE_SIZE"
"""Folder and size where no flag gives them, for Python programs too."""


class BlockCache:
    """The cache in a folder.

    Parameters
    ----------
    folder
        is made when the first block is written. Other files in it are left alone.
    size
        bytes of all blocks together, at any time.

    """

    def __init__(self, folder: str, size: int):
        self.folder, self.size = folder, size
        self.is_writable = size > 0
        self._threads = threading.Lock()
        self._lock = -1  # descriptor of the lock file while this process writes
        self._counted = False  # whether this process has added up the blocks
        self._full_until = 0.0
        self._coming: Dict[str, int] = {}  # bytes of the blocks that this process is fetching

    def read(self, name: str, length: int, begin: int, end: int) -> Optional[bytes]:
        """Bytes of a block; None unless it is there with its `length` in bytes."""
        if not self.size:
            return None
        try:
            descriptor = os.open(os.path.join(self.folder, name), os.O_RDONLY)
        except OSError:
            return None
        try:
            status = os.fstat(descriptor)
            if status.st_size != length:
                return None
            if time.time() - status.st_mtime > _STAMP:
                with contextlib.suppress(OSError):
                    os.utime(descriptor)
            data = os.pread(descriptor, end - begin, begin)
            return data if len(data) == end - begin else None
        except OSError:
            return None
        finally:
            os.close(descriptor)

    def remove(self, name: str) -> None:
        """Remove a block, if it is there."""
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(self.folder, name))

    def has(self, name: str) -> bool:
        """Whether a block is there."""
        return os.path.exists(os.path.join(self.folder, name))

    def has_room(self, length: int, needed: Callable[[], Set[str]]) -> bool:
        """Whether a block of `length` bytes can be written, perhaps where others are removed.

        `needed` returns the first parts of the names (before the -) of blocks that stay.
        """
        return self._has_room("", length, needed)

    @contextlib.contextmanager
    def room_for(self, name: str, length: int, needed: Callable[[], Set[str]]) -> Iterator[bool]:
        """The same for a block that is fetched in the block, whose room is then kept for it."""
        try:
            yield self._has_room(name, length, needed)
        finally:
            with self._threads:
                self._coming.pop(name, None)

    def _has_room(self, name: str, length: int, needed: Callable[[], Set[str]]) -> bool:
        if not self.is_writable or length > self.size or time.monotonic() < self._full_until:
            return False
        has_room = False
        with self._giving_up(), self._locked():
            if name and (name in self._coming or self.has(name)):
                return True
            most = self.size - length - sum(self._coming.values())
            used = self._used()
            if used > most:
                used = self._evict(most, needed())
                self._set_used(used)
            has_room = used <= most
            if not has_room:
                self._full_until = time.monotonic() + _FULL
            elif name:
                self._coming[name] = length
        return has_room

    def write(self, name: str, data: bytes) -> None:
        """Keep a block, if there is still room for it."""
        if not self.is_writable or len(data) > self.size:
            return
        with self._giving_up(), self._locked():
            self._coming.pop(name, None)
            path = os.path.join(self.folder, name)
            if os.path.exists(path) and os.path.getsize(path) == len(data):
                return  # another process was faster
            used = self._used() + len(data)
            if used > self.size:
                return
            self._set_used(used)
            # Who holds the lock is the only writer; what another left here is from a crash. It is
            # not synced, which would take longer than fetching: what a crash of the system cuts
            # off has another length, and records are compared with their checksums.
            try:
                with open(path + ".tmp", "wb") as file:
                    file.write(data)
                os.replace(path + ".tmp", path)
            except OSError:
                self.remove(name + ".tmp")
                raise

    @contextlib.contextmanager
    def _giving_up(self) -> Iterator[None]:
        """If the folder cannot be written, say so once and keep nothing any more."""
        try:
            yield
        except OSError as error:
            with self._threads:
                if not self.is_writable:
                    return
                self.is_writable = False
            print_message(
                "cache", f"{self.folder}: {error.strerror or error}; {remedy(error)}, or choose "
                "another --cache-dir or a smaller --cache-size; without a cache each image is "
                "fetched whenever it is used"
            )  # fmt: skip

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Keeps other threads and other processes from writing."""
        with self._threads:
            os.makedirs(self.folder, exist_ok=True)
            self._lock = os.open(os.path.join(self.folder, _LOCK), os.O_RDWR | os.O_CREAT, 0o666)
            try:
                end = time.monotonic() + _WAIT
                while not self._acquired():
                    if time.monotonic() > end:
                        raise OSError(errno.ETIMEDOUT, "another process keeps it locked")
                    time.sleep(0.002)
                yield
            finally:
                os.close(self._lock)
                self._lock = -1

    def _acquired(self) -> bool:
        """Whether this process has the lock now."""
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def forget_lock(self) -> None:
        """In a process that was just forked: the lock that another thread held is not its own."""
        if self._lock >= 0:
            os.close(self._lock)

    def _used(self) -> int:
        """Bytes of all blocks, as the last writer left it; added up once by each process."""
        if self._counted:
            with contextlib.suppress(OSError, ValueError):
                return int(Path(self.folder, _USED).read_text())
        self._counted = True
        return sum(size for _, size, _ in self._blocks())

    def _set_used(self, size: int) -> None:
        Path(self.folder, _USED).write_text(str(size))

    def _blocks(self) -> List[Tuple[float, int, str]]:
        """Time of the last use, size and path of each block; removes what crashes left."""
        found = []
        for entry in os.scandir(self.folder):
            if _TEMPORARY.fullmatch(entry.name):
                os.unlink(entry.path)
            elif _BLOCK.fullmatch(entry.name):
                with contextlib.suppress(FileNotFoundError):  # a user clears the folder
                    status = entry.stat()
                    found.append((status.st_mtime, status.st_size, entry.path))
        return found

    def _evict(self, most: int, needed: Set[str]) -> int:
        """Remove blocks until at most `most` bytes are left, if that many may go; the bytes left.

        Those unused for longest go first. Those that are `needed`, and those that another process
        may need, stay if they are not more than the cache may have.
        """
        blocks = sorted(self._blocks())
        used = sum(size for _, size, _ in blocks)
        if used > most:
            most = min(most, int(self.size * (1 - _SLACK)))
        old = time.time() - _IN_USE
        for used_at, size, path in blocks:
            may_go = used_at < old and os.path.basename(path).partition("-")[0] not in needed
            if used > self.size or (used > most and may_go):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
                used -= size
        return used


# --- the cache of this process -------------------------------------------------------------------


def parsed_size(text: str) -> int:
    """Bytes of a size such as 50GB, 500M or 0; ArgumentError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?) *([KMGT]?)(i?)B?", text.strip(), re.IGNORECASE)
    if not match:
        reason = "must be a size such as 50GB, 500MB, or 0 for no cache"
        raise ArgumentError("cache_size", text, reason)
    power = _UNITS.index(match[2].upper() or " ")
    return int(float(match[1]) * (1024 if match[3] else 1000) ** power)


_caches: Dict[Tuple[str, ...], BlockCache] = {}
_chosen: Tuple[str, str] = ("", "")  # folder and size, as the flags have them


def _after_fork() -> None:
    for cache in _caches.values():
        cache.forget_lock()
    _caches.clear()  # another thread may have held a lock


os.register_at_fork(after_in_child=_after_fork)


def use_cache(folder: str = "", size: str = "") -> None:
    """Choose the folder and the size of the cache from now on, in this process.

    Empty values are those of VARIABLES, and without these imagenet-trainer/blocks in the user's
    cache folder (XDG_CACHE_HOME) and 50GB. ArgumentError for a size that is none.
    """
    global _chosen
    if size:
        parsed_size(size)
    _chosen = folder, size


def current_cache() -> BlockCache:
    """The cache of this process; see `use_cache`."""
    given = tuple(
        flag or os.environ.get(variable, "") for flag, variable in zip(_chosen, VARIABLES)
    )
    if given not in _caches:
        base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        folder = given[0] or os.path.join(base, "imagenet-trainer", "blocks")
        _caches[given] = BlockCache(folder, parsed_size(given[1] or _DEFAULT_SIZE))
    return _caches[given]
