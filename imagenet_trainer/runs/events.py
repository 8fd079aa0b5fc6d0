"""events.jsonl: the events of a run, one JSON object per line, for programs.

The file only grows. A run that continues from update u repeats the updates after u, so its line
`continue` (or `rollback`, or a second `begin`) invalidates the lines above it about later updates:
`read_events` leaves them out, as TensorBoard does in its own files. An incomplete line, left by a
kill, is removed when the run continues.
"""

import contextlib
import io
import json
import math
import os
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

from imagenet_trainer.errors import InputError
from imagenet_trainer.system.files import AnyPath, file_error
from imagenet_trainer.text import json_line

# Events that set the update from which the run continues, and those that they may invalidate.
_REWINDING = ("begin", "continue", "rollback")
_REPEATED = (
    "interval", "statistics", "epoch", "validation", "minival", "checkpoint", "bad_record",
    "dead_network",
)  # fmt: skip


class EventLog:
    """Appends events to a file. On a full disk lines are lost, and the run continues.

    Parameters
    ----------
    path
        The file; None writes nothing (all workers except the first).
    warn
        Called once, with one line, if events cannot be written.
    listeners
        Each is called with every event, the object of its line, unless `path` is None.

    """

    def __init__(
        self,
        path: Optional[Path],
        warn: Callable[[str], None],
        listeners: Sequence[Callable[[Dict[str, Any]], None]] = (),
    ) -> None:
        self._path, self._warn, self._listeners = path, warn, listeners
        self._file: Optional[io.FileIO] = None
        self._warned = False

    def write(self, event: str, fields: Mapping[str, Any]) -> None:
        """Append time (ISO 8601 with zone), event, fields; values that are not finite are null."""
        if self._path is None:
            return
        values = _finite({"time": _now(), "event": event, **fields})
        line = json_line(values, allow_nan=False)
        for listener in self._listeners:
            listener(json.loads(line))
        try:
            if self._file is None:
                self._file = _open_repaired(self._path)
            data = line.encode() + b"\n"
            if self._file.write(data) != len(data):  # one call, so that lines stay complete
                raise OSError(0, "the line was not written completely")
        except OSError as error:
            self.close()  # the next line removes an incomplete one
            if not self._warned:
                self._warned = True
                self._warn(
                    f"{file_error(self._path, error)}; events are lost, and the run continues"
                )

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None


def print_event(event: Mapping[str, Any]) -> None:
    """A listener that prints events as in the file; a closed pipe ends nothing."""
    with contextlib.suppress(OSError):
        print(json_line(event), flush=True)


def read_events(path: AnyPath) -> List[Dict[str, Any]]:
    """The events of a run in order, without those that a later one invalidates.

    An incomplete last line is ignored. Raises InputError if the file does not exist or a line is
    not an event.
    """
    try:
        lines = Path(path).read_bytes().split(b"\n")
    except OSError as error:
        raise file_error(path, error) from error
    events: List[Dict[str, Any]] = []
    for number, line in enumerate(lines[:-1], 1):
        try:
            event = json.loads(line)
            kind = event["event"]
            if kind in (*_REWINDING, *_REPEATED) and not isinstance(event["update"], int):
                raise TypeError
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(
                f"{os.fspath(path)}: line {number} is not an event; remove it"
            ) from error
        if kind in _REWINDING:
            events = [one for one in events if not _is_repeated(one, event["update"])]
        events.append(event)
    return events


def _is_repeated(event: Mapping[str, Any], update: int) -> bool:
    return event["event"] in _REPEATED and event["update"] > update


def _open_repaired(path: Path) -> io.FileIO:
    """Open the file for appending, without an incomplete last line."""
    file = io.FileIO(path, "a+")
    try:
        size = file.seek(0, os.SEEK_END)
        end = size
        while end:
            begin = max(0, end - (1 << 16))
            file.seek(begin)
            newline = file.read(end - begin).rfind(b"\n")
            if newline >= 0:
                end = begin + newline + 1
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
    """The value without nan and infinity, which JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    return value
