"""Images in tar archives, read in place without unpacking.

A tar inside a tar (ILSVRC2012_img_train.tar holds n01440764.tar and 999 more) is a folder with
the name of that file without `.tar`: its images are n01440764/n01440764_10026.JPEG and so on.
"""

import bisect
import contextlib
import io
import itertools
import os
import posixpath
import tarfile
from array import array
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO, Dict, Iterator, List, Optional, Tuple, cast

from imagenet_trainer.data.images.decode import check_length, read_error
from imagenet_trainer.errors import InputError
from imagenet_trainer.system.files import AnyPath, file_error, is_hidden

_COMPRESSED = {
    b"\x1f\x8b": "gunzip",
    b"BZh": "bunzip2",
    b"\xfd7zXZ\0": "unxz",
    b"\x28\xb5\x2f\xfd": "unzstd",
}
# Reading headers waits for the disk or the network, not for the processor.
_THREADS = 8
# Bytes read at once for a header. Python's default is 128 KiB from 3.14 on, most of an image.
HEADER_BUFFER = 8192
_MOST_LINKS = 40  # in a chain of links, as in Linux

Position = Tuple[int, int]  # byte offset in the outer tar, number of bytes


class TarImages:
    """The files in a tar, or in a tar of tars, by name.

    Opening reads only the headers. Reading is safe from several threads at once, and in a forked
    process. A million names take about 130 MB, and twice that while opening.

    Raises InputError if the file cannot be read, is compressed, is not a tar, or is truncated.
    """

    def __init__(self, path: AnyPath):
        self.path = os.fspath(path)
        try:
            self._descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise file_error(self.path, error) from error
        try:
            positions = self._index()
        except BaseException:
            self.close()
            raise
        # Sorted names and two arrays: a third of the memory of a dictionary.
        self._names = sorted(positions)
        self._offsets = array("q", (positions[name][0] for name in self._names))
        self._sizes = array("q", (positions[name][1] for name in self._names))

    def names(self) -> List[str]:
        """The names of all files, sorted, without directories and broken links."""
        return list(self._names)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._number(name) is not None

    def locate(self, name: str) -> Position:
        """Byte offset in the tar, and number of bytes; ValueError if there is no such file."""
        number = self._number(name)
        if number is None:
            raise ValueError(f"is not in {self.path}; make the list again")
        return self._offsets[number], self._sizes[number]

    def size(self, name: str) -> int:
        """Size of a file in bytes; ValueError if there is none."""
        return self.locate(name)[1]

    def read(self, name: str) -> bytes:
        """The bytes of a file; errors as `decode.read_file`."""
        offset, size = self.locate(name)
        check_length(size)
        try:
            data = _read(self._descriptor, offset, size)
        except OSError as error:
            raise read_error(self.path, error) from error
        if len(data) < size:
            raise ValueError(f"{self.path} was truncated while being read; copy it again")
        return data

    def open(self, name: str) -> BinaryIO:
        """An open file; reading it reads only what is requested. ValueError if there is none."""
        return io.BufferedReader(_Range(self._descriptor, *self.locate(name)), HEADER_BUFFER)

    def close(self) -> None:
        """Close the tar."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> "TarImages":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            self.close()

    def _number(self, name: str) -> Optional[int]:
        number = bisect.bisect_left(self._names, name)
        return number if self._names[number : number + 1] == [name] else None

    def _index(self) -> Dict[str, Position]:
        """Positions of all files; those of an inner tar are in a folder of its name."""
        try:
            outer = self._index_range("", 0, os.fstat(self._descriptor).st_size)
            tars = [one for one in outer if one.lower().endswith(".tar") and not is_hidden(one)]
            with ThreadPoolExecutor(_THREADS) as pool:
                inner = pool.map(lambda name: self._index_range(name, *outer[name]), tars)
                for name, positions in zip(tars, inner):
                    del outer[name]
                    folder = name[: -len(".tar")]
                    outer.update({f"{folder}/{file}": at for file, at in positions.items()})
        except OSError as error:
            raise file_error(self.path, error) from error
        return outer

    def _index_range(self, inner: str, start: int, size: int) -> Dict[str, Position]:
        """Positions of the files in the tar at these bytes."""
        name = f"{self.path}: {inner}" if inner else self.path
        _check_magic(name, _read(self._descriptor, start, 6))
        positions: Dict[str, Position] = {}
        links: Dict[str, str] = {}
        try:
            for member in _members(_Range(self._descriptor, start, size)):
                file = _normal(name, member.name)
                # A repeated name replaces the earlier one, as when unpacking.
                positions.pop(file, None)
                links.pop(file, None)
                if member.issparse():
                    raise InputError(f"{name}: {file} is stored sparse; make the tar without -S")
                if member.isreg():
                    positions[file] = (start + member.offset_data, member.size)
                elif member.islnk():
                    links[file] = _normal(name, member.linkname)
                elif member.issym():
                    links[file] = posixpath.normpath(
                        posixpath.join(posixpath.dirname(file), member.linkname)
                    )
        except tarfile.TarError as error:
            raise InputError(
                f"{name}: not a tar, or damaged or cut short ({error}); copy it again"
            ) from error
        for file in links:
            target = file
            for _ in range(_MOST_LINKS):
                target = links.get(target, target)
            if target in positions:
                positions[file] = positions[target]
        return positions


def first_names(path: str, count: int) -> List[str]:
    """The names of the first files in a tar; fewer if it is damaged. InputError as `TarImages`."""
    names: List[str] = []
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise file_error(path, error) from error
    try:
        _check_magic(path, _read(descriptor, 0, 6))
        members = _members(_Range(descriptor, 0, os.fstat(descriptor).st_size))
        with contextlib.suppress(tarfile.TarError):
            names += (one.name for one in itertools.islice(members, count) if one.isreg())
    finally:
        os.close(descriptor)
    return [posixpath.normpath(one) for one in names]


class _Range(io.RawIOBase):
    """A range of bytes of a file as a file, with its own position."""

    def __init__(self, descriptor: int, start: int, size: int):
        self._descriptor, self._start, self._size = descriptor, start, size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        left = max(self._size - self._at, 0)
        data = _read(
            self._descriptor, self._start + self._at, left if size < 0 else min(size, left)
        )
        self._at += len(data)
        return data

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _read(descriptor: int, offset: int, size: int) -> bytes:
    """`size` bytes at `offset`, fewer only at the end of the file."""
    data = os.pread(descriptor, size, offset)
    while len(data) < size:  # Linux reads at most 2 GiB at once
        more = os.pread(descriptor, size - len(data), offset + len(data))
        if not more:
            break
        data += more
    return data


def _members(file: _Range) -> Iterator[tarfile.TarInfo]:
    """The headers of a tar, one at a time; tarfile.TarError unless it has an end mark."""
    with tarfile.open(fileobj=cast(Any, file), mode="r:", encoding="utf-8") as tar:
        while True:
            member = tar.next()
            if member is None:
                break
            tar.members = []  # type: ignore[attr-defined]  # it keeps a kilobyte for each member
            yield member
        # tarfile also stops at a damaged header, as if the tar ended there.
        file.seek(tar.offset)  # type: ignore[attr-defined]
        end = file.read(tarfile.BLOCKSIZE)
        if end != tarfile.NUL * tarfile.BLOCKSIZE:
            raise tarfile.ReadError("bad header" if end else "no end mark")


def _check_magic(name: str, head: bytes) -> None:
    if head.startswith(b"PK"):
        raise InputError(f"{name}: is a zip, which cannot be read in place; unzip it first")
    for magic, command in _COMPRESSED.items():
        if head.startswith(magic):
            raise InputError(
                f"{name}: a compressed tar cannot be read in place; {command} it first"
            )


def _normal(tar: str, name: str) -> str:
    """A member's name as a relative path; InputError if it leads out of the tar."""
    normal = posixpath.normpath(name.lstrip("/"))
    if normal.split("/")[0] == "..":
        raise InputError(f"{tar}: {name} leads out of it by ..; make the tar again")
    return normal
