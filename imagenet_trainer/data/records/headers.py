"""The labels of all records of a shard, read without their images.

For shards without a manifest: their labels are known only from the records themselves.
"""

from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Iterator, List, Sequence, Tuple

import numpy as np

from imagenet_trainer.data.records.recordio import PART, RecordFile
from imagenet_trainer.data.records.shards import Shards

# What `head` returns: the payload's header (see `recordio`).
_HEADER = np.dtype(
    [("count", "<u4"), ("label", "<f4"), ("low", "<u8"), ("high", "<u8")]
)  # 24 bytes
_THREADS = 8  # a disk reads several positions at once
_CHUNK = 8192
_SAMPLE = 64 << 20  # bytes of images that belong to the digest


def read_headers(file: RecordFile) -> np.ndarray:
    """The headers of all records: a structured array (records,) with `count` and `label`.

    `count` is 0 where `label` is the label; otherwise the record has that many labels. Raises
    RecordError for the first record that is damaged or has no header.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        parts = list(pool.map(lambda part: _read(file, part), _chunks(len(file))))
    return np.frombuffer(b"".join(parts), _HEADER)


def have_images(file: RecordFile, headers: np.ndarray) -> np.ndarray:
    """Which records have more than a header and labels: bool (records,).

    Sets for face recognition begin with such a record, and end with one for each identity.
    """
    return file.sizes != PART.size + _HEADER.itemsize + 4 * headers["count"].astype(np.int64)


def keep_images(shards: Shards) -> Tuple[List[np.ndarray], int]:
    """Leave out the records without an image; return the headers of the others by shard, and how
    many were left out.
    """
    headers = [read_headers(file) for file in shards.files]
    kept = [have_images(file, head) for file, head in zip(shards.files, headers)]
    before = len(shards)
    shards.keep(kept)
    return [head[one] for head, one in zip(headers, kept)], before - len(shards)


def digest(files: Sequence[RecordFile], headers: Sequence[np.ndarray]) -> str:
    """SHA-256 (hexadecimal) over indexes, headers and 64 MiB of the records.

    A dataset up to this size is covered completely; to hash all of a large one takes minutes.
    """
    result = sha256()
    for file, head in zip(files, headers):
        for numbers in (file.keys, file.offsets, np.array([len(file), file.size])):
            result.update(numbers.astype("<i8").tobytes())
        result.update(head.tobytes())
    step = -(-sum(file.size for file in files) // _SAMPLE)
    for file in files:
        for record in range(0, len(file), max(step, 1)):
            result.update(file.raw(record))
    return result.hexdigest()


def _chunks(records: int) -> Iterator[range]:
    return (range(at, min(at + _CHUNK, records)) for at in range(0, records, _CHUNK))


def _read(file: RecordFile, part: range) -> bytes:
    heads: List[bytes] = []
    for record in part:
        head, length = file.head(record, _HEADER.itemsize)
        if len(head) < _HEADER.itemsize:
            raise file.error(record, f"its payload of {length} bytes is not an image with a label")
        heads.append(bytes(head))
    return b"".join(heads)


def first_bad_label(headers: np.ndarray, classes: int) -> int:
    """The first record whose label is not a class of 0 to `classes` - 1; -1 if all are.

    A list of one label is looked at when the record is read.
    """
    label = headers["label"]
    with np.errstate(invalid="ignore"):
        bad = (headers["count"] > 1) | (
            (headers["count"] == 0)
            & ~((label >= 0) & (label < classes) & (label == np.floor(label)))
        )
    return int(bad.argmax()) if bad.any() else -1
