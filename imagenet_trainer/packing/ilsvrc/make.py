"""Making the lists of `tools/imagenet.py`: read, check, choose, write, and print each step."""

import difflib
import os
import random
import shlex
import sys
from typing import Dict, Iterator, List, Optional, Sequence, Tuple, Type

from imagenet_trainer.config import commands
from imagenet_trainer.data.records.lst import write_list
from imagenet_trainer.data.records.manifest import known_synsets
from imagenet_trainer.errors import InputError
from imagenet_trainer.packing.classes import CLASSES, read_class_ids, write_classes
from imagenet_trainer.packing.console import format_classes, format_images
from imagenet_trainer.packing.folders import NoClassFolders, NoImages
from imagenet_trainer.packing.ilsvrc import layout, splits
from imagenet_trainer.packing.ilsvrc.devkit import read_blacklist
from imagenet_trainer.packing.ilsvrc.flags import ImagenetSettings
from imagenet_trainer.packing.ilsvrc.labelled import Classes, size, stem, take_out
from imagenet_trainer.packing.ilsvrc.overlap import shared_images
from imagenet_trainer.system.files import make_folder
from imagenet_trainer.text import printable

# Advice for the errors of modules that are independent of the flags.
_WAYS_OUT: Dict[Type[InputError], str] = {
    NoImages: "give the folder that contains them, or other file extensions with --exts",
    NoClassFolders: (
        "give each class a folder, such as cat/1.jpg and dog/1.jpg; or give --label-pattern if "
        "file names contain the class, or --train if the images are elsewhere"
    ),
    splits.NoPatternMatch: "move such files away, or change --label-pattern",
    splits.NoLabels: "give --val-labels with ILSVRC2012_devkit_t12.tar.gz or LOC_val_solution.csv",
    splits.ConflictingLabels: "select the right one with --val-labels",
}


def make(
    settings: ImagenetSettings, naming: Optional[splits.Naming] = None, show_next: bool = True
) -> int:
    """Make the lists, and print the commands that pack them if `show_next`; the exit code.

    `naming` is that of the settings, unless images were looked for before.
    """
    naming = naming or splits.Naming(settings.exts.split(","), settings.label_pattern)
    try:
        warnings = _make(settings, naming, show_next)
    except tuple(_WAYS_OUT) as error:
        raise InputError(f"{error}; {_WAYS_OUT[type(error)]}") from error
    for warning in warnings:
        print(f"imagenet: warning: {printable(warning)}", file=sys.stderr)
    return 1 if warnings else 0


def _make(settings: ImagenetSettings, naming: splits.Naming, show_next: bool) -> List[str]:
    """Make the lists; the warnings."""
    _check_paths(settings)
    parts = layout.find_parts(settings.root, settings.train, settings.val, settings.val_labels)
    _check_flags(settings, parts)
    train = _read_train(parts.train, naming) if parts.train else {}
    val = _read_val(parts.val, naming, parts.labels) if parts.val else {}
    test, test_images = _read_test(parts.test, naming, train or val) if parts.test else ({}, None)
    warnings = [*_warnings(train, val, test_images), *_overlaps(parts, train, val, test)]
    if naming.left_out.extensions and settings.exts == ImagenetSettings().exts:
        flag = naming.left_out.flag(naming.extensions)
        advice = f"give {flag}" if flag else "rename them"
        warnings.append(f"left out: {naming.left_out.describe()}; {advice}")
    classes = _choose_classes(settings, train or val)
    if train and not settings.classes:
        _check_validation_classes(parts, train, val)
    train, val, test = (
        {name: of[name] for name in classes if name in of} for of in (train, val, test)
    )
    val = _without_blacklist(settings, val)
    sets, more = _split(settings, train, val, test)
    warnings += more
    if parts.val or "val" in sets:
        warnings += layout.balance_warnings(sets.get("train", {}), sets.get("val", {}))
    roots = {"train": parts.train, "val": parts.val or parts.train, "test": parts.train}
    if test:
        roots["test"] = parts.test
    warnings += _write(settings, sets, classes, roots)
    if show_next:
        _print_next_commands(settings, roots, sets)
    return warnings


def _check_paths(settings: ImagenetSettings) -> None:
    for flag, path in (
        ("root", settings.root),
        ("--train", settings.train),
        ("--val", settings.val),
        ("--val-labels", settings.val_labels),
        ("--blacklist", settings.blacklist),
    ):
        is_none = path == layout.NONE and flag in ("--train", "--val")
        if path and not is_none and not os.path.exists(path):
            raise InputError(f"{flag} {path}: no such folder or file")


