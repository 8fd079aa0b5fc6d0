"""Reads and writes MXNet's .params files without MXNet.

The format is that of `mx.nd.save` for a dict (MXNet 1.9.1, src/ndarray/ndarray.cc), little-endian:

    uint64  0x112, then uint64 0 (reserved)
    uint64  number of arrays, then every array:
        uint32  0xF993fac9             the second format, which MXNet has written since 1.0
        int32   0                      storage type: dense
        int32   n, then n x int64      the shape
        int32   1, int32 0             the device it was on: CPU 0 (ignored by the reader)
        int32   type flag              see _TYPES
        bytes   the values in C order
    uint64  number of names, then every name: uint64 length, UTF-8

The reader also accepts the array headers of other versions: 0xF993fac8 (2017; no storage type), no
magic number (2016, many published checkpoints; the first word is n and the shape is n x uint32) and
0xF993faca (arrays saved under `mx.util.set_np`; like the second format, but n may be 0).
"""

import math
import struct
from typing import Any, Dict, List, Mapping, Tuple, Union

import numpy as np

from imagenet_trainer.config import commands
from imagenet_trainer.errors import InputError
from imagenet_trainer.system.arrays import Arrays
from imagenet_trainer.system.files import AnyPath, file_error

_FILE_MAGIC = 0x112
_V1_MAGIC = 0xF993FAC8
_V2_MAGIC = 0xF993FAC9
_V3_MAGIC = 0xF993FACA
_CPU, _DEVICE_0 = 1, 0
_MAX_DIMENSIONS = 32  # the limit of NumPy; parameters have far fewer
_TYPES: Dict[int, np.dtype] = {
    0: np.dtype("<f4"),
    1: np.dtype("<f8"),
    2: np.dtype("<f2"),
    3: np.dtype("u1"),
    4: np.dtype("<i4"),
    5: np.dtype("i1"),
    6: np.dtype("<i8"),
}
_FLAGS = {dtype: flag for flag, dtype in _TYPES.items()}


