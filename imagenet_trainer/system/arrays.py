"""Named arrays: parameters, auxiliary states, the state of an engine; and files of them."""

import io
import zipfile
import zlib
from typing import Dict, Mapping, Optional

import numpy as np

from imagenet_trainer.system.files import AnyPath, atomic_write

Arrays = Dict[str, np.ndarray]

DAMAGED = (
    OSError, EOFError, AttributeError, LookupError, RuntimeError, TypeError, ValueError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What NumPy raises for a damaged .npz, and looking for arrays in another file."""


def not_finite(arrays: Mapping[str, np.ndarray]) -> Optional[str]:
    """The name of the first array with an infinite or undefined value."""
    return next((name for name, value in arrays.items() if not np.isfinite(value).all()), None)


def packed(arrays: Mapping[str, np.ndarray], compressed: bool = True) -> io.BytesIO:
    """The content of an .npz with these arrays.

    NumPy writes into memory: if a file cannot be written, it leaves an open archive, which prints a
    traceback when it is collected.
    """
    content = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(content, **arrays)
    content.seek(0)
    return content


def write_arrays(path: AnyPath, arrays: Mapping[str, np.ndarray]) -> None:
    """Write a compressed .npz atomically; InputError when it cannot be written."""
    content = packed(arrays)
    with atomic_write(path) as file:
        file.write(content.getbuffer())
