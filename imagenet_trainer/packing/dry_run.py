"""What packing would do, without writing anything."""

from dataclasses import dataclass
from typing import Tuple

from imagenet_trainer.data.records.manifest import Rejected
from imagenet_trainer.data.records.recordio import record_length
from imagenet_trainer.packing.parallel import Progress, in_order
from imagenet_trainer.packing.plan import Pack


@dataclass(frozen=True)
class Rehearsal:
    """Records, their bytes on disk, the shards that hold them, and images left out."""

    records: int
    bytes: int
    shards: int
    rejected: Tuple[Rejected, ...]


def rehearse(pack: Pack, threads: int, progress: Progress) -> Rehearsal:
    """Convert every image of a pack as packing does; `progress` is called as there."""
    rejected = []
    records = size = here = 0
    shards = 1
    total = len(pack.images)
    results = in_order(pack.converter(), range(total), threads)
    for line, (payload, reason) in enumerate(results):
        if reason:
            rejected.append(Rejected(pack.images.paths[line], reason))
        else:
            length = record_length(payload)
            if here and pack.is_full(shards - 1, here + length, line):
                shards, here = shards + 1, 0
            records, size, here = records + 1, size + length, here + length
        progress(line + 1, total, len(rejected))
    return Rehearsal(records, size, shards, tuple(rejected))