def dumps(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The bytes that `mx.nd.save` writes for the same dict of CPU arrays, in the dict's order.

    Arrays are float16/32/64, uint8, int8, int32 or int64, not empty and not scalars, which the
    format cannot represent. Raises ValueError with the name of any other array.
    """
    pieces: List[Union[bytes, memoryview]] = [struct.pack("<QQQ", _FILE_MAGIC, 0, len(arrays))]
    for name, array in arrays.items():
        flag = _FLAGS.get(array.dtype.newbyteorder("<"))
        if flag is None or array.size == 0 or array.ndim == 0:
            raise ValueError(f"{name}: .params files cannot hold {array.dtype} {array.shape}")
        pieces.append(struct.pack("<IiI", _V2_MAGIC, 0, array.ndim))
        pieces.append(struct.pack(f"<{array.ndim}q", *array.shape))
        pieces.append(struct.pack("<iii", _CPU, _DEVICE_0, flag))
        values = np.ascontiguousarray(array, _TYPES[flag])
        pieces.append(values.data.cast("B"))  # copied once, by `join`
    pieces.append(struct.pack("<Q", len(arrays)))
    for name in arrays:
        text = name.encode()
        pieces.append(struct.pack("<Q", len(text)) + text)
    return b"".join(pieces)


def loads(data: bytes, path: AnyPath) -> Arrays:
    """The arrays of a .params file by name, in the file's order, writable and in native byte order.

    `path` names the file in errors. Raises InputError if the bytes are not a .params file, are too
    short or too long, or hold a sparse array, an unknown type or arrays without names.
    """
    reader = _Reader(data, path)
    if len(data) < 8 or reader.unpack("<Q")[0] != _FILE_MAGIC:
        raise InputError(
            f"{path}: is not an MXNet .params file, or its start is damaged; copy it again"
        )
    _, count = reader.unpack("<QQ")
    values = [reader.array() for _ in range(reader.at_most(count))]
    (named,) = reader.unpack("<Q")
    if named == 0 and values:
        raise InputError(f"{path}: its arrays have no names; save a dict of arrays, not a list")
    names = [reader.name() for _ in range(reader.at_most(named))]
    if len(set(names)) != count or named != count or reader.left:
        raise reader.damaged()
    return dict(zip(names, values))


def read(path: AnyPath) -> Arrays:
    """Read a .params file, as `loads` does; InputError also if it does not exist."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise file_error(path, error) from error
    return loads(data, path)


def join(arg: Mapping[str, np.ndarray], aux: Mapping[str, np.ndarray]) -> Arrays:
    """Arguments and auxiliary states under a checkpoint's keys, `arg:NAME` and `aux:NAME`."""
    keyed = {f"arg:{name}": array for name, array in arg.items()}
    keyed.update((f"aux:{name}", array) for name, array in aux.items())
    return keyed


def split(arrays: Mapping[str, np.ndarray], path: AnyPath = "checkpoint") -> Tuple[Arrays, Arrays]:
    """Arguments and auxiliary states of a checkpoint by name; the inverse of `join`.

    Raises InputError naming `path` when a key has neither prefix.
    """
    parts: Dict[str, Arrays] = {"arg": {}, "aux": {}}
    for key, array in arrays.items():
        kind, colon, name = key.partition(":")
        if not colon or kind not in parts:
            raise InputError(
                f"{path}: is not a checkpoint: {key!r} is neither arg:NAME nor aux:NAME; "
                "give a .params file that MXNet's Module or this trainer saved, or, if Gluon's "
                f"save_parameters wrote it, {commands.read_parameters(str(path))}"
            )
        parts[kind][name] = array
    return parts["arg"], parts["aux"]


class _Reader:
    """Reads the bytes of a file in order; reading past the end raises InputError."""

    def __init__(self, data: bytes, path: AnyPath):
        self.data = data
        self.path = path
        self.position = 0

    @property
    def left(self) -> int:
        return len(self.data) - self.position

    def damaged(self) -> InputError:
        return InputError(
            f"{self.path}: is damaged or cut short near byte {self.position} of {len(self.data)}; "
            "copy it again or go back to an earlier checkpoint"
        )

    def take(self, size: int) -> bytes:
        if not 0 <= size <= self.left:
            raise self.damaged()
        self.position += size
        return self.data[self.position - size : self.position]

    def unpack(self, layout: str) -> Tuple[Any, ...]:
        return struct.unpack(layout, self.take(struct.calcsize(layout)))

    def at_most(self, count: int) -> int:
        """Check a count of items of at least four bytes each against the bytes left."""
        if count * 4 > self.left:
            raise self.damaged()
        return count

    def name(self) -> str:
        (size,) = self.unpack("<Q")
        try:
            return self.take(size).decode()
        except UnicodeDecodeError:
            raise self.damaged() from None

    def shape(self) -> Tuple[int, ...]:
        (magic,) = self.unpack("<I")
        if magic in (_V2_MAGIC, _V3_MAGIC):
            (storage,) = self.unpack("<i")
            if storage in (1, 2):
                raise InputError(
                    f"{self.path}: holds a sparse array; save it with .tostype('default')"
                )
            if storage != 0:
                raise self.damaged()
        new = magic in (_V1_MAGIC, _V2_MAGIC, _V3_MAGIC)
        dimensions = self.unpack("<I")[0] if new else magic
        least = 0 if magic == _V3_MAGIC else 1
        if not least <= dimensions <= _MAX_DIMENSIONS:
            raise self.damaged()
        shape = self.unpack(f"<{dimensions}{'q' if new else 'I'}")
        if any(extent < least for extent in shape):
            raise self.damaged()
        return shape

    def array(self) -> np.ndarray:
        shape = self.shape()
        _, _, flag = self.unpack("<iii")
        if flag not in _TYPES:
            raise InputError(
                f"{self.path}: type flag {flag} near byte {self.position} is not supported; the "
                "file is damaged, or its arrays must be cast to float32"
            )
        dtype = _TYPES[flag]
        values = np.frombuffer(self.take(math.prod(shape) * dtype.itemsize), dtype)
        try:
            return values.reshape(shape).astype(dtype.newbyteorder("="))
        except ValueError:  # an empty array with a huge extent next to the zero
            raise self.damaged() from None
