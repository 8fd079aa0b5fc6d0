"""`tools/im2rec.py PREFIX ROOT`: pack a list, or its chunks, and print the result."""

import contextlib
import glob
import os
import re
import signal
import time
from dataclasses import fields, replace
from decimal import Decimal
from typing import Any, Dict, List, Optional, Sequence, Tuple

from imagenet_trainer.config import commands
from imagenet_trainer.data.classes import OtherClasses, read_classes
from imagenet_trainer.data.images import jpeg_restart
from imagenet_trainer.data.images.jpeg_window import HOW_TO_BUILD
from imagenet_trainer.data.records.lst import ImageList, read_list
from imagenet_trainer.data.records.manifest import Manifest, Rejected
from imagenet_trainer.errors import InputError, attributed_to
from imagenet_trainer.packing.classes import PackClasses, classes_of_pack, training_manifest
from imagenet_trainer.packing.console import (
    MOST_LINES,
    ProgressDisplay,
    format_classes,
    format_images,
    format_shards,
)
from imagenet_trainer.packing.conversion import Conversion
from imagenet_trainer.packing.dry_run import dry_run
from imagenet_trainer.packing.formats.collection import (
    Collection,
    names_of_classes,
    open_collection,
    source_of,
)
from imagenet_trainer.packing.im2rec_by_name import proposal
from imagenet_trainer.packing.im2rec_flags import Im2recSettings, check_prefix, check_root
from imagenet_trainer.packing.im2rec_list import write_lists_of_collection
from imagenet_trainer.packing.lists import check_files
from imagenet_trainer.packing.plan import Pack
from imagenet_trainer.packing.write import EmptyShard, TooManyRejected, finished, write_pack
from imagenet_trainer.system.machine import processors
from imagenet_trainer.text import printable

Remarks = List[Tuple[int, str]]  # lines of the list, what the decoder said


def pack_lists(settings: Im2recSettings) -> int:
    """Pack PREFIX.lst, or with --chunks each of its parts; the exit code."""
    _check_flags(settings)
    prefix = settings.prefix
    names = [prefix] if settings.chunks == 1 else [f"{prefix}_{n}" for n in range(settings.chunks)]
    collection = open_collection(settings.root)
    has_list = settings.chunks > 1 or os.path.exists(prefix + ".lst")
    if collection is not None and not has_list and not settings.dry_run:
        write_lists_of_collection(settings, collection)
    check_root(settings.root)
    for name in names:
        if not os.path.exists(name + ".lst"):
            raise _missing_list(name, settings)
    lists = [read_list(name + ".lst") for name in names]
    if not settings.pack_label:
        with attributed_to(f"--label-index {settings.label_index}"):
            lists = [images.with_one_label(settings.label_index or 0) for images in lists]
    named = None if collection is None else names_of_classes(collection, lists)
    found = _classes(prefix, lists, settings.classes_from, named)
    if found.labels_of:
        print(f"{prefix}.lst: labels become those of {settings.classes_from}, by class name")
    rejected = 0
    source = source_of(collection)
    for name, images in zip(names, found.lists):
        rejected += _pack_list(name, images, found, settings, source, collection)
    return 1 if rejected else 0


def _classes(
    prefix: str, lists: Sequence[ImageList], classes_from: str, named: Optional[Dict[int, str]]
) -> PackClasses:
    if classes_from == "none":
        return classes_of_pack(prefix, lists, named=named)
    if classes_from:
        with attributed_to("--classes-from", " "):
            known = read_classes(classes_from)
        try:
            return classes_of_pack(prefix, lists, classes_from, known, named)
        except OtherClasses as error:
            raise InputError(
                f"{prefix}.lst: {error}; list only folders of these classes, or give "
                "--classes-from none to keep the list's own"
            ) from error
    reference = training_manifest(prefix)
    try:
        return classes_of_pack(prefix, lists, reference, named=named)
    except OtherClasses as error:
        raise InputError(
            f"{error}; give --classes-from {reference} to match the classes by name, pack images "
            "of the same classes, or give --classes-from none to keep these"
        ) from error


def _check_flags(settings: Im2recSettings) -> None:
    if settings.shards and settings.shard_size:
        raise InputError("--shards --shard-size: each determines the other; omit one")
    if settings.pack_label and settings.label_index is not None:
        raise InputError("--pack-label --label-index: packs all labels or one; omit one")
    if settings.fast_decode and (settings.center_crop or not settings.resize):
        # The reduced image does not contain the centre square to the pixel.
        raise InputError("--fast-decode: needs --resize and excludes --center-crop; change these")
    if settings.pass_through and (settings.resize or settings.center_crop):
        flag = f"--resize {settings.resize}" if settings.resize else "--center-crop"
        raise InputError(f"--pass-through {flag}: --pass-through does not convert; omit one")
    if settings.restart == "lossless" and not settings.pass_through:
        raise InputError("--restart lossless: is for --pass-through; add it, or omit this flag")
    if settings.restart == "lossless" and not jpeg_restart.available:
        raise InputError(f"--restart lossless: needs a module that is not built; {HOW_TO_BUILD}")
    check_prefix(settings.prefix)


def _missing_list(name: str, settings: Im2recSettings) -> InputError:
    prefix = settings.prefix
    others = sorted(glob.glob(glob.escape(prefix) + "_*.lst"))
    chunks = [path for path in others if re.fullmatch(r"_\d+\.lst", path[len(prefix) :])]
    if chunks and settings.chunks == 1:
        advice = f"{chunks[0]} exists: give --chunks {len(chunks)} to pack the chunks"
    elif others:
        stem = os.path.splitext(others[0])[0]
        advice = f"{others[0]} exists: give the prefix {stem} to pack it"
    else:
        chunked = f"--chunks {settings.chunks} " if settings.chunks > 1 else ""
        advice = f"run first: {commands.PACK} --list --recursive {chunked}{prefix} {settings.root}"
        if not chunked:
            advice = proposal(settings) or advice
    return InputError(f"{name}.lst: no such list; {advice}")


