"""Scalars of a run for TensorBoard: FOLDER/events.out.tfevents.*

The files are not written with tensorboardX, because it imports PyTorch wherever that is
installed: 1.9 s and 192 MB. An event file is a sequence of TFRecords, each with an Event message
in protobuf encoding (tensorflow/core/util/event.proto, framework/summary.proto).
"""

import contextlib
import math
import re
import socket
import struct
import time
from pathlib import Path
from typing import BinaryIO, Callable, Iterator, List, Mapping, Optional

from imagenet_trainer.system.files import file_error


class ScalarWriter:
    """Writes scalars. Errors are reported once and never end the run.

    Parameters
    ----------
    folder
        The folder for TensorBoard; None writes nothing (all workers except the first).
    update
        The update that the run continues from. Later points of an earlier process are hidden.
    warn
        Called once, with one line, if nothing can be written.

    """

    def __init__(self, folder: Optional[Path], update: int, warn: Callable[[str], None]) -> None:
        self._folder, self._warn = folder, warn
        self._file: Optional[BinaryIO] = None
        if folder is not None:
            with self._errors_reported():
                self._file = _open(folder)
            self.hide_after(update)

    def write(self, update: int, values: Mapping[str, float]) -> None:
        """Write a point for each tag, such as train/loss, after an update; nan is left out."""
        known = {tag: value for tag, value in values.items() if not math.isnan(value)}
        if known:
            self._write([_scalar(update, tag, value) for tag, value in known.items()])

    def hide_after(self, update: int) -> None:
        """Make TensorBoard hide all points after an update, which will be repeated."""
        self._write([_session_start(update + 1)])

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None

    def _write(self, events: List[bytes]) -> None:
        if self._file is not None:
            with self._errors_reported():
                self._file.write(b"".join(map(_record, events)))
                self._file.flush()

    @contextlib.contextmanager
    def _errors_reported(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.close()
            self._warn(f"{file_error(str(self._folder), error)}; nothing more goes to TensorBoard")


def _open(folder: Path) -> BinaryIO:
    folder.mkdir(parents=True, exist_ok=True)
    # The number distinguishes processes that start in the same second.
    number = sum(1 for _ in folder.glob("*.tfevents.*"))
    name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{number}"
    file = open(folder / name, "ab")  # noqa: SIM115
    file.write(_record(_event(_field(3, b"brain.Event:2"))))
    return file


# --- events ------------------------------------------------------------------------------------


def _scalar(update: int, tag: str, value: float) -> bytes:
    """An Event with a Summary of one value."""
    tag = re.sub(r"[^-/\w.]", "_", tag)  # the characters that TensorBoard allows
    point = _field(1, tag.encode()) + b"\x15" + struct.pack("<f", value)  # 2: simple_value
    return _event(_step(update) + _field(5, _field(1, point)))


def _session_start(update: int) -> bytes:
    """An Event with a SessionLog of status START: hides the points from this update on."""
    return _event(_step(update) + _field(7, b"\x08\x01"))


def _event(content: bytes) -> bytes:
    return b"\x09" + struct.pack("<d", time.time()) + content  # 1: wall_time


def _step(update: int) -> bytes:
    return b"\x10" + _varint(update)  # 2: step


def _field(number: int, data: bytes) -> bytes:
    """A field of bytes, a string or a message."""
    return bytes([number << 3 | 2]) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    groups = bytearray()
    while value > 127:
        groups.append(value & 127 | 128)
        value >>= 7
    return bytes(groups) + bytes([value])


# --- TFRecords ---------------------------------------------------------------------------------


def _record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + _checksum(length) + data + _checksum(data)


def _checksum(data: bytes) -> bytes:
    """The masked CRC-32C of TFRecords."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC_TABLE[(crc ^ byte) & 255] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _crc_of_byte(crc: int) -> int:
    for _ in range(8):
        crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc


_CRC_TABLE = tuple(map(_crc_of_byte, range(256)))
