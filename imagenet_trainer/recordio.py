"""RecordIO files with the functions and classes of `mxnet.recordio`, without MXNet.

A script that reads or writes `.rec` files needs one other import:

    from imagenet_trainer import recordio  # instead of: from mxnet import recordio

Names, arguments, results and files are those of MXNet 1.9.1. Errors are Python's own; a damaged
record raises `imagenet_trainer.errors.InputError`, which names the file and the position. Files are
written in place, as MXNet does; `tools/im2rec.py` writes shards that appear whole or not at all.
"""

import os
from collections import namedtuple
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple, Union

import cv2
import numpy as np

from imagenet_trainer.data.images import opencv
from imagenet_trainer.data.records.recordio import HEADER, pack_header, record_pieces
from imagenet_trainer.data.records.sequential import read_next

__all__ = [
    "IRHeader", "MXIndexedRecordIO", "MXRecordIO", "pack", "pack_img", "unpack", "unpack_img",
]  # fmt: skip

IRHeader = namedtuple("HEADER", ["flag", "label", "id", "id2"])  # type: ignore[name-match]
"""Header of an image record: number of labels (0: the label is `label`), label, id, upper id."""


class MXRecordIO:
    """Read or write a RecordIO file from its beginning to its end.

    Parameters
    ----------
    uri
        path of the file.
    flag
        `r` to read, `w` to write a new file.

    Raises
    ------
    ValueError
        for another flag.
    OSError
        the file cannot be opened.

    """

    def __init__(self, uri: Union[str, "os.PathLike[str]"], flag: str):
        self.uri = os.fspath(uri)
        self.flag = flag
        self.is_open = False
        self.open()

    def open(self) -> None:
        """Open the file; a file that is written becomes empty."""
        if self.flag not in ("r", "w"):
            raise ValueError(f"Invalid flag {self.flag!r}: must be 'r' or 'w'")
        self._file = open(self.uri, f"{self.flag}b")  # noqa: SIM115 (close() does it)
        self._process = os.getpid()
        self.writable = self.flag == "w"
        self.is_open = True

    def close(self) -> None:
        """Close the file."""
        if self.is_open:
            self._file.close()
            self.is_open = False

    def __del__(self) -> None:
        if getattr(self, "is_open", False):
            self.close()

    def __enter__(self) -> "MXRecordIO":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __getstate__(self) -> Dict[str, Any]:
        """Without the open file: a copy in another process reads from the beginning."""
        if self.flag == "w":
            raise RuntimeError(f"{self.uri}: is being written and cannot be passed to a process")
        return {name: value for name, value in vars(self).items() if name != "_file"}

    def __setstate__(self, state: Dict[str, Any]) -> None:
        vars(self).update(state)
        was_open, self.is_open = self.is_open, False
        if was_open:
            self.open()

    def reset(self) -> None:
        """Go back to the beginning of a file that is read; empty one that is written."""
        self.close()
        self.open()

    def _ready(self, to_write: bool) -> Any:
        """The open file; a forked process gets its own, since the two would share a position."""
        if not self.is_open:
            raise ValueError(f"{self.uri}: is closed")
        if self.writable != to_write:
            raise ValueError(f"{self.uri}: is open to {'write' if self.writable else 'read'}")
        if self._process != os.getpid():
            if to_write:
                raise RuntimeError(f"{self.uri}: was opened for writing by another process")
            self.reset()
        return self._file

    def write(self, buf: bytes) -> None:
        """Append a record; ValueError for 512 MiB or more."""
        self._ready(True).writelines(record_pieces(bytes(buf)))

    def read(self) -> Optional[bytes]:
        """The next record, None at the end; InputError where the file is damaged."""
        return read_next(self._ready(False))


