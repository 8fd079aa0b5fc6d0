"""Damaged shards built again from the images."""

import contextlib
import os
from collections import deque
from dataclasses import fields
from typing import List, Sequence

from imagenet_trainer.data.records.lst import read_list
from imagenet_trainer.data.records.manifest import Manifest, Shard, load_manifest
from imagenet_trainer.data.records.record_writer import RecordWriter
from imagenet_trainer.errors import InputError
from imagenet_trainer.packing.conversion import Conversion
from imagenet_trainer.packing.parallel import Progress, in_order
from imagenet_trainer.packing.plan import Pack
from imagenet_trainer.system.files import file_error, remedy, sha256


def open_pack(prefix: str, root: str) -> Pack:
    """What was packed as PREFIX, from its manifest and its list.

    `root` has the images; "" stands for where they were. Raises InputError where the manifest or
    the list is missing, or the list is another one than was packed.
    """
    manifest = load_manifest(prefix + ".json")
    images = read_list(prefix + ".lst")
    if sha256(prefix + ".lst") != manifest.list_sha256:
        raise InputError(
            f"{prefix}.lst: not the list that was packed, by its SHA-256; put that one back, or "
            "pack this one anew"
        )
    settings = manifest.settings
    names = [field.name for field in fields(Conversion)]
    try:
        conversion = Conversion(**{name: settings[name] for name in names})
        layout = (int(settings["shards"]), int(settings["shard_bytes"]))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{prefix}.json: does not say {error}; pack the list anew") from None
    return Pack(
        prefix, root or manifest.root, images, manifest.classes, conversion, *layout
    )  # fmt: skip


def repair(pack: Pack, shard: str, threads: int, progress: Progress) -> None:
    """Build one shard and its index again, byte for byte, from the images of its records.

    The damaged one stays until the new one is proven by the manifest's SHA-256. Raises InputError
    naming the image when one is gone or not the one that was packed.
    """
    manifest = load_manifest(pack.prefix + ".json")
    names = [one.file for one in manifest.shards]
    number = names.index(os.path.basename(shard))
    lines = _lines(pack, manifest, number)
    stem = os.path.splitext(shard)[0]
    new = [f"{stem}.{kind}.repair" for kind in ("rec", "idx")]
    try:
        with RecordWriter(new[0], new[1]) as writer:
            results = in_order(pack.converter(), lines, threads)
            for done, (payload, reason) in enumerate(results):
                if reason:
                    raise InputError(
                        f"{pack.root}: {pack.images.paths[lines[done]]}: {reason}; it was packed "
                        f"into {shard}; put the file back, or pack the list anew"
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
        raise file_error(shard, error, f"{remedy(error)}, then run it again") from error
    finally:
        for path in new:
            with contextlib.suppress(OSError):
                os.unlink(path)


def _lines(pack: Pack, manifest: Manifest, number: int) -> List[int]:
    """The lines of the list that are in a shard."""
    left_out = deque(one.path for one in manifest.rejected)
    packed = []
    for line, path in enumerate(pack.images.paths):
        if left_out and left_out[0] == path:
            left_out.popleft()
        else:
            packed.append(line)
    if len(packed) != manifest.records:
        raise InputError(f"{pack.prefix}.json: does not fit its list; pack the list anew")
    first = sum(shard.records for shard in manifest.shards[:number])
    return packed[first : first + manifest.shards[number].records]


def _changed(
    pack: Pack, lines: Sequence[int], shard: str, told: Shard, writer: RecordWriter
) -> InputError:
    pairs = zip(lines, told.checksums(), writer.checksums)
    changed = [pack.images.paths[line] for line, then, now in pairs if then != now]
    which = f" (first {changed[0]})" if changed else ""
    return InputError(
        f"{shard}: cannot be repaired, {len(changed):,} of its {len(lines):,} images are not "
        f"those that were packed{which}, or this OpenCV encodes them otherwise; put them back, or "
        f"remove {pack.prefix}.json and pack the list anew"
    )
