"""The command line that packs images: `python tools/im2rec.py`. Flags as in MXNet's tool.

Numbers and OpenCV are imported where they are used, so that --help answers at once.
"""

import contextlib
import glob
import os
import re
import signal
import sys
import time
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, List, Optional, Sequence, Tuple

from imagenet_trainer.config.flags import flag_of, option, parse
from imagenet_trainer.config.values import extensions, integer, number
from imagenet_trainer.data.records.lst import ImageList, read_list
from imagenet_trainer.data.records.manifest import ClassName, Rejected
from imagenet_trainer.errors import InputError, run_command
from imagenet_trainer.packing.classes import classes_of_pack
from imagenet_trainer.packing.console import (
    MOST_LINES,
    Progress,
    classes_told,
    images_told,
    printable,
)
from imagenet_trainer.packing.folders import check_root
from imagenet_trainer.packing.im2rec_checks import COMMAND, CheckSettings, PacksSettings, check
from imagenet_trainer.packing.lists import check_files, make_lists
from imagenet_trainer.system.files import make_folder
from imagenet_trainer.system.machine import processors, silence_opencv

if TYPE_CHECKING:
    from imagenet_trainer.packing.plan import Pack

_NAME = "im2rec"
_DESCRIPTION = (
    "Pack images for training. First `--list --recursive PREFIX ROOT` writes PREFIX.lst, then "
    "`PREFIX ROOT` packs it into PREFIX.rec, PREFIX.idx and the manifest PREFIX.json. Exit codes: "
    "0 done, 1 done but damaged images were left out, 2 not done, 130 interrupted."
)
_INTERPOLATIONS = ("nearest", "linear", "cubic", "area", "lanczos")  # by MXNet's number
_SMALLEST_SHARD = 1 << 20


# --- the flags ---------------------------------------------------------------------------------


def _share_or_count(text: str) -> str:
    if text.endswith("%"):
        number(0, 100)(text[:-1])
    else:
        integer(0)(text)
    return text


def _interpolation(text: str) -> str:
    if text in _INTERPOLATIONS:
        return text
    if text not in map(str, range(len(_INTERPOLATIONS))):
        raise ValueError(f"must be one of {' '.join(_INTERPOLATIONS)}, or its number 0 to 4")
    return _INTERPOLATIONS[int(text)]


def _bytes(text: str) -> int:
    unit = text[-1:].upper()
    power = "KMGT".find(unit) + 1 if unit else 0
    value = int(number(0, 2**40)(text[:-1] if power else text) * 1024**power)
    if 0 < value < _SMALLEST_SHARD:
        raise ValueError("must be 1M or more, as 512M or 1G; 0: one shard")
    return value


@dataclass(frozen=True)
class ListSettings:
    """Flags for making lists."""

    list: bool = option(False, "make the list PREFIX.lst from the folder ROOT instead of packing")
    recursive: bool = option(
        False, "make each folder below ROOT a class; labels follow the sorted folder names"
    )
    flat: bool = option(False, "label all images right in ROOT 0")
    exts: str = option(".jpeg,.jpg,.png", "extensions of image files", extensions, metavar="EXT")
    chunks: int = option(
        1, "parts PREFIX_0, PREFIX_1 ... that the list is cut into; give it when packing too",
        integer(1),
    )  # fmt: skip
    train_ratio: float = option(
        1.0, "below 1: this share goes to PREFIX_train.lst, the rest to PREFIX_val.lst",
        number(0, 1, above=True),
    )  # fmt: skip
    test_ratio: float = option(0.0, "this share goes to PREFIX_test.lst", number(0, 1))
    no_shuffle: bool = option(False, "keep the sorted order")
    seed: int = option(100, "of the shuffle; 100 gives the order of MXNet's tool", integer(0))


@dataclass(frozen=True)
class PackSettings:
    """Flags for packing."""

    resize: int = option(0, "short side in pixels to which images are resized; 0: none", integer(0))
    interp: str = option(
        "linear", "how images are resized: nearest, linear, cubic, area, lanczos, or 0 to 4 as "
        "in MXNet", _interpolation, metavar="NAME",
    )  # fmt: skip
    fast_decode: bool = option(
        False, "decode large JPEGs at 1/2, 1/4 or 1/8 of their size before --resize; faster, the "
        "pixels differ a little",
    )  # fmt: skip
    center_crop: bool = option(False, "cut out the square in the middle, before resizing")
    pass_through: bool = option(False, "pack the files as they are, once they prove decodable")
    quality: int = option(95, "of JPEG 1-100, or compression of PNG 1-9", integer(1, 100))
    encoding: str = option(".jpg", "how images are encoded", choices=(".jpg", ".png"))
    color: int = option(
        1, "1: colour; 0: grey; -1: as the file is, with transparency", choices=(-1, 0, 1)
    )
    pack_label: bool = option(False, "pack all labels of a line, not only the first")
    num_thread: int = option(
        0, "threads; 0: one a processor. The packed bytes do not depend on it", integer(0, 256)
    )
    shards: int = option(
        0, "pack into so many shards, PREFIX-00000-of-00008.rec and so on, with the same number of "
        "images each; 0: one file PREFIX.rec", integer(0, 99_999),
    )  # fmt: skip
    shard_size: int = option(
        0, "pack into shards of at most so many bytes, as 512M or 1G", _bytes, metavar="SIZE"
    )
    dry_run: bool = option(
        False, "write nothing, but read and convert every image and say what would be packed and "
        "what rejected; with --list, what would be listed",
    )  # fmt: skip
    max_pixels: int = option(
        178_956_970, "images of more pixels, by their header, are rejected before they are "
        "decoded", integer(1, 1 << 30),
    )  # fmt: skip
    max_rejected: str = option(
        "0.1%", "damaged images that may be left out, a number or a share of the list",
        _share_or_count,
    )  # fmt: skip
    classes_from: str = option(
        "", "manifest whose classes these images must have; by default the train.json beside "
        "PREFIX, if there is one; none: any classes", metavar="JSON",
    )  # fmt: skip


