"""Image files by name, from a folder or a tar, from any number of threads."""

import os
import stat
from typing import BinaryIO, Union

from imagenet_trainer.data.images.decode import read_error, read_file
from imagenet_trainer.data.images.tars import HEADER_BUFFER, TarImages


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


def open_root(root: str) -> Union[Folder, TarImages]:
    """The files of a folder or a tar; InputError for another file."""
    return TarImages(root) if os.path.isfile(root) else Folder(root)