def _pack_list(
    prefix: str,
    images: ImageList,
    found: PackClasses,
    settings: Im2recSettings,
    source: Dict[str, Any],
    collection: Optional[Collection],
) -> int:
    """Pack a list, or with --dry-run report what packing it would do; the rejected images."""
    conversion = Conversion(
        **{field.name: getattr(settings, field.name) for field in fields(Conversion)}
    )
    if conversion.restart == "auto" and (conversion.pass_through or conversion.encoding != ".jpg"):
        conversion = replace(conversion, restart="off")  # the manifest says what was done
    layout = (settings.shards, settings.shard_size)
    pack = Pack(
        prefix, settings.root, images, found.classes, conversion, *layout, found.labels_of,
        source, settings.label_index, collection,
    )  # fmt: skip
    if settings.shards > len(images):
        raise InputError(
            f"--shards {settings.shards}: {prefix}.lst has {format_images(len(images))}; "
            "give a smaller number"
        )
    check_files(prefix + ".lst", settings.root, images, collection)
    manifest = finished(pack)
    remarks: Remarks = []
    if settings.dry_run:
        return _dry_run(pack, settings, manifest is not None, remarks)
    if manifest is not None:
        print(f"{prefix}.rec: up to date, {format_images(manifest.records)}")
    else:
        manifest = _write(pack, settings, remarks)
    _print_remarks(pack, remarks)
    _print_rejected(pack, manifest.records, manifest.rejected, f"; {prefix}.json lists them")
    return len(manifest.rejected)


def _write(pack: Pack, settings: Im2recSettings, remarks: Remarks) -> Manifest:
    rec = pack.prefix + ".rec"
    start = time.monotonic()
    _interrupt_on_sigterm()
    try:
        with ProgressDisplay(rec) as progress:
            manifest = write_pack(
                pack,
                settings.num_thread or processors(),
                max_rejected(settings.max_rejected, len(pack.images)),
                progress,
                lambda message: print(f"{rec}: {message}", flush=True),
                lambda *remark: remarks.append(remark),
            )
    except TooManyRejected as error:
        raise InputError(
            f"{error}; repair them, remove them from the list, or raise --max-rejected "
            f"{settings.max_rejected}, then run the same command again to continue"
        ) from error
    except EmptyShard as error:
        advice = "; give fewer --shards" if settings.shards else "; check the images"
        raise InputError(f"{error}{advice}") from error
    seconds = time.monotonic() - start
    size = sum(shard.bytes for shard in manifest.shards) / 1e6
    of_classes = f" of {format_classes(manifest.num_classes)}" if pack.classes else ""
    sharded = settings.shards or settings.shard_size
    in_shards = f" in {format_shards(len(manifest.shards))}" if sharded else ""
    packed = f"{format_images(manifest.records)}{of_classes}{in_shards}"
    print(f"{rec}: {packed}, {size:,.1f} MB, {seconds:.1f} s")
    return manifest


def _dry_run(pack: Pack, settings: Im2recSettings, is_finished: bool, remarks: Remarks) -> int:
    rec = pack.prefix + ".rec"
    with ProgressDisplay(rec) as progress:
        result = dry_run(
            pack, settings.num_thread or processors(), progress,
            lambda *remark: remarks.append(remark),
        )  # fmt: skip
    size = f"{sum(result.shards) / 1e6:,.1f} MB" + ("; it is up to date" if is_finished else "")
    count, shards = format_images(result.records), format_shards(len(result.shards))
    print(f"{rec}: would contain {count} in {shards}, {size}")
    most = max_rejected(settings.max_rejected, len(pack.images))
    if len(result.rejected) > most:
        print(f"{rec}: packing would stop: --max-rejected allows {format_images(most)}")
    elif 0 in result.shards:
        print(f"{rec}: packing would stop: every image of a shard is rejected")
    _print_remarks(pack, remarks)
    _print_rejected(pack, result.records, result.rejected, "")
    return len(result.rejected)


def _print_remarks(pack: Pack, remarks: Remarks) -> None:
    """Print what the decoder said about images that it could nevertheless decode."""
    for line, remark in sorted(remarks)[:MOST_LINES]:
        print(f"decoded with a remark: {printable(pack.images.paths[line])}: {remark}")
    if len(remarks) > MOST_LINES:
        print(f"{pack.prefix}.rec: {format_images(len(remarks))} decoded with remarks")


def _print_rejected(pack: Pack, records: int, rejected: Sequence[Rejected], listed: str) -> None:
    for one in rejected[:MOST_LINES]:
        print(f"rejected: {printable(one.path)}: {one.reason}")
    if rejected:
        total = records + len(rejected)
        print(f"{pack.prefix}.rec: {len(rejected):,} of {total:,} images rejected{listed}")


def max_rejected(allowed: str, total: int) -> int:
    """The number of images that --max-rejected allows; a share above 0 allows at least one."""
    if not allowed.endswith("%"):
        return int(allowed)
    share = Decimal(allowed[:-1])  # float makes 28 images of 29 % of 100
    return max(int(share * total / 100), 1) if share else 0


def _interrupt_on_sigterm() -> None:
    """Make SIGTERM end packing as Ctrl-C does, so that it can resume."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with contextlib.suppress(ValueError):  # only the main thread may set a handler
        signal.signal(signal.SIGTERM, interrupt)
