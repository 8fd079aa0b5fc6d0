"""What packing would write, without writing it."""

from dataclasses import dataclass
from typing import Tuple

from imagenet_trainer.data.records.manifest import Rejected
from imagenet_trainer.data.records.recordio import record_length
from imagenet_trainer.packing.parallel import ProgressCallback, in_order
from imagenet_trainer.packing.plan import OnRemark, Pack, ignore


@dataclass(frozen=True)
class DryRun:
    """The records, their bytes on disk, the number of shards, and the rejected images."""

    records: int
    bytes: int
    shards: int
    rejected: Tuple[Rejected, ...]


def dry_run(
    pack: Pack, threads: int, progress: ProgressCallback, on_remark: OnRemark = ignore
) -> DryRun:
    """Convert every image of a pack; the other parameters are those of `write_pack`."""
    rejected = []
    records = total_bytes = shard_bytes = 0
    shards = 1
    total = len(pack.images)
    results = in_order(pack.converter(on_remark), range(total), threads)
    for line, (payload, reason) in enumerate(results):
        if reason:
            rejected.append(Rejected(pack.images.paths[line], reason))
        else:
            length = record_length(payload)
            if shard_bytes and pack.is_full(shards - 1, shard_bytes + length, line):
                shards, shard_bytes = shards + 1, 0
            records += 1
            total_bytes += length
            shard_bytes += length
        progress(line + 1, total, len(rejected))
    return DryRun(records, total_bytes, shards, tuple(rejected))
