"""A reviewed list applied to a pack: `im2rec --drop FILE --relabel FILE PREFIX NEW`.

The images stay as they are packed, byte for byte; records are left out or get another label.
"""

import contextlib
import os
import struct
from dataclasses import replace
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from imagenet_trainer.data.dataset import Dataset, open_dataset
from imagenet_trainer.data.parts import labels_of
from imagenet_trainer.data.records.lst import ImageList, read_list, write_list
from imagenet_trainer.data.records.manifest import Manifest, Shard, load_manifest, write_manifest
from imagenet_trainer.data.records.record_file import RecordFile
from imagenet_trainer.data.records.record_writer import RecordWriter
from imagenet_trainer.data.records.shard_names import numbered
from imagenet_trainer.data.review import AMBIGUOUS, WRONG, Review, read_reviews
from imagenet_trainer.errors import InputError
from imagenet_trainer.packing.parallel import ProgressCallback
from imagenet_trainer.system.files import file_error, remedy, sha256

# Settings of a pack that say how its labels follow from the list, see `Pack.identity`.
_OF_LISTS_LABELS = ("label_index", "labels_of")


class Changes(NamedTuple):
    """What becomes of the records of a pack."""

    packed: np.ndarray  # int64 (records,): their labels
    labels: np.ndarray  # int64 (records,): the new labels
    kept: np.ndarray  # bool (records,)
    relabelled: int
    unreviewed: int  # rows without a verdict


def apply_reviews(
    prefix: str, new: str, drop: str, relabel: str, progress: ProgressCallback
) -> Changes:
    """Write the pack `new` with the changes of reviewed lists; return them.

    Parameters
    ----------
    prefix, new
        packs, as paths without extension; `new` must not exist.
    drop
        a list: images with the verdict wrong or ambiguous are left out, unless they are relabelled.
    relabel
        a list: images with the verdict wrong and a proposed class get that class.
    progress
        is called with the number of records that are done, of all of them, and 0.

    Raises InputError for a list that is not of this pack, and for files that cannot be written.

    """
    _refuse_existing(new)
    manifest = load_manifest(prefix + ".json")
    dataset = open_dataset(prefix + ".rec")
    with dataset.shards:
        images = read_list(prefix + ".lst") if os.path.exists(prefix + ".lst") else None
        changes = _changes(dataset, images, drop, relabel)
        if not changes.kept.any():
            raise InputError(f"{new}: would have no images; {drop} leaves out all of {prefix}")
        written = _write(dataset, new, changes, progress)
    counts = np.bincount(changes.labels[changes.kept], minlength=manifest.num_classes)
    about: Dict[str, Any] = {
        "of": manifest.fingerprint,
        "relabelled": changes.relabelled, "dropped": int((~changes.kept).sum()),
        **{name: sha256(path) for name, path in (("drop", drop), ("relabel", relabel)) if path},
    }  # fmt: skip
    # The new list has the labels of the records, whatever made these of the old list's labels.
    kept = {key: one for key, one in manifest.settings.items() if key not in _OF_LISTS_LABELS}
    settings = {**kept, "reviewed": about}
    result = replace(
        manifest, counts=tuple(counts.tolist()), shards=tuple(written), settings=settings
    )
    _finish(new, result, images, changes, dataset)
    return changes


def _refuse_existing(new: str) -> None:
    """InputError if the pack exists, unless an interrupted call has left it without its end."""
    for kind in ("rec", "json"):
        if os.path.exists(f"{new}.{kind}") and not (kind == "json" and _is_unfinished(new)):
            raise InputError(f"{new}.{kind}: exists; give another prefix for the new pack")


def _is_unfinished(new: str) -> bool:
    """Whether the last shard of a manifest still has its temporary name."""
    with contextlib.suppress(InputError):
        last = os.path.join(os.path.dirname(new), load_manifest(f"{new}.json").shards[-1].file)
        return not os.path.exists(last) and os.path.exists(f"{last}.partial")
    return False