def _check_flags(settings: ImagenetSettings, parts: layout.Parts) -> None:
    if not parts.train and not parts.val:
        raise InputError("--train none: there are no validation images either; give --val")
    if layout.are_nested(parts.train, parts.val):
        raise InputError(
            f"--train {parts.train} --val {parts.val}: one contains the other, so the sets share "
            "images; give separate folders, or --val none with --val-per-class"
        )
    split = settings.val_per_class or settings.val_ratio
    flag = "--val-per-class" if settings.val_per_class else "--val-ratio"
    if settings.val_per_class and settings.val_ratio:
        raise InputError("--val-per-class --val-ratio: both set the same share; omit one")
    if split and not parts.train:
        raise InputError(f"{flag}: needs training images to take out; give --train")
    if split and parts.val:
        raise InputError(
            f"{flag}: there are validation images in {parts.val}; omit {flag}, or give --val none"
        )
    if not split and not parts.val and settings.val != layout.NONE:
        raise InputError(
            f"root {settings.root}: there are no validation images; give --val with their folder, "
            "--val-per-class 50 to take them out of training, or --val none"
        )


# --- reading -----------------------------------------------------------------------------------


def _read_train(root: str, naming: splits.Naming) -> Classes:
    print(f"train: {printable(root)}", flush=True)
    images = naming.group(root, naming.images(root))
    print(f"train: {_format_counts(images)}", flush=True)
    return images


def _read_val(root: str, naming: splits.Naming, labels: Sequence[str]) -> Classes:
    print(f"val: {printable(root)}", flush=True)
    images = splits.read_val(root, naming, labels)
    source = f", labels from {' and '.join(labels)}" if labels else ""
    print(f"val: {_format_counts(images)}{printable(source)}", flush=True)
    return images


def _read_test(root: str, naming: splits.Naming, known: Classes) -> Tuple[Classes, Optional[int]]:
    """The test images of the dataset by class; or, if they have no classes, their number."""
    try:
        images, unlabelled = splits.read_test(root, naming, known)
    except InputError as error:  # the other lists do not need them
        print(f"test: not used: {printable(str(error))}")
        return {}, None
    if images:
        print(f"test: {printable(root)}: {_format_counts(images)}; training keeps all its images")
    elif unlabelled:
        print(f"test: {printable(root)}: {format_images(unlabelled)} without labels, not listed")
    return images, unlabelled


def _warnings(train: Classes, val: Classes, test_images: Optional[int]) -> List[str]:
    classes = list(train or val)
    warnings = list(layout.class_warnings(classes))
    foreign = layout.foreign_classes(classes)
    if foreign:
        names = layout.abbreviate(foreign)
        warnings.append(f"not in ILSVRC2012: {names}; remove them, or choose with --classes")
    warnings += [*layout.name_warnings(train), *layout.count_warnings(train, val)]
    if layout.is_complete(list(train)) and test_images not in (None, layout.TEST_IMAGES):
        warnings.append(f"test: {test_images:,} images, but ILSVRC2012 has 100,000")
    return warnings


def _overlaps(parts: layout.Parts, train: Classes, val: Classes, test: Classes) -> Iterator[str]:
    """A warning for each pair of sets that share images."""
    sets = {"train": (parts.train, train), "val": (parts.val, val), "test": (parts.test, test)}
    for one, other in (("val", "train"), ("test", "train"), ("test", "val")):
        shared = shared_images(*sets[one], *sets[other])
        if shared:
            yield (
                f"{one}: contains {format_images(len(shared))} of {other} (same name and bytes): "
                f"{layout.abbreviate(shared)}; remove them from one of the two"
            )


# --- choosing ----------------------------------------------------------------------------------


def _choose_classes(settings: ImagenetSettings, images: Classes) -> List[str]:
    """The classes to keep, in the order of their labels."""
    if not settings.classes:
        _print_classes(list(images))
        return list(images)
    if os.path.isfile(settings.classes):
        wanted = read_class_ids(settings.classes)
    else:
        wanted = [name.strip() for name in settings.classes.split(",") if name.strip()]
    for name in wanted:
        if name not in images:
            near = difflib.get_close_matches(name, images, 1)
            hint = "; omit it" if len(wanted) > 1 else ", and no file with this name"
            hint = f"; did you mean {near[0]}?" if near else hint
            raise InputError(f"--classes {settings.classes}: no images of class {name}{hint}")
    if not wanted:
        raise InputError(f"--classes {settings.classes}: names no class; omit it to keep all")
    chosen = [name for name in images if name in set(wanted)]
    _print_classes(chosen)
    return chosen


def _print_classes(classes: Sequence[str]) -> None:
    known = sum(name in known_synsets() for name in classes)
    of_known = f", {known:,} of them in ILSVRC2012" if known else ""
    first, last = printable(_title(classes[0])), printable(_title(classes[-1]))
    print(f"classes: {len(classes):,}{of_known}, from 0 {first} to {len(classes) - 1:,} {last}")


def _title(name: str) -> str:
    known = known_synsets().get(name)
    return f"{name} {known}" if known else name


def _check_validation_classes(parts: layout.Parts, train: Classes, val: Classes) -> None:
    unknown = [name for name in val if name not in train]
    if unknown:
        raise InputError(
            f"{parts.val}: class {unknown[0]} ({len(unknown):,} in all) is not among the "
            f"{len(train):,} classes of {parts.train}; add its images there, or choose classes "
            "with --classes"
        )


