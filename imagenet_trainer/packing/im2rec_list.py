"""`tools/im2rec.py --list`: write the list of a folder or a tar and print what is in it."""

import os
from typing import List, Tuple

from imagenet_trainer.errors import InputError
from imagenet_trainer.packing.console import MOST_LINES, format_images, printable
from imagenet_trainer.packing.folders import NoClassFolders, NoImages, OnlyFolders
from imagenet_trainer.packing.im2rec_flags import Im2recSettings, check_prefix
from imagenet_trainer.packing.lists import TooManyChunks, make_lists
from imagenet_trainer.system.files import make_folder


def write_lists(settings: Im2recSettings) -> int:
    """Write PREFIX.lst, or its parts; the exit code."""
    _check_flags(settings)
    if not settings.dry_run:
        make_folder(os.path.dirname(settings.prefix) or ".")
    rejected: List[Tuple[str, str]] = []
    try:
        files, classes = make_lists(
            settings.prefix,
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
    except TooManyChunks as error:
        raise InputError(f"--chunks {settings.chunks}: {error}; give {error.most}") from None
    except NoImages as error:
        raise InputError(f"{error}; give another folder, or other extensions with --exts") from None
    except NoClassFolders as error:
        raise InputError(
            f"{error}; make a folder for each class, such as {settings.root}/cat/1.jpg, and give "
            "--recursive; or give only --flat to label all images 0"
        ) from None
    except OnlyFolders as error:
        raise InputError(f"{error}; give --recursive to make each of them a class") from None
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
    return 1 if rejected else 0


def _check_flags(settings: Im2recSettings) -> None:
    if settings.recursive and settings.flat:
        raise InputError(
            "--flat --recursive: either all images are one class or each folder is; omit one"
        )
    if settings.train_ratio + settings.test_ratio > 1:
        raise InputError(
            f"--train-ratio {settings.train_ratio:g} --test-ratio {settings.test_ratio:g}: "
            "the sum is more than 1; give smaller shares"
        )
    check_prefix(settings.prefix)
