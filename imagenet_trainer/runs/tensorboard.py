"""Scalars and images of a run for TensorBoard: FOLDER/events.out.tfevents.*

TensorBoard's own package encodes the events. tensorboardX, which is smaller, imports PyTorch
wherever that is installed: 1.9 s and 192 MB.
"""

import contextlib
import math
import socket
import struct
import time
from pathlib import Path
from typing import Callable, Iterator, List, Mapping, Optional

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from imagenet_trainer.system.files import file_error
from imagenet_trainer.text import tag_of


class ScalarWriter:
    """Writes scalars, and images. Errors are reported once and never end the run.

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
        self._file: Optional[RecordWriter] = None
        if folder is not None:
            with self._errors_reported():
                self._file = _open(folder)
            self.hide_after(update)

    def write(self, update: int, values: Mapping[str, float]) -> None:
        """Write a point for each tag, such as train/loss, after an update; nan is omitted."""
        known = {tag: value for tag, value in values.items() if not math.isnan(value)}
        if known:
            self._write([_scalar(update, tag, value) for tag, value in known.items()])

    def write_image(self, update: int, tag: str, draw: Callable[[], bytes]) -> None:
        """Write a PNG file as an image; `draw` is called only if events are written."""
        if self._file is not None:
            self._write([_image(update, tag, draw())])

    def hide_after(self, update: int) -> None:
        """Make TensorBoard hide all points after an update, which will be repeated."""
        self._write([_session_start(update + 1)])

    def close(self, *_: object) -> None:
        """Close the file."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None

    def _write(self, events: List[Event]) -> None:
        if self._file is not None:
            with self._errors_reported():
                for event in events:
                    self._file.write(event.SerializeToString())
                self._file.flush()

    @contextlib.contextmanager
    def _errors_reported(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.close()
            self._warn(
                f"{file_error(str(self._folder), error)}; no more data is written for TensorBoard"
            )


def write_images(folder: Path, tag: str, images: Mapping[int, bytes]) -> None:
    """Write PNG files by their steps, in place of those of earlier calls.

    Raises InputError if they cannot be written.
    """
    earlier = list(folder.glob("*.tfevents.*"))
    try:
        writer = _open(folder)
        for step, image in images.items():
            writer.write(_image(step, tag, image).SerializeToString())
        writer.close()
        for path in earlier:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise file_error(str(folder), error) from error


def _open(folder: Path) -> RecordWriter:
    folder.mkdir(parents=True, exist_ok=True)
    # The number distinguishes processes that start in the same second.
    number = sum(1 for _ in folder.glob("*.tfevents.*"))
    name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{number}"
    writer = RecordWriter(open(folder / name, "ab"))  # noqa: SIM115
    writer.write(Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())
    return writer


def _scalar(update: int, tag: str, value: float) -> Event:
    """An event with one value."""
    return _event(update, Summary.Value(tag=tag_of(tag), simple_value=value))


def _image(update: int, tag: str, png: bytes) -> Event:
    """An event with one image, a PNG file in RGB."""
    width, height = struct.unpack(">II", png[16:24])
    image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=png)
    return _event(update, Summary.Value(tag=tag_of(tag), image=image))


def _event(update: int, value: Summary.Value) -> Event:
    return Event(wall_time=time.time(), step=update, summary=Summary(value=[value]))


def _session_start(update: int) -> Event:
    """An event that hides the points from this update on."""
    log = SessionLog(status=SessionLog.START)
    return Event(wall_time=time.time(), step=update, session_log=log)
