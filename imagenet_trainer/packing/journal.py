"""The journal of an unfinished pack, PREFIX.json.partial, from which packing resumes.

The first line is the pack's identity. The following lines record, in order, each rejected image,
each mark (number of finished lines of the list, and lengths of the current shard's two files,
written after these have reached the disk) and each complete shard. Once all shards are complete,
one line records that the files are being renamed. A truncated last line is ignored.
"""

import contextlib
import fcntl
import json
import os
import threading
from dataclasses import asdict
from typing import IO, Any, Dict, List, Optional, Tuple

from imagenet_trainer.data.records.manifest import Shard
from imagenet_trainer.errors import InputError


class Journal:
    """The state of an unfinished pack. Only one process can open it at a time.

    Attributes
    ----------
    done, lengths
        number of finished lines of the list; bytes of the current shard's .rec and .idx at that
        point.
    shards
        the complete shards, without their names.
    rejected
        reason by line of the list.
    obsolete
        files of the previous pack to remove; None until all shards are complete.
    stale
        whether the journal found on disk belonged to another pack.

    """

    def __init__(self, path: str, identity: Dict):
        self.identity, self.stale = identity, False
        self._lock = threading.Lock()  # the marking thread writes lines, too
        self._file: IO[bytes] = open(path, "a+b")  # noqa: SIM115 (__exit__ does it)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.close()
            raise InputError(
                f"{path}: another process is packing here; wait until it has finished"
            ) from error
        except OSError:
            pass  # some network file systems do not support locks
        self._file.seek(0)
        self._reset()
        self._read(self._file.read().splitlines(keepends=True))

    def _reset(self) -> None:
        self.done, self.lengths = 0, (0, 0)
        self.shards: List[Shard] = []
        self.rejected: Dict[int, str] = {}
        self.obsolete: Optional[List[str]] = None

    def _read(self, lines: List[bytes]) -> None:
        rejected: Dict[int, str] = {}
        position = end = 0
        with contextlib.suppress(ValueError, KeyError, TypeError):  # a truncated line ends it
            for number, text in enumerate(lines):
                if not text.endswith(b"\n"):  # the next line would be appended to it
                    break
                entry = json.loads(text)
                position += len(text)
                if number == 0:
                    if entry != self.identity:
                        self.stale = True
                        break
                elif "reason" in entry:
                    rejected[int(entry["line"])] = str(entry["reason"])
                    continue
                elif "obsolete" in entry:
                    self.obsolete = [str(path) for path in entry["obsolete"]]
                else:
                    self._read_mark(entry)
                    # Images rejected after the last mark are converted again.
                    self.rejected = {n: why for n, why in rejected.items() if n < self.done}
                end = position
        if end:
            self._file.truncate(end)
        else:
            self.begin()

    def _read_mark(self, entry: Dict[str, Any]) -> None:
        if "shard" in entry:
            self.shards.append(Shard(**entry["shard"]))
            self.done, self.lengths = int(entry["done"]), (0, 0)
        else:
            self.done, self.lengths = int(entry["done"]), (int(entry["rec"]), int(entry["idx"]))

    def begin(self) -> None:
        """Discard what the journal contains."""
        self._reset()
        self._file.truncate(0)
        self._append(self.identity)

    def reject(self, line: int, reason: str) -> None:
        """Record a rejected image."""
        self.rejected[line] = reason
        self._append({"line": line, "reason": reason})

    def mark(self, done: int, lengths: Tuple[int, int]) -> None:
        """Record the progress; the records up to here must be on the disk already."""
        self._append({"done": done, "rec": lengths[0], "idx": lengths[1]})

    def complete(self, done: int, shard: Shard) -> None:
        """Record a complete shard, which must be on the disk already."""
        self.shards.append(shard)
        self._append({"done": done, "shard": asdict(shard)})

    def name_files(self, obsolete: List[str]) -> None:
        """Record that all shards are complete, and which files of the previous pack to remove."""
        self.obsolete = obsolete
        self._append({"obsolete": obsolete})

    def _append(self, entry: Dict) -> None:
        with self._lock:
            self._file.write(json.dumps(entry).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()
