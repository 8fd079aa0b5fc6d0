"""Numbers of a run for TensorBoard: scalars by tag and update, in FOLDER/events.out.tfevents.*.

Written with tensorboardX's events and records, without its background writer: that one blocks the
training for good when the disk is full.
"""

import contextlib
import importlib
import math
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any, Callable, Mapping, Optional

from imagenet_trainer.system.files import file_error


class Scalars:
    """Writes scalars; what goes wrong is told once and never ends the run.

    Parameters
    ----------
    folder
        where TensorBoard looks; None writes nothing (workers other than the first).
    update
        from which the run goes on: points of an earlier process behind it are taken back.
    warn
        is told once, in one line, when nothing can be written.

    """

    def __init__(self, folder: Optional[Path], update: int, warn: Callable[[str], None]) -> None:
        self._folder, self._warn = folder, warn
        self._writer: Any = None
        self._library: Any = None
        if folder is not None:
            self._guarded(self._open)
            self.take_back(update)

    def write(self, update: int, values: Mapping[str, float]) -> None:
        """Points of some tags, train/loss and the like, after an update; nan is left out."""
        known = {tag: value for tag, value in values.items() if not math.isnan(value)}
        if self._writer is not None and known:
            self._guarded(lambda: self._write(update, known))

    def take_back(self, update: int) -> None:
        """Have TensorBoard hide all points behind an update, which will be made again."""
        if self._writer is not None:
            self._guarded(lambda: self._write_start(update + 1))

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            with contextlib.suppress(OSError):
                self._writer.close()
            self._writer = None

    def _open(self) -> None:
        assert self._folder is not None
        _import()
        from tensorboardX import event_file_writer, summary
        from tensorboardX.proto import event_pb2

        self._library = event_pb2, summary
        self._folder.mkdir(parents=True, exist_ok=True)
        # The number keeps apart two processes of one second: names end in seconds.
        number = sum(1 for _ in self._folder.glob("*.tfevents.*"))
        self._writer = event_file_writer.EventsWriter(
            str(self._folder / "events"), filename_suffix=f".{number}"
        )

    def _write(self, update: int, values: Mapping[str, float]) -> None:
        event_pb2, summary = self._library
        now = time.time()
        for tag, value in values.items():
            point = summary.scalar(tag, value)
            self._writer.write_event(event_pb2.Event(step=update, wall_time=now, summary=point))
        self._writer.flush()

    def _write_start(self, update: int) -> None:
        event_pb2, _ = self._library
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._writer.write_event(
            event_pb2.Event(step=update, wall_time=time.time(), session_log=start)
        )
        self._writer.flush()

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except OSError as error:
            self.close()
            self._warn(
                f"{file_error(str(self._folder), error)}; TensorBoard gets no more of this run"
            )
        except ImportError as error:
            self._warn(
                f"TensorBoard gets nothing of this run: tensorboardX cannot be imported ({error}); "
                "run: pip install tensorboardX, or switch it off with --tensorboard 0"
            )


def _import() -> ModuleType:
    """Import tensorboardX, which takes PyTorch with it where it is installed.

    That costs a second, memory, and a second set of OpenMP threads beside MXNet's; scalars need
    none of it.
    """
    hide = "torch" not in sys.modules
    if hide:
        sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        return importlib.import_module("tensorboardX")
    finally:
        if hide:
            del sys.modules["torch"]