@dataclass(frozen=True)
class Settings(CheckSettings, PackSettings, ListSettings):
    """Everything that `tools/im2rec.py` takes."""

    prefix: str = option("", "data/train for data/train.lst, .rec, .idx, .json", positional="one")
    root: str = option("", "folder or tar that holds the images", positional="one")


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command line; the exit code is 0, 1 (some images rejected), 2 or 130."""
    words = _join_extensions(sys.argv[1:] if argv is None else argv)
    checks = {flag_of(field.name) for field in fields(CheckSettings)}
    if checks.intersection(words) and not {"--help", "-h"}.intersection(words):
        without_root = parse(PacksSettings, words, _NAME, _DESCRIPTION)
        return run_command(_NAME, lambda: check(without_root))
    settings = parse(Settings, words, _NAME, _DESCRIPTION)
    return run_command(_NAME, lambda: _list(settings) if settings.list else _pack(settings))


def _join_extensions(words: Sequence[str]) -> List[str]:
    """`--exts .jpg .png`, as MXNet's tool has it, as one word `--exts .jpg,.png`."""
    joined: List[str] = []
    for word in words:
        if joined[-2:-1] == ["--exts"] and re.fullmatch(r"\.\w+", word):
            joined[-1] += "," + word
        else:
            joined.append(word)
    return joined


# --- lists -------------------------------------------------------------------------------------


def _list(settings: Settings) -> int:
    if settings.recursive and settings.flat:
        raise InputError("--flat --recursive: one class or a class a folder; leave one away")
    prefix = _checked_prefix(settings.prefix)
    if not settings.dry_run:
        make_folder(os.path.dirname(prefix) or ".")
    rejected: List[Tuple[str, str]] = []
    files, classes = make_lists(
        prefix,
        settings.root,
        recursive=settings.recursive,
        flat=settings.flat,
        extensions=settings.exts.split(","),
        chunks=settings.chunks,
        train_ratio=settings.train_ratio,
        test_ratio=settings.test_ratio,
        seed=settings.seed,
        shuffle=not settings.no_shuffle,
        reject=lambda *reason: rejected.append(reason),
        write=not settings.dry_run,
    )
    for label, (folder, count) in enumerate(classes):
        if label < MOST_LINES or label == len(classes) - 1:
            print(f"class {label}: {printable(folder)}, {images_told(count)}")
        elif label == MOST_LINES:
            print("...")
    for path, reason in rejected[:MOST_LINES]:
        print(f"rejected: {printable(path)}: {reason}")
    for path, count in files:
        print(f"{path}: {images_told(count)}")
    if rejected:
        print(f"{prefix}.lst: {len(rejected):,} not in the list, see above")
    return 1 if rejected else 0


def _checked_prefix(prefix: str) -> str:
    stem, extension = os.path.splitext(prefix)
    if extension in (".lst", ".rec", ".idx", ".json"):
        raise InputError(f"prefix {prefix}: give it without {extension}: {stem}")
    if os.path.isdir(prefix) or not os.path.basename(prefix):
        raise InputError(f"prefix {prefix}: a folder; give its name and the list's, as data/train")
    return prefix


# --- packing -----------------------------------------------------------------------------------


def _pack(settings: Settings) -> int:
    if settings.shards and settings.shard_size:
        raise InputError(
            "--shards and --shard-size: the one follows from the other; leave one away"
        )
    if settings.fast_decode and (settings.center_crop or not settings.resize):
        # At a reduced size the centre can only be cut out to a few of the file's pixels.
        raise InputError("--fast-decode: goes with --resize and without --center-crop")
    if settings.pass_through and (settings.resize or settings.center_crop):
        flag = f"--resize {settings.resize}" if settings.resize else "--center-crop"
        raise InputError(f"--pass-through packs files as they are; leave it or {flag} away")
    prefix = _checked_prefix(settings.prefix)
    names = [prefix] if settings.chunks == 1 else [f"{prefix}_{n}" for n in range(settings.chunks)]
    for name in names:
        if not os.path.exists(name + ".lst"):
            raise _no_list(name, prefix, settings)
    if not os.path.isfile(settings.root):
        check_root(settings.root)
    lists = [read_list(name + ".lst") for name in names]
    classes = classes_of_pack(prefix, lists, settings.classes_from)
    rejected = 0
    for name, images in zip(names, lists):
        rejected += _pack_one(name, images, classes, settings)
    return 1 if rejected else 0