def _changes(dataset: Dataset, images: Optional[ImageList], drop: str, relabel: str) -> Changes:
    """The changes that the lists ask for, compared with the records."""
    ids = {id_: label for label, (id_, _) in enumerate(dataset.classes)}
    numbers = {str(label): label for label in range(len(ids))}
    given = labels_of(dataset.shards)
    record_of = _record_of_key(dataset)
    paths = dict(zip(images.paths, images.indices)) if images else {}
    labels, kept = given.copy(), np.ones(len(given), bool)
    changed = np.zeros(len(given), bool)
    unreviewed = 0
    for path, is_drop in ((relabel, False), (drop, True)):
        reviews = read_reviews(path) if path else []
        unreviewed = max(unreviewed, sum(not one.verdict for one in reviews))
        for one in reviews:
            record = _record(one, record_of, paths)
            known = numbers if one.has_numbers else ids
            if known.get(one.given) != given[record]:
                raise InputError(
                    f"{one.where}: the image has the class {dataset.classes[given[record]][0]} in "
                    f"{dataset.path}, not {one.given}: the list is of another pack"
                )
            if is_drop and one.verdict in (WRONG, AMBIGUOUS) and not changed[record]:
                kept[record] = False
            elif not is_drop and one.verdict == WRONG and one.proposed:
                if one.proposed not in known:
                    raise InputError(f"{one.where}: {one.proposed} is not a class of the pack")
                labels[record], changed[record] = known[one.proposed], True
    return Changes(given, labels, kept, int(changed.sum()), unreviewed)


def _record_of_key(dataset: Dataset) -> Dict[int, int]:
    return {key: record for record, key in enumerate(dataset.shards.keys.tolist())}


def _record(one: Review, record_of: Dict[int, int], paths: Dict[str, int]) -> int:
    key = one.key if one.key >= 0 else paths.get(one.file, -1)
    if key not in record_of:
        name = f"key {one.key}" if one.key >= 0 else one.file
        raise InputError(f"{one.where}: the pack has no image {name}: the list is of another pack")
    return record_of[key]


def _write(dataset: Dataset, new: str, changes: Changes, progress: ProgressCallback) -> List[Shard]:
    """Write the shards under temporary names; return their entries of the manifest."""
    files, first, total = dataset.shards.files, 0, len(dataset.shards)
    parts: List[Tuple[RecordFile, np.ndarray]] = []
    for file in files:
        records = np.arange(first, first + len(file))
        first += len(file)
        if changes.kept[records].any():
            parts.append((file, records))
    shards, done = [], 0
    for number, (file, records) in enumerate(parts):
        stem = _stem(new, number, len(parts) if len(files) > 1 else 1)
        try:
            with RecordWriter(f"{stem}.rec.partial", f"{stem}.idx.partial") as writer:
                for place, record in enumerate(records.tolist()):
                    if changes.kept[record]:
                        payload = bytes(file.read(place))
                        label = int(changes.labels[record])
                        writer.write(int(file.keys[place]), _labelled(payload, label))
                    done += 1
                    progress(done, total, 0)
                writer.flush()
                writer.sync()
        except OSError as error:
            raise file_error(f"{stem}.rec", error, remedy(error)) from error
        shards.append(writer.entry(os.path.basename(stem) + ".rec"))
    return shards


def _labelled(payload: bytes, label: int) -> bytes:
    """The payload with this label: float32 in the header, or the only one after it."""
    (count,) = struct.unpack_from("<I", payload)
    at = 24 if count else 4
    if count > 1 or struct.unpack_from("<f", payload, at)[0] == label:
        return payload
    return payload[:at] + struct.pack("<f", label) + payload[at + 4 :]


def _stem(new: str, number: int, total: int) -> str:
    return new if total == 1 else numbered(new, number, total)


def _finish(
    new: str, manifest: Manifest, images: Optional[ImageList], changes: Changes, dataset: Dataset
) -> None:
    """Write the list, rename the shards, and write the manifest before the last name.

    So a pack that lacks anything has no last shard, by which `_is_unfinished` knows it.
    """
    listed = ""  # no list is that of the records
    if images is not None:
        write_list(f"{new}.lst", _lines(images, _record_of_key(dataset), changes))
        listed = sha256(f"{new}.lst")
    manifest = replace(manifest, list_sha256=listed)
    for shard in manifest.shards:
        path = os.path.join(os.path.dirname(new), shard.file)
        _take_name(f"{os.path.splitext(path)[0]}.idx")
        if shard is manifest.shards[-1]:
            write_manifest(f"{new}.json", manifest)
        _take_name(path)


def _take_name(path: str) -> None:
    try:
        os.replace(f"{path}.partial", path)
    except OSError as error:
        raise file_error(path, error, remedy(error)) from error


def _lines(
    images: ImageList, by_key: Dict[int, int], changes: Changes
) -> Sequence[Tuple[int, float, str]]:
    """The lines of the new list; those of rejected images stay, as their classes are packed."""
    records = [by_key.get(key) for key in images.indices]
    packed = {
        labels: changes.packed[record]
        for labels, record in zip(images.labels, records)
        if record is not None
    }
    lines = []
    for key, labels, path, record in zip(images.indices, images.labels, images.paths, records):
        if record is None:
            lines.append((key, float(packed.get(labels, labels[0])), path))
        elif changes.kept[record]:
            lines.append((key, float(changes.labels[record]), path))
    return lines
