"""Damaged shards rebuilt from the images."""

import contextlib
import os
from collections import deque
from dataclasses import fields
from typing import List, Sequence

from imagenet_trainer.data.records.lst import read_list
from imagenet_trainer.data.records.manifest import Manifest, Shard, load_manifest
from imagenet_trainer.data.records.record_writer import RecordWriter
from imagenet_trainer.errors import InputError
from imagenet_trainer.packing.classes import relabelled_as_packed
from imagenet_trainer.packing.conversion import Conversion
from imagenet_trainer.packing.formats.collection import names_of_classes, open_collection
from imagenet_trainer.packing.parallel import ProgressCallback, in_order
from imagenet_trainer.packing.plan import Pack
from imagenet_trainer.system.files import file_error, remedy, sha256


def open_pack(prefix: str, root: str) -> Pack:
    """The pack of PREFIX, read from its manifest and its list.

    `root` contains the images; "" is the root that was packed. Raises InputError if the manifest or
    the list is missing, or if the list has changed.
    """
    manifest = load_manifest(prefix + ".json")
    if not manifest.list_sha256:
        raise InputError(
            f"{prefix}.json: made by --drop or --relabel from a pack without a list, so its images "
            "are not known; make it from that pack again"
        )
    images = read_list(prefix + ".lst")
    if sha256(prefix + ".lst") != manifest.list_sha256:
        raise InputError(
            f"{prefix}.lst: is not the list that was packed (SHA-256); restore it, or pack again"
        )
    settings = {"restart": "off", **manifest.settings}  # missing in older manifests
    names = [field.name for field in fields(Conversion)]
    try:
        conversion = Conversion(**{name: settings[name] for name in names})
        layout = (int(settings["shards"]), int(settings["shard_bytes"]))
        label_index = int(settings["label_index"]) if "label_index" in settings else None
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{prefix}.json: the setting {error} is missing or invalid; pack again"
        ) from None
    if not conversion.pack_label:
        images = images.with_one_label(label_index or 0)
    collection = open_collection(root or manifest.root)
    labels_of = str(settings.get("labels_of", ""))
    if labels_of:
        named = None if collection is None else names_of_classes(collection, [images])
        images = relabelled_as_packed(prefix, images, manifest.classes, named)
    return Pack(
        prefix, root or manifest.root, images, manifest.classes, conversion, *layout, labels_of,
        label_index=label_index, collection=collection,
    )  # fmt: skip


def repair(pack: Pack, shard: str, threads: int, progress: ProgressCallback) -> int:
    """Rebuild one shard and its index, byte for byte, from its images; return their number.

    The damaged shard is replaced only if the new one has the manifest's SHA-256. Raises InputError
    naming the first image that is missing or has changed.
    """
    manifest = load_manifest(pack.prefix + ".json")
    names = [one.file for one in manifest.shards]
    number = names.index(os.path.basename(shard))
    lines = _lines_of_shard(pack, manifest, number)
    stem = os.path.splitext(shard)[0]
    new = [f"{stem}.{kind}.repair" for kind in ("rec", "idx")]
    try:
        with RecordWriter(new[0], new[1]) as writer:
            results = in_order(pack.converter(), lines, threads)
            for done, (payload, reason) in enumerate(results):
                if reason:
                    raise InputError(
                        f"{pack.root}: {pack.images.paths[lines[done]]}: {reason}; it was packed "
                        f"into {shard}; restore the file, or pack again"
                    )
                writer.write(pack.images.indices[lines[done]], payload)
                progress(done + 1, len(lines), 0)
            writer.flush()
            writer.sync()
        if writer.sha256.hexdigest() != manifest.shards[number].sha256:
            raise _changed(pack, lines, shard, manifest.shards[number], writer)
        os.replace(new[0], shard)
        os.replace(new[1], stem + ".idx")
    except OSError as error:
        raise file_error(
            shard, error, f"{remedy(error)}, then run the same command again"
        ) from error
    finally:
        for path in new:
            with contextlib.suppress(OSError):
                os.unlink(path)
    return len(lines)


def _lines_of_shard(pack: Pack, manifest: Manifest, number: int) -> List[int]:
    rejected = deque(one.path for one in manifest.rejected)
    packed = []
    for line, path in enumerate(pack.images.paths):
        if rejected and rejected[0] == path:
            rejected.popleft()
        else:
            packed.append(line)
    if len(packed) != manifest.records:
        raise InputError(f"{pack.prefix}.json: does not match its list; pack again")
    first = sum(shard.records for shard in manifest.shards[:number])
    return packed[first : first + manifest.shards[number].records]


def _changed(
    pack: Pack, lines: Sequence[int], shard: str, packed: Shard, writer: RecordWriter
) -> InputError:
    pairs = zip(lines, packed.checksums(), writer.checksums)
    changed = [pack.images.paths[line] for line, then, now in pairs if then != now]
    which = f" (first {changed[0]})" if changed else ""
    count = f"{len(changed):,}" if packed.crc32 else "some"  # older manifests have no checksums
    return InputError(
        f"{shard}: cannot be repaired: {count} of its {len(lines):,} images have changed "
        f"since packing{which}, or this version of OpenCV encodes them differently; restore them, "
        f"or remove {pack.prefix}.json and pack again"
    )
