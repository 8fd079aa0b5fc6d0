"""Proof that shards are what was packed."""

import os
import threading
import zlib
from hashlib import sha256
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np

from imagenet_trainer.data.images.decode import prove
from imagenet_trainer.data.records.manifest import Shard, manifest_path, read_manifest
from imagenet_trainer.data.records.recordio import RecordError, RecordFile
from imagenet_trainer.data.records.shards import find_shards
from imagenet_trainer.errors import InputError, attributed_to
from imagenet_trainer.packing.parallel import Progress, in_order


def shards_of(name: str, flag: str) -> List[str]:
    """The shards that a prefix stands for, or the one that a name ending in .rec is.

    They are those of the manifest, there or not. Raises InputError naming the flag where there
    are none.
    """
    if name.endswith(".rec") and os.path.isfile(name):
        return [name]
    rec = name if name.endswith(".rec") else name + ".rec"
    manifest = read_manifest(rec)
    if manifest is None:
        with attributed_to(flag, " "):
            return find_shards(rec)
    return [os.path.join(os.path.dirname(rec), shard.file) for shard in manifest.shards]


def verify(paths: Sequence[str], threads: int, progress: Progress) -> Dict[str, List[str]]:
    """What is wrong with each damaged shard, a line for each damage; {} proves that all are whole.

    Every record must have a header and an image that can be decoded, and its bytes must be those
    of the manifest where there is one; so must length, SHA-256 and the ids in the index. Shards are
    read side by side, each once from its beginning to its end.
    """
    told = {path: _told(path) for path in paths}
    counter = _Counter(sum(shard.records if shard else _records(p) for p, shard in told.items()))
    beside = min(threads, len(paths))

    def check(path: str) -> List[str]:
        return _verify_shard(path, told[path], max(threads // beside, 1), counter, progress)

    found = zip(paths, in_order(check, paths, beside))
    return {path: lines for path, lines in found if lines}


class _Counter:
    """Records done, and damage among them, over all shards."""

    def __init__(self, total: int):
        self.total, self._done, self._damaged = total, 0, 0
        self._lock = threading.Lock()

    def __call__(self, damaged: bool, progress: Progress) -> None:
        with self._lock:
            self._done += 1
            self._damaged += damaged
            progress(self._done, self.total, self._damaged)


def _told(path: str) -> Optional[Shard]:
    """What the manifest says of a shard."""
    manifest = read_manifest(path)
    shards = {shard.file: shard for shard in manifest.shards} if manifest else {}
    if manifest and os.path.basename(path) not in shards:
        raise InputError(f"{path}: {manifest_path(path)} is of another pack; pack this one again")
    return shards.get(os.path.basename(path))


def _records(path: str) -> int:
    try:
        with RecordFile(path, trust_index=True) as shard:
            return len(shard)
    except InputError:
        return 0


def _verify_shard(
    path: str, told: Optional[Shard], threads: int, counter: _Counter, progress: Progress
) -> List[str]:
    try:
        shard = RecordFile(path, trust_index=True)
    except InputError as error:
        return [str(error)]
    damage: List[str] = []
    with shard:
        if told and (shard.size, len(shard)) != (told.bytes, told.records):
            damage.append(
                f"{path}: {len(shard)} records in {shard.size} bytes, but its manifest says "
                f"{told.records} in {told.bytes}"
            )
        same = told is not None and len(shard) == told.records
        checksums = told.checksums() if told and same else ()
        order = np.argsort(shard.offsets, kind="stable").tolist()
        digest = sha256()

        def check(place: int) -> Tuple[memoryview, str]:
            record = order[place]
            try:
                data = shard.raw(record)
                _prove_record(shard, record, data)
                if checksums and zlib.crc32(data) != checksums[place]:
                    raise shard.error(record, "its bytes have changed since it was packed")
            except RecordError as error:
                return memoryview(b""), str(error)
            return data, ""

        for data, line in in_order(check, range(len(order)), threads):
            digest.update(data)
            damage += [line] if line else []
            counter(bool(line), progress)
        if told and not damage and digest.hexdigest() != told.sha256:
            damage.append(f"{path}: its SHA-256 is not that of its manifest, bytes have changed")
    return damage


def _prove_record(shard: RecordFile, record: int, raw: memoryview) -> None:
    """Raise RecordError unless a record is an image with the id that the index gives it."""
    found = shard.record(record, raw)
    if found.id != shard.keys[record]:
        raise shard.error(record, f"its id is {found.id}, the index says {shard.keys[record]}")
    try:
        prove(found.image)
    except ValueError as error:
        raise shard.error(record, str(error)) from error
