"""Verification of shards against their manifest."""

import os
import threading
import zlib
from hashlib import sha256
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from imagenet_trainer.data.images.decode import check_decodable
from imagenet_trainer.data.records.manifest import Shard, manifest_path, read_manifest
from imagenet_trainer.data.records.record_file import RecordError, RecordFile
from imagenet_trainer.data.records.sequential import index_of
from imagenet_trainer.data.records.shard_names import shards_named, without_number
from imagenet_trainer.data.records.shards import find_shards
from imagenet_trainer.errors import InputError
from imagenet_trainer.packing.parallel import ProgressCallback, in_order


def shards_of(name: str) -> List[str]:
    """The shards of a prefix, or the one shard that a name ending in .rec names.

    With a manifest they are the manifest's, whether they exist or not. Raises InputError if there
    are none, and if the manifest is that of another prefix: its shards would be checked instead.
    """
    if name.endswith(".rec") and os.path.isfile(name):
        return [name]
    rec = name if name.endswith(".rec") else name + ".rec"
    manifest = read_manifest(rec)
    if manifest is None:
        return find_shards(rec)
    stem = os.path.splitext(os.path.basename(rec))[0]
    pattern = shards_named(without_number(stem))
    for shard in manifest.shards:
        if not pattern.fullmatch(shard.file):
            raise InputError(
                f"{rec}: {manifest_path(rec)} is the manifest of another pack, which has "
                f"{shard.file}; restore its own, or pack again"
            )
    return [os.path.join(os.path.dirname(rec), shard.file) for shard in manifest.shards]


class Verified(NamedTuple):
    """What a verification found.

    Attributes
    ----------
    damage
        the damage of each damaged shard, one line per damage; {} means that all are intact.
    without_image, other_ids
        records of shards without a manifest that have no image, or another id than in the index;
        other programs write such.

    """

    damage: Dict[str, List[str]]
    without_image: int
    other_ids: int


def verify(paths: Sequence[str], threads: int, progress: ProgressCallback) -> Verified:
    """Verify shards.

    Every record must have a header and an image that can be decoded. With a manifest, the record's
    bytes, the shard's length and SHA-256, and the ids in the index and their order must match it.
    Shards are read in parallel, each once from start to end.
    """
    expected = {path: _expected(path) for path in paths}
    total = sum(shard.records if shard else _records(path) for path, shard in expected.items())
    counter = _Counter(total)
    parallel = min(threads, len(paths))

    def check(path: str) -> List[str]:
        return _verify_shard(path, expected[path], max(threads // parallel, 1), counter, progress)

    results = zip(paths, in_order(check, paths, parallel))
    damage = {path: lines for path, lines in results if lines}
    return Verified(damage, counter.without_image, counter.other_ids)


class _Counter:
    """Counts records over all shards: verified, damaged, and those that only others write."""

    def __init__(self, total: int):
        self.total, self._done, self._damaged = total, 0, 0
        self.without_image = self.other_ids = 0
        self._lock = threading.Lock()

    def remark(self, without_image: bool) -> None:
        """Count a record without an image, or with another id than in the index."""
        with self._lock:
            self.without_image += without_image
            self.other_ids += not without_image

    def __call__(self, damaged: bool, progress: ProgressCallback) -> None:
        with self._lock:
            self._done += 1
            self._damaged += damaged
            progress(self._done, self.total, self._damaged)


def _expected(path: str) -> Optional[Shard]:
    """The manifest's entry of a shard; None without a manifest."""
    manifest = read_manifest(path)
    shards = {shard.file: shard for shard in manifest.shards} if manifest else {}
    if manifest and os.path.basename(path) not in shards:
        raise InputError(f"{path}: {manifest_path(path)} belongs to another pack; pack again")
    return shards.get(os.path.basename(path))


def _records(path: str) -> int:
    """Number of records of a shard without a manifest; 0 if it cannot be opened."""
    try:
        with _open(path, None) as shard:
            return len(shard)
    except InputError:
        return 0


def _open(path: str, expected: Optional[Shard]) -> RecordFile:
    """A shard; without an entry of a manifest, its index is made where it is missing."""
    index = index_of(path)[0] if expected is None else None
    return RecordFile(path, index, trust_index=True)


def _verify_shard(
    path: str,
    expected: Optional[Shard],
    threads: int,
    counter: _Counter,
    progress: ProgressCallback,
) -> List[str]:
    try:
        shard = _open(path, expected)
    except InputError as error:
        return [str(error)]
    damage: List[str] = []
    with shard:
        if expected and (shard.size, len(shard)) != (expected.bytes, expected.records):
            damage.append(
                f"{path}: {len(shard)} records in {shard.size} bytes, not "
                f"{expected.records} in {expected.bytes} as in the manifest"
            )
        if expected and not shard.has_sorted_index:
            damage.append(f"{path}: the lines of its index are not in the order of the records")
        same_count = expected is not None and len(shard) == expected.records
        checksums = expected.checksums() if expected and same_count else np.empty(0)
        order = np.argsort(shard.offsets, kind="stable").tolist()
        digest = sha256()

        def check(position: int) -> Tuple[memoryview, str]:
            record = order[position]
            try:
                data = shard.raw(record)
                _check_record(shard, record, data, expected is None, counter)
                if len(checksums) and zlib.crc32(data) != checksums[position]:
                    raise shard.error(record, "its bytes have changed since it was packed")
            except RecordError as error:
                return memoryview(b""), str(error)
            return data, ""

        for data, line in in_order(check, range(len(order)), threads):
            digest.update(data)
            damage += [line] if line else []
            counter(bool(line), progress)
        if expected and not damage and digest.hexdigest() != expected.sha256:
            damage.append(f"{path}: its SHA-256 differs from the manifest's, bytes have changed")
    return damage


def _check_record(
    shard: RecordFile, record: int, raw: memoryview, is_foreign: bool, counter: _Counter
) -> None:
    """Raise RecordError unless a record is an image with the id of its line in the index.

    A foreign shard may have records without an image, and ids that are not in the index.
    """
    parsed = shard.record(record, raw)
    key = int(shard.keys[record]) % (1 << 64)
    if parsed.id != key and not is_foreign:
        raise shard.error(record, f"its id is {parsed.id}, but {key} in the index")
    if parsed.id != key:
        counter.remark(without_image=False)
    if is_foreign and not parsed.image:
        counter.remark(without_image=True)
        return
    try:
        check_decodable(parsed.image)
    except ValueError as error:
        raise shard.error(record, str(error)) from error
