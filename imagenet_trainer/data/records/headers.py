"""The labels of all records of a shard, read without their images."""

import math
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from imagenet_trainer.data.records.label_vectors import LabelSummary, summary_of
from imagenet_trainer.data.records.listed_labels import announce, listed_labels
from imagenet_trainer.data.records.record_file import RecordFile
from imagenet_trainer.data.records.recordio import HEADER, HEADER_64, unpack_header
from imagenet_trainer.data.records.shards import Shards
from imagenet_trainer.errors import InputError

# What `head` returns: the payload's header (see `recordio`).
_HEADER = np.dtype(
    [("count", "<u4"), ("label", "<f4"), ("low", "<u8"), ("high", "<u8")]
)  # 24 bytes
_FIRST_BYTES = HEADER_64.size + 12  # of a payload; enough to recognise an image after a header
_THREADS = 16  # a disk reads several positions at once, a storage answers several requests
_CHUNK = 8192
_SAMPLE = 64 << 20  # bytes of images that belong to the digest


class Headers(NamedTuple):
    """The headers of records.

    Attributes
    ----------
    raw
        the first 24 bytes of each payload, (records,) of `_HEADER`.
    labels
        the label, or the one that was asked for; NaN where it is not there, float64 (records,).
    have_images
        whether something follows the labels, bool (records,).
    summary
        what decides how several labels are read, if that was asked for.

    """

    raw: np.ndarray
    labels: np.ndarray
    have_images: np.ndarray
    summary: Optional[LabelSummary] = None

    def of(self, records: np.ndarray) -> "Headers":
        """Those of some records, bool (records,)."""
        columns = (self.raw[records], self.labels[records], self.have_images[records])
        summary = self.summary and LabelSummary(*(column[records] for column in self.summary))
        return Headers(*columns, summary)


def read_headers(
    file: RecordFile, label_index: Optional[int] = None, summarise: bool = False
) -> Headers:
    """The headers of all records; RecordError for the first that is damaged or has none.

    `label_index` selects one of several labels; None: a record with several has none. `summarise`
    asks for the summary of all labels.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        parts = [
            *pool.map(lambda part: _read(file, part, label_index, summarise), _chunks(len(file)))
        ]
    raw = np.frombuffer(b"".join(heads for heads, _, _ in parts), _HEADER)
    rows = [row for _, rows, _ in parts for row in rows]
    labels, images = np.array(rows, float).reshape(-1, 2).T  # of no record either
    summaries = [summary for _, _, summary in parts if summary]
    return Headers(raw, labels, images.astype(bool), _joined(summaries) if summaries else None)


def read_labels(shards: Shards, label_index: Optional[int] = None) -> np.ndarray:
    """The labels of all records, as `Headers.labels`; `label_index` and errors as `read_headers`.

    From an object storage only if no list beside the shards has them.
    """
    known = shards.labels
    if known is not None and not np.isnan(known).any() and label_index == (shards.label_index or 0):
        return known
    listed = listed_labels(shards)
    if listed is None:
        return np.concatenate([read_headers(file, label_index).labels for file in shards.files])
    return np.array([_label_of(labels, label_index) for labels in listed])


def read_summary(shards: Shards) -> LabelSummary:
    """What decides how the labels of all records are read; RecordError for a damaged record."""
    if shards.label_summary is not None:
        return shards.label_summary
    listed = listed_labels(shards)
    if listed is not None:
        return summary_of(listed)
    parts = [read_headers(file, summarise=True).summary for file in shards.files]
    return _joined([part for part in parts if part])


def keep_images(shards: Shards, summarise: bool = False) -> Tuple[List[Headers], int]:
    """Leave out the records without an image; return the headers of the others by shard, and how
    many were left out. InputError if none is left.

    Sets for face recognition begin with such a record, and end with one for each identity.
    `read_labels` then has nothing more to read, unless records have several labels; with
    `summarise`, `read_summary` neither.
    """
    announce(shards)
    headers = [read_headers(file, shards.label_index, summarise) for file in shards.files]
    before = len(shards)
    shards.keep([head.have_images for head in headers])
    if not len(shards):
        raise InputError(f"{shards.files[0].path}: none of its {before:,} records has an image")
    kept = [head.of(head.have_images) for head in headers]
    shards.labels = np.concatenate([head.labels for head in kept])
    if summarise:
        shards.label_summary = _joined([head.summary for head in kept if head.summary])
    return kept, before - len(shards)


def _joined(parts: Sequence[LabelSummary]) -> LabelSummary:
    return LabelSummary(*map(np.concatenate, zip(*parts)))


def digest(files: Sequence[RecordFile], headers: Sequence[Headers]) -> str:
    """SHA-256 (hexadecimal) over indexes, headers and 64 MiB of the records.

    A dataset up to this size is covered completely; to hash all of a large one takes minutes.
    """
    result = sha256()
    for file, head in zip(files, headers):
        for numbers in (file.keys, file.offsets, np.array([len(file), file.size])):
            result.update(numbers.astype("<i8").tobytes())
        result.update(head.raw.tobytes())
    step = -(-sum(file.size for file in files) // _SAMPLE)
    for file in files:
        for record in range(0, len(file), max(step, 1)):
            result.update(file.raw(record))
    return result.hexdigest()


def _chunks(records: int) -> Iterator[range]:
    return (range(at, min(at + _CHUNK, records)) for at in range(0, records, _CHUNK))


def _read(
    file: RecordFile, part: range, label_index: Optional[int], summarise: bool
) -> Tuple[bytes, List[Tuple[float, bool]], Optional[LabelSummary]]:
    """The headers of records, and of each: its label, whether it has an image; the summary."""
    heads: List[bytes] = []
    all_labels: List[Tuple[float, ...]] = []
    rows: List[Tuple[float, bool]] = []
    for record in part:
        head, labels, has_image = _header(file, record)
        heads.append(bytes(head[: _HEADER.itemsize]))
        rows.append((_label_of(labels, label_index), has_image))
        if summarise:
            all_labels.append(labels)
    return b"".join(heads), rows, summary_of(all_labels) if summarise else None


def _label_of(labels: Sequence[float], label_index: Optional[int]) -> float:
    index = label_index or 0
    is_known = index < len(labels) and (label_index is not None or len(labels) == 1)
    return labels[index] if is_known else math.nan


def _header(file: RecordFile, record: int) -> Tuple[memoryview, Tuple[float, ...], bool]:
    """The first bytes of a record's payload, its labels, and whether it has an image."""
    head, length = file.head(record, _FIRST_BYTES)
    if len(head) < _HEADER.itemsize:
        raise file.error(record, f"its payload of {length} bytes is not an image with a label")
    count = HEADER.unpack_from(head)[0]
    if count and count <= length // 4:  # the image begins further on
        head, _ = file.head(record, _FIRST_BYTES + 8 * count)
    try:
        labels, _, start, _ = unpack_header(head, length)
    except ValueError as error:
        raise file.error(record, str(error)) from error
    return head, labels, length > start


def first_bad_label(labels: np.ndarray, classes: int) -> int:
    """The first record whose label, float64 (records,), is not a class of 0 to `classes` - 1.

    -1 if all are.
    """
    with np.errstate(invalid="ignore"):
        bad = ~((labels >= 0) & (labels < classes) & (labels == np.floor(labels)))
    return int(bad.argmax()) if bad.any() else -1
