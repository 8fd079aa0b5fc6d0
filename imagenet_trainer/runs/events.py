"""One JSON line an event: what a run did, for programs (events.jsonl).

The file only grows. A run that continues from update u makes the updates behind u again, so its
line `continue` (or `rollback`) takes back what stands above it about later updates: `read_events`
leaves that out, as TensorBoard does with its own files. A line torn by a kill is cut off when the
run continues.
"""

import contextlib
import io
import json
import math
import os
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional

from imagenet_trainer.errors import InputError
from imagenet_trainer.system.files import AnyPath, file_error

# Events that say from which update the run goes on, and those that they may take back.
REWINDING = ("continue", "rollback")
_TAKEN_BACK = ("interval", "statistics", "epoch", "validation", "checkpoint")


class EventLog:
    """Appends events to a file; a full disk costs lines and not the run.

    Parameters
    ----------
    path
        the file; None writes nothing (workers other than the first).
    warn
        is told once, in one line, when lines cannot be written.

    """

    def __init__(self, path: Optional[Path], warn: Callable[[str], None]) -> None:
        self._path, self._warn = path, warn
        self._file: Optional[io.FileIO] = None
        self._warned = False

    def write(self, event: str, fields: Mapping[str, Any]) -> None:
        """One line: time (ISO 8601 with zone), event, fields; what is not finite becomes null."""
        if self._path is None:
            return
        line = json.dumps(
            _finite({"time": _now(), "event": event, **fields}), ensure_ascii=False, allow_nan=False
        )
        try:
            if self._file is None:
                self._file = _open_mended(self._path)
            data = line.encode() + b"\n"
            if self._file.write(data) != len(data):  # in one call, so that lines stay whole
                raise OSError(0, "no room for a whole line")
        except OSError as error:
            self.close()  # the next line mends what is torn
            if not self._warned:
                self._warned = True
                self._warn(f"{file_error(self._path, error)}; events are lost, the run goes on")

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None


def read_events(path: AnyPath) -> List[Dict[str, Any]]:
    """The events of a run in their order, without those that a later one takes back.

    A torn last line is left out. Raises InputError for a file that is not there or whose lines are
    no events.
    """
    try:
        lines = Path(path).read_bytes().split(b"\n")
    except OSError as error:
        raise file_error(path, error) from error
    found: List[Dict[str, Any]] = []
    for number, line in enumerate(lines[:-1], 1):
        try:
            event = json.loads(line)
            kind = event["event"]
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(f"{os.fspath(path)}: line {number} is no event; remove it") from error
        if kind in REWINDING:
            found = [one for one in found if not _is_taken_back(one, event["update"])]
        found.append(event)
    return found


def _is_taken_back(event: Mapping[str, Any], update: int) -> bool:
    return event["event"] in _TAKEN_BACK and event["update"] > update


def _open_mended(path: Path) -> io.FileIO:
    """The file for appending, without a last line that has no end."""
    file = io.FileIO(path, "a+")
    try:
        size = file.seek(0, os.SEEK_END)
        end = size
        while end:
            begin = max(0, end - (1 << 16))
            file.seek(begin)
            place = file.read(end - begin).rfind(b"\n")
            if place >= 0:
                end = begin + place + 1
                break
            end = begin
        if end < size:
            file.truncate(end)
        file.seek(0, os.SEEK_END)
    except OSError:
        file.close()
        raise
    return file


def _now() -> str:
    now = time.time()
    here = time.localtime(now)
    zone = time.strftime("%z", here)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', here)}.{int(now % 1 * 1000):03d}{zone}"


def _finite(value: Any) -> Any:
    """JSON has no nan and no infinity."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    return value
