"""CRC-32C (Castagnoli), which TFRecord files hold, with NumPy.

Python's standard library has only the other CRC-32. A checksum is linear: a buffer is divided into
lanes, which are computed side by side, and then joined in pairs; to join two, the checksum of the
first is moved over the length of the second.
"""

from functools import cache
from typing import Union

import numpy as np

_POLYNOMIAL = 0x82F63B78  # reflected
_LANE = 16  # bytes; the fastest for images
_SMALL = 64  # bytes that are not worth arrays
_MASK_DELTA = 0xA282EAD8  # of TFRecord's masked checksums


def _table() -> np.ndarray:
    values = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        values = np.where(values & 1, values >> 1 ^ np.uint32(_POLYNOMIAL), values >> 1)
    return values


_TABLE = _table()
_NUMBERS = _TABLE.tolist()


def crc32c(data: Union[bytes, memoryview]) -> int:
    """The checksum of a buffer, from 0 to 2^32 - 1."""
    if len(data) < _SMALL:
        return _plain(data)
    size = -(-len(data) // _LANE)
    lanes = 1 << (size - 1).bit_length()
    # Zeros in front do not change a checksum that begins with 0; inverting the first four bytes is
    # the same as beginning with ones.
    padded = np.zeros(lanes * _LANE, np.uint8)
    padded[-len(data) :] = np.frombuffer(data, np.uint8)
    padded[-len(data) :][:4] ^= 0xFF
    columns = np.ascontiguousarray(padded.reshape(lanes, _LANE).T)
    state = np.zeros(lanes, np.uint32)
    for column in columns:
        state = _TABLE[(state ^ column) & 0xFF] ^ state >> 8
    length = _LANE
    while len(state) > 1:
        tables = _moving(length)
        first = state[0::2]
        moved = tables[0][first & 0xFF] ^ tables[1][first >> 8 & 0xFF]
        moved ^= tables[2][first >> 16 & 0xFF] ^ tables[3][first >> 24]
        state, length = moved ^ state[1::2], 2 * length
    return int(state[0]) ^ 0xFFFFFFFF


def masked(data: Union[bytes, memoryview]) -> int:
    """The checksum as TFRecord files hold it: rotated, plus a constant."""
    value = crc32c(data)
    return ((value >> 15 | value << 17) + _MASK_DELTA) & 0xFFFFFFFF


def _plain(data: Union[bytes, memoryview]) -> int:
    state = 0xFFFFFFFF
    for byte in bytes(data):
        state = _NUMBERS[(state ^ byte) & 0xFF] ^ state >> 8
    return state ^ 0xFFFFFFFF


@cache
def _moving(length: int) -> np.ndarray:
    """What `length` zero bytes make of a state, by each of its four bytes: uint32 (4, 256)."""
    tables = np.arange(256, dtype=np.uint32) << np.array([[0], [8], [16], [24]], np.uint32)
    if length == _LANE:
        for _ in range(length):
            tables = _TABLE[tables & 0xFF] ^ tables >> 8
        return tables
    half = _moving(length // 2)
    once = half
    return (
        half[0][once & 0xFF] ^ half[1][once >> 8 & 0xFF]
        ^ half[2][once >> 16 & 0xFF] ^ half[3][once >> 24]
    )  # fmt: skip
