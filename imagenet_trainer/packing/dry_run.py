"""What packing would write, without writing it."""

from dataclasses import dataclass
from typing import List, Tuple

from imagenet_trainer.data.records.manifest import Rejected
from imagenet_trainer.data.records.recordio import record_length
from imagenet_trainer.packing.parallel import ProgressCallback, in_order
from imagenet_trainer.packing.plan import OnRemark, Pack, ignore


@dataclass(frozen=True)
class DryRun:
    """The number of records, the bytes of each shard on disk, and the rejected images."""

    records: int
    shards: Tuple[int, ...]
    rejected: Tuple[Rejected, ...]


def dry_run(
    pack: Pack, threads: int, progress: ProgressCallback, on_remark: OnRemark = ignore
) -> DryRun:
    """Convert every image of a pack; the other parameters are those of `write_pack`."""
    rejected: List[Rejected] = []
    shards = [0]
    total = len(pack.images)
    results = in_order(pack.converter(on_remark), range(total), threads)
    for line, (payload, reason) in enumerate(results):
        if reason:
            rejected.append(Rejected(pack.images.paths[line], reason))
        else:
            length = record_length(payload)
            while pack.begins_shard(len(shards) - 1, shards[-1], length, line):
                shards.append(0)
            shards[-1] += length
        progress(line + 1, total, len(rejected))
    shards += [0] * (pack.shards - len(shards))
    return DryRun(total - len(rejected), tuple(shards), tuple(rejected))
