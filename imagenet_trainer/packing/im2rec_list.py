"""`tools/im2rec.py --list`: write the list of a folder or a tar and print what is in it."""

import os
import sys
from dataclasses import replace
from typing import Dict, List, Sequence, Tuple, Type

from imagenet_trainer.errors import InputError
from imagenet_trainer.packing.console import MOST_LINES, format_images
from imagenet_trainer.packing.folders import (
    LeftOut,
    NoClassFolders,
    NoImages,
    OnlyFolders,
    StrayImages,
)
from imagenet_trainer.packing.formats.collection import Collection, open_collection
from imagenet_trainer.packing.im2rec_by_name import proposal
from imagenet_trainer.packing.im2rec_flags import Im2recSettings, check_prefix, check_root
from imagenet_trainer.packing.lists import Shares, make_lists, make_lists_of_collection
from imagenet_trainer.text import printable

# What the user can do about a folder of another layout.
_WAYS_OUT: Dict[Type[InputError], str] = {
    NoImages: "give another folder, or other extensions with --exts",
    NoClassFolders: "make a folder for each class, such as {root}/cat/1.jpg, and give --recursive; "
    "or give only --flat to label all images 0",
    OnlyFolders: "give --recursive to make each of them a class",
    StrayImages: "move them away",
}


def write_lists(settings: Im2recSettings) -> int:
    """Write PREFIX.lst, or its parts; the exit code."""
    if settings.recursive and settings.flat:
        raise InputError(
            "--flat --recursive: either all images are one class or each folder is; omit one"
        )
    check_prefix(settings.prefix)
    check_root(settings.root)
    collection = open_collection(settings.root)
    if collection is not None:
        return write_lists_of_collection(settings, collection)
    rejected: List[Tuple[str, str]] = []
    left_out = LeftOut()
    try:
        files, classes = make_lists(
            settings.prefix,
            settings.root,
            recursive=settings.recursive,
            flat=settings.flat,
            extensions=settings.exts.split(","),
            shares=_shares(settings),
            seed=settings.seed,
            shuffle=not settings.no_shuffle,
            reject=lambda *reason: rejected.append(reason),
            left_out=left_out,
            write=not settings.dry_run,
        )
    except tuple(_WAYS_OUT) as error:
        advice = _WAYS_OUT[type(error)].format(root=settings.root)
        if isinstance(error, NoClassFolders):
            advice = proposal(settings) or advice
        raise InputError(f"root {error}; {advice}") from error
    _print_lists(settings, files, classes, rejected)
    if settings.recursive and len(classes) == 1:
        _warn_of_one_class(settings, classes[0][0])
    if left_out.extensions:
        _print_left_out(settings, left_out)
    # With other extensions than the default ones, leaving images out is what was asked for.
    forgotten = left_out.extensions and settings.exts == Im2recSettings().exts
    return 1 if rejected or forgotten else 0


def write_lists_of_collection(settings: Im2recSettings, collection: Collection) -> int:
    """Write PREFIX.lst, or its parts, of a set in the format of another program; the exit code."""
    if settings.flat:
        raise InputError(f"--flat: {settings.root} has labels ({collection.kind}); omit the flag")
    rejected: List[Tuple[str, str]] = []
    files, classes = make_lists_of_collection(
        settings.prefix, collection, _shares(settings), lambda *reason: rejected.append(reason),
        write=not settings.dry_run,
    )  # fmt: skip
    number = len(collection.paths)
    print(f"{settings.root}: {collection.kind}, {number:,} file{'' if number == 1 else 's'}")
    if collection.note:
        print(f"{settings.root}: {collection.note}")
    _print_lists(settings, files, classes, rejected)
    return 1 if rejected else 0


def _shares(settings: Im2recSettings) -> Shares:
    if settings.train_ratio + settings.test_ratio > 1:
        raise InputError(
            f"--train-ratio {settings.train_ratio:g} --test-ratio {settings.test_ratio:g}: "
            "the sum is more than 1; give smaller shares"
        )
    return Shares(settings.chunks, settings.train_ratio, settings.test_ratio)


def _print_lists(
    settings: Im2recSettings,
    files: Sequence[Tuple[str, int]],
    classes: Sequence[Tuple[str, int]],
    rejected: Sequence[Tuple[str, str]],
) -> None:
    for label, (folder, count) in enumerate(classes):
        if label < MOST_LINES or label == len(classes) - 1:
            print(f"class {label}: {printable(folder)}, {format_images(count)}")
        elif label == MOST_LINES:
            print("...")
    for path, reason in rejected[:MOST_LINES]:
        print(f"rejected: {printable(path)}: {reason}")
    for path, count in files:
        print(f"{path}: {format_images(count)}")
    if rejected:
        print(f"{settings.prefix}.lst: {len(rejected):,} files rejected, see above")


def _warn_of_one_class(settings: Im2recSettings, folder: str) -> None:
    inside = replace(settings, root=os.path.join(settings.root, folder))
    advice = proposal(inside) or "give the folder that contains the folders of the classes"
    print(f"all images have one class, {printable(folder)}; {advice}", file=sys.stderr)


def _print_left_out(settings: Im2recSettings, left_out: LeftOut) -> None:
    flag = left_out.flag(settings.exts.split(","))
    advice = f"; to list them give {flag}" if flag else "; rename them to list them"
    print(f"left out: {left_out.describe()}{advice}")
    for folder in sorted(left_out.folders - {""}) if settings.recursive else ():
        print(f"left out: {printable(folder)} is no class: all its images are left out")