class MXIndexedRecordIO(MXRecordIO):
    r"""Read or write a RecordIO file by keys.

    Parameters
    ----------
    idx_path
        path of the index, a line `key\toffset` for each record.
    uri, flag
        as for `MXRecordIO`. To write, the index is written too.
    key_type
        makes a key of its text.

    """

    def __init__(
        self, idx_path: Union[str, "os.PathLike[str]"], uri: Union[str, "os.PathLike[str]"],
        flag: str, key_type: Callable[[str], Any] = int,
    ):  # fmt: skip
        self.idx_path = os.fspath(idx_path)
        self.key_type = key_type
        self.idx: Dict[Any, int] = {}
        self.keys: List[Any] = []
        self._index: Any = None
        super().__init__(uri, flag)

    def open(self) -> None:
        """Open the file and read its index, or begin a new one."""
        super().open()
        self.idx, self.keys = {}, []
        self._index = open(self.idx_path, self.flag)  # noqa: SIM115 (close() does it)
        if not self.writable:
            with self._index:
                for number, line in enumerate(self._index, 1):
                    self._add_line(number, line)

    def _add_line(self, number: int, line: str) -> None:
        try:
            key_text, offset = line.rstrip("\n").split("\t")
            key, position = self.key_type(key_text), int(offset)
        except ValueError:
            raise ValueError(f"{self.idx_path}, line {number}: is no key and offset") from None
        self.idx[key] = position
        self.keys.append(key)

    def close(self) -> None:
        """Close the file and its index."""
        super().close()
        if self._index is not None:
            self._index.close()

    def __getstate__(self) -> Dict[str, Any]:
        return {**super().__getstate__(), "_index": None}

    def seek(self, idx: Any) -> None:
        """Go to the record of a key; KeyError if there is none."""
        self._ready(False).seek(self.idx[idx])

    def tell(self) -> int:
        """The position in a file that is written."""
        return int(self._ready(True).tell())

    def read_idx(self, idx: Any) -> Optional[bytes]:
        """The record of a key; KeyError if there is none."""
        file = self._ready(False)  # in a forked process it reads the index again
        file.seek(self.idx[idx])
        return read_next(file)

    def write_idx(self, idx: Any, buf: bytes) -> None:
        """Append a record under a key."""
        key, position = self.key_type(idx), self.tell()
        self.write(buf)
        self._index.write(f"{key}\t{position}\n")
        self.idx[key] = position
        self.keys.append(key)


def pack(header: Sequence[Any], s: bytes) -> bytes:
    """A record of a header and bytes. Several labels become float32 values after the header."""
    _, label, id, id2 = header
    return pack_header(label, id, id2) + s


def unpack(s: bytes) -> Tuple[Any, bytes]:
    """Header and bytes of a record: its label is a float, or float32 (flag,); ValueError if cut."""
    if len(s) < HEADER.size:
        raise ValueError(f"a record of {len(s)} bytes has no header")
    header, rest = IRHeader(*HEADER.unpack_from(s)), s[HEADER.size :]
    if header.flag:
        if len(rest) < 4 * header.flag:
            raise ValueError(f"its header has {header.flag} labels, but {len(rest)} bytes follow")
        labels = np.frombuffer(rest, np.float32, header.flag)
        header, rest = header._replace(label=labels), rest[4 * header.flag :]
    return header, rest


def unpack_img(s: bytes, iscolor: int = -1) -> Tuple[Any, Optional[np.ndarray]]:
    """Header and decoded image of a record: uint8 BGR (height, width, 3); None if it is none.

    `iscolor` is the flag of `cv2.imdecode`: -1 as stored, 0 grey, 1 colour.
    """
    header, data = unpack(s)
    return header, opencv.call(cv2.imdecode, np.frombuffer(data, np.uint8), iscolor)


def pack_img(
    header: Sequence[Any], img: np.ndarray, quality: int = 95, img_fmt: str = ".jpg"
) -> bytes:
    """A record of a header and an image, uint8 BGR (height, width, 3).

    `quality` is 1 to 100 for JPEG, and the compression 1 to 9 for PNG. Raises ValueError if the
    image cannot be encoded.
    """
    extension = img_fmt.lower()
    parameters: Tuple[int, ...] = ()
    if extension in (".jpg", ".jpeg"):
        parameters = (cv2.IMWRITE_JPEG_QUALITY, quality)
    elif extension == ".png":
        parameters = (cv2.IMWRITE_PNG_COMPRESSION, quality)
    return pack(header, opencv.imencode(img_fmt, img, parameters).tobytes())
