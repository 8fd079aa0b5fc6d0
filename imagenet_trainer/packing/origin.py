"""Which program wrote shards without a manifest, as far as they show it."""

import os
from typing import Sequence

import numpy as np

from imagenet_trainer.data.records.headers import read_headers
from imagenet_trainer.data.records.lst import read_list
from imagenet_trainer.data.records.record_file import RecordFile
from imagenet_trainer.data.records.sequential import index_of
from imagenet_trainer.errors import InputError


def written_by(paths: Sequence[str]) -> str:
    """The program, for a sentence that ends in "written by". Raises InputError for a damaged shard.

    MXNet's im2rec.py leaves a list with the keys and labels of the records. insightface begins with
    a record that has no image and two labels: the first key of the identities, and their end.
    """
    with RecordFile(paths[0], index_of(paths[0])[0]) as shard:
        first = shard.record(int(np.argmin(shard.offsets)))
        is_64 = first.dtype == "<f8"
        if not first.image and len(first.labels) == 2 and 0 < first.labels[0] <= first.labels[1]:
            return f"a tool of insightface{', with float64 labels' if is_64 else ''}"
        if is_64:
            return "a copy of mxnet.recordio with float64 labels"
        if len(paths) == 1 and _is_list_of(os.path.splitext(paths[0])[0] + ".lst", shard):
            return "MXNet's im2rec.py, or as it does: the list beside it has its keys and labels"
    return "an unknown program"


def _is_list_of(path: str, shard: RecordFile) -> bool:
    try:
        images = read_list(path)
    except InputError:
        return False
    if not np.array_equal(np.array(images.indices, np.int64), shard.keys):
        return False
    labels = np.array([one[0] for one in images.labels], np.float32)
    return np.array_equal(labels, read_headers(shard, 0).labels.astype(np.float32))
