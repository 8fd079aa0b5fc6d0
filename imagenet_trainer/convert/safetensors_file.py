"""Reads and writes .safetensors files with the library of that name."""

import json
import struct
from pathlib import Path
from typing import Any, Dict, Mapping, Tuple

import numpy as np
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save

from imagenet_trainer.errors import InputError
from imagenet_trainer.system.arrays import Arrays
from imagenet_trainer.system.files import AnyPath, read_bytes, write_file

_TYPES = {"F32": "<f4", "F16": "<f2", "F64": "<f8", "I64": "<i8", "I32": "<i4", "BF16": "<u2"}


def read(path: AnyPath) -> Tuple[Arrays, Dict[str, str]]:
    """The arrays of a file by name, and its metadata; bfloat16 becomes float32.

    Raises InputError if the file is not one of its format (the library checks the size of the
    header, and offsets and sizes of all arrays), and for types that parameters of networks do not
    have.
    """
    data = read_bytes(Path(path))
    try:
        parts = deserialize(data)
    except (SafetensorError, ValueError, OverflowError, MemoryError) as error:
        raise InputError(
            f"{path}: is not a .safetensors file, or it is damaged ({error}); copy it again"
        ) from error
    arrays = {name: _array(part, f"{path}: {name}") for name, part in parts}
    (size,) = struct.unpack("<Q", data[:8])
    metadata = json.loads(data[8 : 8 + size]).get("__metadata__") or {}
    return arrays, {str(name): str(value) for name, value in metadata.items()}


def _array(part: Mapping[str, Any], where: str) -> np.ndarray:
    kind = part["dtype"]
    if kind not in _TYPES:
        raise InputError(f"{where} has the type {kind}; save it as float32")
    try:
        values = np.frombuffer(part["data"], _TYPES[kind]).reshape(part["shape"])
    except (ValueError, OverflowError) as error:  # as the shape (0, 2^62)
        raise InputError(
            f"{where} has the shape {str(part['shape'])[:60]}: {error}; save it again"
        ) from error
    if kind == "BF16":  # the upper half of a float32
        return (values.astype("<u4") << 16).view("<f4").astype(np.float32)
    return values


def write(path: str, arrays: Arrays, metadata: Mapping[str, str]) -> None:
    """Write a whole file or none."""
    data = save({name: np.ascontiguousarray(a) for name, a in arrays.items()}, dict(metadata))
    write_file(path, data)
