"""Image files by name, from a folder or a tar, from any number of threads."""

import os
import stat
from typing import BinaryIO, List, Union

from imagenet_trainer.data.images.decode import check_length, read_error, read_file
from imagenet_trainer.data.images.tars import HEADER_BUFFER, TarImages
from imagenet_trainer.errors import InputError


class Folder:
    """Files below a folder."""

    def __init__(self, root: str):
        self._root = root

    def read(self, name: str) -> bytes:
        """The bytes of a file; errors as `decode.read_file`."""
        return read_file(os.path.join(self._root, name))

    def size(self, name: str) -> int:
        """Size of a file in bytes; errors as `read`."""
        path = os.path.join(self._root, name)
        try:
            status = os.stat(path)
        except OSError as error:
            raise read_error(path, error) from error
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait forever
            raise ValueError("not a file")
        return status.st_size

    def open(self, name: str) -> BinaryIO:
        """An open file, for reading its beginning; errors as `read`."""
        self.size(name)
        path = os.path.join(self._root, name)
        try:
            return open(path, "rb", buffering=HEADER_BUFFER)
        except OSError as error:
            raise read_error(path, error) from error


class Tar:
    """Files in a tar, or in a tar of tars."""

    def __init__(self, root: str):
        self._tar = TarImages(root)

    def read(self, name: str) -> bytes:
        """The bytes of a file; errors as `decode.read_file`."""
        try:
            check_length(self._tar.locate(name)[1])
            return self._tar.read(name)
        except OSError as error:
            raise read_error(self._tar.path, error) from error
        except InputError as error:
            raise ValueError(str(error)) from error

    def size(self, name: str) -> int:
        """Size of a file in bytes; ValueError with the reason if there is none."""
        try:
            return self._tar.locate(name)[1]
        except InputError as error:
            raise ValueError(str(error)) from error

    def open(self, name: str) -> BinaryIO:
        """An open file, for reading its beginning; ValueError with the reason if there is none."""
        try:
            return self._tar.open(name)
        except InputError as error:
            raise ValueError(str(error)) from error

    def names(self) -> List[str]:
        """The names of all files, sorted."""
        return self._tar.names()


def open_root(root: str) -> Union[Folder, Tar]:
    """The files of a folder or a tar; InputError for another file."""
    return Tar(root) if os.path.isfile(root) else Folder(root)
