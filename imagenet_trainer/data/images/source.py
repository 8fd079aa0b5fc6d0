"""Image files by name, from a folder or a tar, for any number of threads."""

import os
import stat
from typing import BinaryIO, List, Union

from imagenet_trainer.data.images.decode import check_length, read_file
from imagenet_trainer.data.images.tars import TarImages
from imagenet_trainer.errors import InputError


class Folder:
    """Files below a folder."""

    def __init__(self, root: str):
        self._root = root

    def read(self, name: str) -> bytes:
        """The bytes of a file; ValueError says why there are none."""
        return read_file(os.path.join(self._root, name))

    def size(self, name: str) -> int:
        """Bytes of a file; ValueError says why there is none."""
        try:
            about = os.stat(os.path.join(self._root, name))
        except OSError as error:
            raise ValueError(error.strerror or str(error)) from error
        if not stat.S_ISREG(about.st_mode):  # opening a pipe would wait for ever
            raise ValueError("not a file")
        return about.st_size

    def open(self, name: str) -> BinaryIO:
        """A file, for those who need its beginning only; ValueError says why there is none."""
        self.size(name)
        try:
            return open(os.path.join(self._root, name), "rb")
        except OSError as error:
            raise ValueError(error.strerror or str(error)) from error


class Tar:
    """Files in a tar, or in a tar of tars."""

    def __init__(self, root: str):
        self._tar = TarImages(root)

    def read(self, name: str) -> bytes:
        """The bytes of a file; ValueError says why there are none."""
        try:
            check_length(self._tar.locate(name)[1])
            return self._tar.read(name)
        except OSError as error:
            raise ValueError(error.strerror or str(error)) from error
        except InputError as error:
            raise ValueError(str(error)) from error

    def size(self, name: str) -> int:
        """Bytes of a file; ValueError says why there is none."""
        try:
            return self._tar.locate(name)[1]
        except InputError as error:
            raise ValueError(str(error)) from error

    def open(self, name: str) -> BinaryIO:
        """A file, for those who need its beginning only; ValueError says why there is none."""
        try:
            return self._tar.open(name)
        except InputError as error:
            raise ValueError(str(error)) from error

    def names(self) -> List[str]:
        """Every file in it, sorted."""
        return self._tar.names()


def open_root(root: str) -> Union[Folder, Tar]:
    """The images of a folder or a tar; InputError where it is a file but no tar."""
    return Tar(root) if os.path.isfile(root) else Folder(root)
