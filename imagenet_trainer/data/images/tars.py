"""Images inside tar archives, read where they lie: nothing is unpacked.

A tar inside a tar (ILSVRC2012_img_train.tar holds n01440764.tar and 999 more) is a folder named
as that file without `.tar`, so its images are called n01440764/n01440764_10026.JPEG.
"""

import bisect
import io
import os
import posixpath
import tarfile
from array import array
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO, Dict, Iterator, List, Optional, Tuple, cast

from imagenet_trainer.errors import InputError
from imagenet_trainer.system.files import AnyPath, refusal

_COMPRESSED = {
    b"\x1f\x8b": "gunzip",
    b"BZh": "bunzip2",
    b"\xfd7zXZ\0": "unxz",
    b"\x28\xb5\x2f\xfd": "unzstd",
}
# Looking up headers waits for the disk or the network, not for the processor.
_THREADS = 8
_MOST_LINKS = 40  # that lead to each other, as in Linux

Place = Tuple[int, int]  # byte offset in the outer tar, bytes


class TarImages:
    """The files in a tar, or in a tar of tars, by name.

    Opening reads the headers only. Reading is safe from several threads at once, and in a
    process forked from this one. A million names take about 130 MB, and twice that at first.

    Raises InputError when the file cannot be read, is compressed, is no tar or is cut short.
    """

    def __init__(self, path: AnyPath):
        self.path = os.fspath(path)
        try:
            self._descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise refusal(self.path, error) from error
        try:
            places = self._index()
        except BaseException:
            self.close()
            raise
        # Sorted names and two arrays: a third of the memory of a dictionary.
        self._names = sorted(places)
        self._offsets = array("q", (places[name][0] for name in self._names))
        self._sizes = array("q", (places[name][1] for name in self._names))

    def names(self) -> List[str]:
        """Every file in it, sorted; directories and links that lead nowhere are left out."""
        return list(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._number(name) is not None

    def locate(self, name: str) -> Place:
        """Byte offset in the tar, and length in bytes; InputError where there is no such file."""
        number = self._number(name)
        if number is None:
            raise InputError(f"{self.path}: {name} is not in it; make the list anew")
        return self._offsets[number], self._sizes[number]

    def read(self, name: str) -> bytes:
        """The bytes of a file; InputError where there is none, OSError where reading fails."""
        offset, size = self.locate(name)
        data = _read(self._descriptor, offset, size)
        if len(data) < size:
            raise InputError(f"{self.path}: it was cut short while it was read; copy it anew")
        return data

    def open(self, name: str) -> BinaryIO:
        """A file of which only the parts are read that are asked for; errors as `read`."""
        return io.BufferedReader(_Range(self._descriptor, *self.locate(name)))

    def close(self) -> None:
        """Give the file back; reading is then over."""
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

    def _index(self) -> Dict[str, Place]:
        """Places of all files; those of a tar in the tar under the name of that tar."""
        try:
            outer = self._index_range("", 0, os.fstat(self._descriptor).st_size)
            tars = [name for name in outer if name.lower().endswith(".tar")]
            with ThreadPoolExecutor(_THREADS) as pool:
                inner = pool.map(lambda name: self._index_range(name, *outer[name]), tars)
                for name, places in zip(tars, inner):
                    del outer[name]
                    folder = name[: -len(".tar")]
                    outer.update({f"{folder}/{file}": place for file, place in places.items()})
        except OSError as error:
            raise refusal(self.path, error) from error
        return outer

    def _index_range(self, inner: str, start: int, size: int) -> Dict[str, Place]:
        """Places of the files in the tar that takes up these bytes."""
        name = f"{self.path}: {inner}" if inner else self.path
        _check_magic(name, _read(self._descriptor, start, 6))
        places: Dict[str, Place] = {}
        links: Dict[str, str] = {}
        try:
            for member in _members(_Range(self._descriptor, start, size)):
                file = _normal(name, member.name)
                # A name that comes again replaces the earlier one, as when unpacking.
                places.pop(file, None)
                links.pop(file, None)
                if member.issparse():
                    raise InputError(f"{name}: {file} is stored sparse; make the tar without -S")
                if member.isreg():
                    places[file] = (start + member.offset_data, member.size)
                elif member.islnk():
                    links[file] = _normal(name, member.linkname)
                elif member.issym():
                    links[file] = posixpath.normpath(
                        posixpath.join(posixpath.dirname(file), member.linkname)
                    )
        except tarfile.TarError as error:
            raise InputError(
                f"{name}: not a tar, or damaged or cut short ({error}); copy it anew"
            ) from error
        for file in links:
            target = file
            for _ in range(_MOST_LINKS):
                target = links.get(target, target)
            if target in places:
                places[file] = places[target]
        return places


class _Range(io.RawIOBase):
    """Some bytes of a file as a file of its own, with a place of its own."""

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
    while len(data) < size:  # Linux gives at most 2 GiB at once
        more = os.pread(descriptor, size - len(data), offset + len(data))
        if not more:
            break
        data += more
    return data


def _members(file: _Range) -> Iterator[tarfile.TarInfo]:
    """The headers of a tar, one at a time; tarfile.TarError unless it ends as a tar does."""
    with tarfile.open(fileobj=cast(Any, file), mode="r:", encoding="utf-8") as tar:
        while True:
            member = tar.next()
            if member is None:
                break
            tar.members = []  # type: ignore[attr-defined]  # it would keep a kilobyte a member
            yield member
        # tarfile also stops at a damaged header, as if the tar ended there.
        file.seek(tar.offset)  # type: ignore[attr-defined]
        end = file.read(tarfile.BLOCKSIZE)
        if end != tarfile.NUL * tarfile.BLOCKSIZE:
            raise tarfile.ReadError("bad header" if end else "no end mark")


def _check_magic(name: str, head: bytes) -> None:
    for magic, command in _COMPRESSED.items():
        if head.startswith(magic):
            raise InputError(
                f"{name}: a compressed tar cannot be read in place; {command} it first"
            )


def _normal(tar: str, name: str) -> str:
    """A member's name as a relative path; InputError where it leads out of the tar."""
    normal = posixpath.normpath(name.lstrip("/"))
    if normal.split("/")[0] == "..":
        raise InputError(f"{tar}: {name} leads out of it by ..; make the tar anew")
    return normal
