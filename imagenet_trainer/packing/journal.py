"""The journal of an unfinished pack, PREFIX.json.partial, from which packing goes on.

Its first line is the pack's identity. Then follows a line for every rejected image, every mark
(lines of the list that are done, and the bytes of the growing shard's two files then; written after
those have reached the disk), every shard that is complete, and, once all are, one that says that
the files are taking their names. A torn last line is as if it were not there.
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
    """What is known about an unfinished pack; only one process can have it open.

    Attributes
    ----------
    done, lengths
        lines of the list that are done, bytes of the growing shard's .rec and .idx then.
    shards
        those that are complete; their names are not known yet.
    rejected
        reasons by line.
    obsolete
        once all is packed: files of the pack before that are to be removed; None until then.
    stale
        there was a journal, but of another pack.

    """

    def __init__(self, path: str, identity: Dict):
        self.identity, self.stale = identity, False
        self._lock = threading.Lock()  # lines come from the thread that marks, too
        self._file: IO[bytes] = open(path, "a+b")  # noqa: SIM115 (__exit__ does it)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise InputError(f"{path}: another process is packing here; wait for it") from error
        self._file.seek(0)
        self._forget()
        self._recall(self._file.read().splitlines(keepends=True))

    def _forget(self) -> None:
        self.done, self.lengths = 0, (0, 0)
        self.shards: List[Shard] = []
        self.rejected: Dict[int, str] = {}
        self.obsolete: Optional[List[str]] = None

    def _recall(self, lines: List[bytes]) -> None:
        rejected: Dict[int, str] = {}
        position = end = 0
        with contextlib.suppress(ValueError, KeyError, TypeError):  # a torn line ends it
            for number, text in enumerate(lines):
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
                    self._recall_mark(entry)
                    # Packing may have stopped at the image that was rejected last.
                    self.rejected = {n: why for n, why in rejected.items() if n < self.done}
                end = position
        if end:
            self._file.truncate(end)
        else:
            self.begin()

    def _recall_mark(self, entry: Dict[str, Any]) -> None:
        if "shard" in entry:
            self.shards.append(Shard(**entry["shard"]))
            self.done, self.lengths = int(entry["done"]), (0, 0)
        else:
            self.done, self.lengths = int(entry["done"]), (int(entry["rec"]), int(entry["idx"]))

    def begin(self) -> None:
        """Forget what was there."""
        self._forget()
        self._file.truncate(0)
        self._append(self.identity)

    def reject(self, line: int, reason: str) -> None:
        """Note an image that is left out."""
        self.rejected[line] = reason
        self._append({"line": line, "reason": reason})

    def mark(self, done: int, lengths: Tuple[int, int]) -> None:
        """Note how far the pack has come; the records must be on the disk by then."""
        self._append({"done": done, "rec": lengths[0], "idx": lengths[1]})

    def complete(self, done: int, shard: Shard) -> None:
        """Note a shard that is complete, and on the disk."""
        self.shards.append(shard)
        self._append({"done": done, "shard": asdict(shard)})

    def name_files(self, obsolete: List[str]) -> None:
        """Note that all is packed, and which files of the pack before are to be removed."""
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