def _no_list(name: str, prefix: str, settings: Settings) -> InputError:
    others = sorted(glob.glob(glob.escape(prefix) + "_*.lst"))
    chunks = [path for path in others if re.fullmatch(r"_\d+\.lst", path[len(prefix) :])]
    if chunks and settings.chunks == 1:
        advice = f"there is {chunks[0]}: give --chunks {len(chunks)} to pack the chunks"
    elif others:
        stem = os.path.splitext(others[0])[0]
        advice = f"there is {others[0]}: give the prefix {stem} to pack it"
    else:
        chunked = f"--chunks {settings.chunks} " if settings.chunks > 1 else ""
        advice = f"run first: {COMMAND} --list --recursive {chunked}{prefix} {settings.root}"
    return InputError(f"{name}.lst: no such list; {advice}")


def _pack_one(
    prefix: str, images: ImageList, classes: Tuple[ClassName, ...], settings: Settings
) -> int:
    """Pack a list, or only say what would be; the number of rejected images."""
    silence_opencv()
    from imagenet_trainer.packing.conversion import Conversion
    from imagenet_trainer.packing.plan import Pack
    from imagenet_trainer.packing.write import finished, write_pack

    conversion = Conversion(
        **{field.name: getattr(settings, field.name) for field in fields(Conversion)}
    )
    layout = (settings.shards, settings.shard_size)
    pack = Pack(prefix, settings.root, images, classes, conversion, *layout)
    listed = f"; {prefix}.json lists them"
    rec = prefix + ".rec"
    if settings.shards > len(images):
        raise InputError(f"--shards {settings.shards}: {prefix}.lst has {images_told(len(images))}")
    check_files(prefix + ".lst", settings.root, images)
    manifest = finished(pack)
    if settings.dry_run:
        return _rehearse(pack, settings, manifest is not None)
    if manifest is not None:
        print(f"{rec}: up to date, {images_told(manifest.records)}")
        return _tell_rejected(prefix, manifest.records, manifest.rejected, listed)
    start = time.monotonic()
    _interrupt_on_sigterm()
    with Progress(rec) as progress:
        manifest = write_pack(
            pack,
            settings.num_thread or processors(),
            _most_rejected(settings.max_rejected, len(images)),
            progress,
            lambda sentence: print(f"{rec}: {sentence}", flush=True),
        )
    seconds = time.monotonic() - start
    size = sum(shard.bytes for shard in manifest.shards) / 1e6
    of_classes = f" of {classes_told(manifest.num_classes)}" if classes else ""
    count = len(manifest.shards)
    sharded = settings.shards or settings.shard_size
    shards = f" in {count} shard{'' if count == 1 else 's'}" if sharded else ""
    packed = f"{images_told(manifest.records)}{of_classes}{shards}"
    print(f"{rec}: {packed}, {size:,.1f} MB, {seconds:.1f} s")
    return _tell_rejected(prefix, manifest.records, manifest.rejected, listed)


def _rehearse(pack: "Pack", settings: Settings, is_finished: bool) -> int:
    from imagenet_trainer.packing.dry_run import rehearse

    rec = pack.prefix + ".rec"
    with Progress(rec) as progress:
        told = rehearse(pack, settings.num_thread or processors(), progress)
    shards = f"{told.shards} shard{'' if told.shards == 1 else 's'}"
    size = f"{told.bytes / 1e6:,.1f} MB" + ("; it is up to date" if is_finished else "")
    print(f"{rec}: would have {images_told(told.records)} in {shards}, {size}")
    most = _most_rejected(settings.max_rejected, len(pack.images))
    if len(told.rejected) > most:
        print(f"{rec}: packing would stop, as --max-rejected allows {most:,} rejected images")
    return _tell_rejected(pack.prefix, told.records, told.rejected, "")


def _tell_rejected(prefix: str, records: int, rejected: Sequence[Rejected], listed: str) -> int:
    for one in rejected[:MOST_LINES]:
        print(f"rejected: {printable(one.path)}: {one.reason}")
    if rejected:
        total = records + len(rejected)
        print(f"{prefix}.rec: {len(rejected):,} of {total:,} images rejected{listed}")
    return len(rejected)


def _most_rejected(allowed: str, total: int) -> int:
    """How many images may be rejected; of a share that is not nothing, one at least."""
    if not allowed.endswith("%"):
        return int(allowed)
    share = float(allowed[:-1]) / 100
    return max(int(share * total), 1) if share else 0


def _interrupt_on_sigterm() -> None:
    """Let SIGTERM end packing as Ctrl-C does, with everything kept for the next time."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with contextlib.suppress(ValueError):  # only the main thread may; others get no signals
        signal.signal(signal.SIGTERM, interrupt)
