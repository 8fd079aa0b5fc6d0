"""Where shards and the files beside them are: paths of this machine, or URLs of objects."""

import errno
import io
import os
from typing import IO, Union

import numpy as np

from imagenet_trainer.data.records.read_ahead import will_need
from imagenet_trainer.errors import InputError
from imagenet_trainer.system.files import AnyPath, file_error
from imagenet_trainer.system.object_storage import find_object, is_url
from imagenet_trainer.system.remote_file import RemoteFile


class LocalFile:
    """A file of this machine, read with `os.pread`: no file position is shared.

    Any thread reads it at any position. `size` is in bytes.
    """

    def __init__(self, descriptor: int):
        self.descriptor = descriptor
        self.size = os.fstat(descriptor).st_size

    def read(self, length: int, offset: int) -> bytes:
        """Bytes from a position on; fewer at the end of the file. Raises OSError."""
        return os.pread(self.descriptor, length, offset)

    read_again = read

    def will_need(self, begins: np.ndarray, ends: np.ndarray) -> None:
        """Advice to read byte ranges ahead, int64 (ranges,) both."""
        will_need(self.descriptor, begins, ends)

    def duplicate(self) -> "LocalFile":
        """The same file, closed separately; raises OSError where no more files may be open."""
        return LocalFile(os.dup(self.descriptor))

    def __getstate__(self) -> None:
        raise TypeError("an open shard is of its process; open the loader in the other process")

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def open_positional(path: str, advice: str) -> Union[LocalFile, RemoteFile]:
    """Open a file or an object; InputError if that fails, for a missing file with `advice`."""
    if is_url(path):
        return RemoteFile(path)
    try:
        return LocalFile(os.open(path, os.O_RDONLY))
    except OSError as error:
        way_out = advice if isinstance(error, FileNotFoundError) else ""
        if error.errno == errno.EMFILE:
            way_out = "allow more open files (ulimit -n), or pack into fewer shards"
        raise file_error(path, error, way_out) from error


def exists(path: AnyPath) -> bool:
    """Whether there is such a file or object."""
    name = os.fspath(path)
    return find_object(name) is not None if is_url(name) else os.path.exists(name)


def open_binary(path: AnyPath) -> Union[IO[bytes], io.BytesIO]:
    """A small file opened for reading, or an object fetched whole; raises OSError, InputError."""
    name = os.fspath(path)
    if not is_url(name):
        return open(name, "rb")
    return io.BytesIO(RemoteFile(name).read_all())


def same_place(path: str) -> str:
    """What two names of the same shard have in common."""
    return path if is_url(path) else os.path.realpath(path)


def refuse_url(path: AnyPath, way_out: str) -> None:
    """InputError for a URL where only a file of this machine can be."""
    if is_url(os.fspath(path)):
        raise InputError(f"{os.fspath(path)}: is on an object storage; {way_out}")