def _without_blacklist(settings: ImagenetSettings, val: Classes) -> Classes:
    if not settings.blacklist:
        return val
    names = read_blacklist(settings.blacklist)
    left = {one: [path for path in paths if stem(path) not in names] for one, paths in val.items()}
    excluded = size(val) - size(left)
    if not excluded:
        raise InputError(
            f"--blacklist {settings.blacklist}: contains no image of the validation set, whose "
            "names should be like ILSVRC2012_val_00000001.JPEG; omit the flag"
        )
    print(f"val: {format_images(excluded)} of {printable(settings.blacklist)} excluded")
    return left


def _split(
    settings: ImagenetSettings, train: Classes, val: Classes, test: Classes
) -> Tuple[Dict[str, Classes], List[str]]:
    """The images of each list by its name, and warnings."""
    sets, warnings = {}, []
    if test:
        sets["test"] = test
    elif train and settings.test_per_class:
        sets["test"], train = _take(train, "--test-per-class", settings.test_per_class, settings)
    if settings.val_per_class:
        val, train = _take(train, "--val-per-class", settings.val_per_class, settings)
    elif settings.val_ratio:
        # A class keeps an image for training.
        share = settings.val_ratio
        val, train = take_out(train, lambda n: min(round(n * share), n - 1), settings.seed)
        if not size(val):
            raise InputError(f"--val-ratio {share:g}: is no image of a class; give a larger one")
    if settings.per_class:
        few = [name for name, paths in train.items() if len(paths) < settings.per_class]
        train, _ = take_out(train, lambda _: settings.per_class, settings.seed)
        if few:
            warnings.append(
                f"--per-class {settings.per_class}: {len(few):,} classes have fewer images, "
                f"{few[0]} {len(train[few[0]]):,}"
            )
    sets.update({name: one for name, one in (("val", val), ("train", train)) if size(one)})
    return sets, warnings


def _take(
    train: Classes, flag: str, number: int, settings: ImagenetSettings
) -> Tuple[Classes, Classes]:
    for name, paths in train.items():
        if len(paths) <= number:
            raise InputError(
                f"{flag} {number}: class {name} has only {len(paths):,} training images left; "
                "give a smaller number"
            )
    return take_out(train, lambda _: number, settings.seed)


# --- writing -----------------------------------------------------------------------------------


def _write(
    settings: ImagenetSettings,
    sets: Dict[str, Classes],
    classes: Sequence[str],
    roots: Dict[str, str],
) -> List[str]:
    """Write the lists and classes.txt; warnings about lists of an earlier run."""
    if not settings.dry_run:
        make_folder(settings.out)
    for name in ("train", "val", "test"):
        if name not in sets:
            continue
        path = os.path.join(settings.out, f"{name}.lst")
        lines = _lines(settings, sets[name], classes)
        if not settings.dry_run:
            write_list(path, lines)
        origin = (
            f", taken out of training with seed {settings.seed}"
            if name != "train" and roots[name] == roots["train"]
            else ""
        )
        print(f"{path}: {_would(settings)}{_format_counts(sets[name])}{origin}")
    path = os.path.join(settings.out, CLASSES)
    if not settings.dry_run:
        write_classes(path, classes)
    print(f"{path}: {_would(settings)}{format_classes(len(classes))}")
    others = (os.path.join(settings.out, f"{name}.lst") for name in ("train", "val", "test"))
    return [
        f"{path}: is from an earlier run and may share images with the new lists; remove it"
        for path in others
        if os.path.exists(path) and stem(path) not in sets
    ]


def _lines(
    settings: ImagenetSettings, images: Classes, classes: Sequence[str]
) -> List[Tuple[int, float, str]]:
    label = {name: float(number) for number, name in enumerate(classes)}
    pairs = [(label[name], path) for name, paths in images.items() for path in paths]
    lines = [(index, *pair) for index, pair in enumerate(pairs)]
    if not settings.no_shuffle:
        random.Random(settings.seed).shuffle(lines)
    return lines


def _would(settings: ImagenetSettings) -> str:
    return "would contain " if settings.dry_run else ""


def _print_next_commands(
    settings: ImagenetSettings, roots: Dict[str, str], sets: Dict[str, Classes]
) -> None:
    print("To pack them, run")
    for name, root in roots.items():
        if name in sets:
            prefix = os.path.join(settings.out, name)
            print(printable(shlex.join([*commands.PACK.split(), prefix, root])))


def _format_counts(images: Classes) -> str:
    counts = sorted(map(len, images.values()))
    if counts[0] == counts[-1]:
        each = f"{counts[0]:,}"
    else:
        each = f"{counts[0]:,} to {counts[-1]:,}"
    return f"{format_images(sum(counts))} of {format_classes(len(counts))}, {each} in each"
