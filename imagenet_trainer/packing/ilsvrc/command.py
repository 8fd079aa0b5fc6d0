"""The command line that makes lists: `python tools/imagenet.py`, from ILSVRC2012 or any images.

What takes time to load is imported where it is used, so that --help answers at once.
"""

import difflib
import os
import random
import re
import shlex
import sys
from dataclasses import dataclass
from typing import Dict, Iterator, List, Optional, Sequence, Tuple

from imagenet_trainer.config.flags import option, parse
from imagenet_trainer.config.values import extensions, integer, number
from imagenet_trainer.data.records.lst import write_list
from imagenet_trainer.data.records.manifest import known_synsets
from imagenet_trainer.errors import InputError, run_command
from imagenet_trainer.packing.classes import read_classes, write_classes
from imagenet_trainer.packing.console import classes_told, images_told
from imagenet_trainer.packing.ilsvrc import layout as ilsvrc
from imagenet_trainer.packing.ilsvrc import splits
from imagenet_trainer.packing.ilsvrc.devkit import read_blacklist
from imagenet_trainer.packing.ilsvrc.labelled import Classes, size, stem, take_out
from imagenet_trainer.packing.ilsvrc.overlap import shared_images
from imagenet_trainer.system.files import make_folder

_NAME = "imagenet"
_DESCRIPTION = (
    "Make train.lst, val.lst and test.lst from ILSVRC2012 as image-net.org or Kaggle hands it out, "
    "or from any folders of images. Tars are read without unpacking them. Exit codes: 0 done, "
    "1 done with warnings, 2 not done, 130 interrupted."
)


# --- the flags ---------------------------------------------------------------------------------


def _pattern(text: str) -> str:
    try:
        groups = re.compile(text).groups
    except re.error as error:
        raise ValueError(f"must be a regular expression ({error})") from None
    if text and groups != 1:
        raise ValueError("must have one group in parentheses, the class")
    return text


@dataclass(frozen=True)
class Settings:
    """Everything that `tools/imagenet.py` takes."""

    out: str = option("", "folder for the lists, such as data", positional="one")
    root: str = option("", "folder in which the data set lies", positional="one")
    train: str = option(
        "", "training images, a folder or a tar, where they have no usual name in root; "
        "none: make no training list", metavar="PATH",
    )  # fmt: skip
    val: str = option("", "validation images, likewise", metavar="PATH")
    val_labels: str = option(
        "", "classes of validation images that lie in no class folders: the devkit (.tar.gz or "
        "folder), its ground truth beside its meta.mat, or LOC_val_solution.csv", metavar="PATH",
    )  # fmt: skip
    blacklist: str = option(
        "", "file with numbers of validation images to leave out, one a line", metavar="FILE"
    )
    label_pattern: str = option(
        "", r"regular expression whose group is the class in a path, e.g. '^(\w+)\.' for "
        "cat.123.jpg; by default folders are classes", _pattern, metavar="REGEX",
    )  # fmt: skip
    exts: str = option(".jpeg,.jpg,.png", "extensions of image files", extensions, metavar="EXT")
    test_per_class: int = option(
        50, "images a class that are taken out of training as test.lst; 0: no test.lst",
        integer(0),
    )  # fmt: skip
    val_per_class: int = option(
        0, "images a class that are taken out of training as val.lst, where there are no others",
        integer(0),
    )  # fmt: skip
    val_ratio: float = option(0.0, "the same as a share of each class", number(0, 0.9))
    classes: str = option(
        "", "keep these only: ids with commas between them, or a file with one a line",
        metavar="LIST",
    )  # fmt: skip
    per_class: int = option(
        0, "training images a class that are kept; 0: all. test.lst and val.lst stay the same",
        integer(0),
    )  # fmt: skip
    seed: int = option(100, "of every choice of images and of the order of lines", integer(0))
    no_shuffle: bool = option(False, "keep the order of the folders, or of a tar")
    dry_run: bool = option(False, "check everything, say what would be written, write nothing")


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command line; the exit code is 0, 1 (with warnings), 2 or 130."""
    settings = parse(Settings, argv, _NAME, _DESCRIPTION)
    return run_command(_NAME, lambda: _make(settings))


def _make(settings: Settings) -> int:
    parts = ilsvrc.find_parts(settings.root, settings.train, settings.val, settings.val_labels)
    _check_flags(settings, parts)
    naming = splits.Naming(settings.exts.split(","), settings.label_pattern)
    train = _training(parts.train, naming) if parts.train else {}
    val = _validation(parts.val, naming, parts.labels) if parts.val else {}
    test, test_images = _other_test(parts.test, naming, train or val)
    warnings = [*_warnings(train, val, test_images), *_overlaps(parts, train, val, test)]
    classes = _classes(settings, train or val)
    if train and not settings.classes:
        _check_validation_classes(parts, train, val)
    train, val, test = (
        {name: of[name] for name in classes if name in of} for of in (train, val, test)
    )
    val = _without_blacklist(settings, val)
    sets, more = _cut(settings, train, val, test)
    warnings += more + list(ilsvrc.about_balance(sets.get("train", {}), sets.get("val", {})))
    roots = {"train": parts.train, "val": parts.val or parts.train, "test": parts.train}
    if test:
        roots["test"] = parts.test
    warnings += _write(settings, sets, classes, roots)
    _tell_next(settings, roots, sets)
    for warning in warnings:
        print(f"{_NAME}: warning: {_printable(warning)}", file=sys.stderr)
    return 1 if warnings else 0


def _check_flags(settings: Settings, parts: ilsvrc.Parts) -> None:
    ilsvrc.check_apart(parts.train, parts.val)
    if settings.blacklist and not os.path.exists(settings.blacklist):
        raise InputError(f"--blacklist {settings.blacklist}: no such file")
    split = settings.val_per_class or settings.val_ratio
    flag = "--val-per-class" if settings.val_per_class else "--val-ratio"
    if settings.val_per_class and settings.val_ratio:
        raise InputError("--val-per-class --val-ratio: two ways to say one thing; leave one away")
    if split and not parts.train:
        raise InputError(f"{flag}: there is no training set to take images out of; give --train")
    if split and parts.val:
        raise InputError(
            f"{flag}: there are validation images in {parts.val}; leave the flag away, or give "
            "--val none"
        )
    if not split and not parts.val and settings.val != ilsvrc.NONE:
        raise InputError(
            f"root {settings.root}: no validation images found; give --val with their place, or "
            "--val-per-class 50 to take them out of training, or --val none"
        )


# --- reading -----------------------------------------------------------------------------------


def _training(root: str, naming: splits.Naming) -> Classes:
    print(f"train: {_printable(root)}", flush=True)
    found = splits.read_train(root, naming)
    print(f"train: {_images_of(found)}", flush=True)
    return found


def _validation(root: str, naming: splits.Naming, labels: Sequence[str]) -> Classes:
    print(f"val: {_printable(root)}", flush=True)
    found = splits.read_val(root, naming, labels)
    source = f", labels from {' and '.join(labels)}" if labels else ""
    print(f"val: {_images_of(found)}{_printable(source)}", flush=True)
    return found


def _other_test(root: str, naming: splits.Naming, known: Classes) -> Tuple[Classes, Optional[int]]:
    """The test images that came with the set: by class where they have one, or how many."""
    found, unlabelled = splits.read_test(root, naming, known)
    if found:
        print(f"test: {_printable(root)}: {_images_of(found)}; none are taken out of training")
    elif unlabelled:
        print(f"test: {_printable(root)}: {unlabelled:,} images, not listed: they have no labels")
    return found, unlabelled


def _warnings(train: Classes, val: Classes, test_images: Optional[int]) -> List[str]:
    found = [*ilsvrc.about_classes(list(train or val)), *ilsvrc.about_names(train)]
    found += ilsvrc.about_numbers(train, val)
    if ilsvrc.is_whole(list(train)) and test_images not in (None, ilsvrc.TEST_IMAGES):
        found.append(f"test: {test_images:,} images, but ILSVRC2012 has 100,000")
    return found


def _overlaps(parts: ilsvrc.Parts, train: Classes, val: Classes, test: Classes) -> Iterator[str]:
    """A warning for each two sets that share images."""
    sets = {"train": (parts.train, train), "val": (parts.val, val), "test": (parts.test, test)}
    for one, other in (("val", "train"), ("test", "train"), ("test", "val")):
        shared = shared_images(*sets[one], *sets[other])
        if shared:
            yield (
                f"{one}: has images of {other}, the same bytes under the same names "
                f"({len(shared):,} in all): {ilsvrc.some(shared)}; move them out of one of the two"
            )


# --- choosing ----------------------------------------------------------------------------------


def _classes(settings: Settings, found: Classes) -> List[str]:
    """The classes to keep, in the order of their labels."""
    if not settings.classes:
        _tell_classes(list(found))
        return list(found)
    if os.path.isfile(settings.classes):
        wanted = read_classes(settings.classes)
    else:
        wanted = [name.strip() for name in settings.classes.split(",") if name.strip()]
    for name in wanted:
        if name not in found:
            near = difflib.get_close_matches(name, found, 1)
            hint = "; leave it away" if len(wanted) > 1 else ", and no file of this name"
            hint = f"; did you mean {near[0]}?" if near else hint
            raise InputError(f"--classes {settings.classes}: no images of class {name}{hint}")
    if not wanted:
        raise InputError(f"--classes {settings.classes}: names no class; leave it away to keep all")
    kept = [name for name in found if name in set(wanted)]
    _tell_classes(kept)
    return kept


def _tell_classes(classes: Sequence[str]) -> None:
    known = sum(name in known_synsets() for name in classes)
    print(
        f"classes: {len(classes):,}, {known:,} of them among ILSVRC2012's 1,000, "
        if known
        else f"classes: {len(classes):,}, ",
        f"from 0 {_printable(_title(classes[0]))} "
        f"to {len(classes) - 1:,} {_printable(_title(classes[-1]))}",
        sep="",
    )


def _title(name: str) -> str:
    known = known_synsets().get(name)
    return f"{name} {known}" if known else name


def _check_validation_classes(parts: ilsvrc.Parts, train: Classes, val: Classes) -> None:
    foreign = [name for name in val if name not in train]
    if foreign:
        raise InputError(
            f"{parts.val}: class {foreign[0]} ({len(foreign):,} in all) is none of the "
            f"{len(train):,} of {parts.train}; add its images there, or choose by --classes"
        )


def _without_blacklist(settings: Settings, val: Classes) -> Classes:
    if not settings.blacklist:
        return val
    names = read_blacklist(settings.blacklist)
    kept = {one: [path for path in paths if stem(path) not in names] for one, paths in val.items()}
    left_out = size(val) - size(kept)
    if not left_out:
        raise InputError(
            f"--blacklist {settings.blacklist}: none of its images is in the validation set, "
            "which should have names such as ILSVRC2012_val_00000001.JPEG; leave the flag away"
        )
    print(f"val: {left_out:,} images left out, as {settings.blacklist} says")
    return kept


def _cut(
    settings: Settings, train: Classes, val: Classes, test: Classes
) -> Tuple[Dict[str, Classes], List[str]]:
    """The lists by name, and warnings."""
    sets, warnings = {}, []
    if test:
        sets["test"] = test
    elif train and settings.test_per_class:
        sets["test"], train = _take(train, "--test-per-class", settings.test_per_class, settings)
    if settings.val_per_class:
        val, train = _take(train, "--val-per-class", settings.val_per_class, settings)
    elif settings.val_ratio:
        val, train = take_out(train, lambda n: round(n * settings.val_ratio), settings.seed)
    if settings.per_class:
        few = [name for name, paths in train.items() if len(paths) < settings.per_class]
        train, _ = take_out(train, lambda _: settings.per_class, settings.seed)
        if few:
            warnings.append(
                f"--per-class {settings.per_class}: {len(few):,} classes have fewer left, "
                f"{few[0]} {len(train[few[0]]):,}"
            )
    sets.update({name: one for name, one in (("val", val), ("train", train)) if size(one)})
    return sets, warnings


def _take(train: Classes, flag: str, number: int, settings: Settings) -> Tuple[Classes, Classes]:
    for name, paths in train.items():
        if len(paths) <= number:
            raise InputError(
                f"{flag} {number}: class {name} has {len(paths):,} training images left, and "
                "some must stay; give a smaller number"
            )
    return take_out(train, lambda _: number, settings.seed)


# --- writing -----------------------------------------------------------------------------------


def _write(
    settings: Settings,
    sets: Dict[str, Classes],
    classes: Sequence[str],
    roots: Dict[str, str],
) -> List[str]:
    """Write the lists and classes.txt; warnings about lists of an earlier time."""
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
            f", out of training by seed {settings.seed}"
            if name != "train" and roots[name] == roots["train"]
            else ""
        )
        print(f"{path}: {_would(settings)}{_images_of(sets[name])}{origin}")
    path = os.path.join(settings.out, "classes.txt")
    if not settings.dry_run:
        write_classes(path, classes)
    print(f"{path}: {_would(settings)}{classes_told(len(classes))}")
    others = (os.path.join(settings.out, f"{name}.lst") for name in ("train", "val", "test"))
    return [
        f"{path}: from an earlier time, it may share images with the lists made now; remove it"
        for path in others
        if os.path.exists(path) and stem(path) not in sets
    ]


def _lines(
    settings: Settings, images: Classes, classes: Sequence[str]
) -> List[Tuple[int, float, str]]:
    label = {name: float(number) for number, name in enumerate(classes)}
    pairs = [(label[name], path) for name, paths in images.items() for path in paths]
    lines = [(index, *pair) for index, pair in enumerate(pairs)]
    if not settings.no_shuffle:
        random.Random(settings.seed).shuffle(lines)
    return lines


def _would(settings: Settings) -> str:
    return "would have " if settings.dry_run else ""


def _tell_next(settings: Settings, roots: Dict[str, str], sets: Dict[str, Classes]) -> None:
    print("Pack them with")
    for name, root in roots.items():
        if name in sets:
            prefix = os.path.join(settings.out, name)
            print(_printable(shlex.join(["python", "tools/im2rec.py", prefix, root])))


def _images_of(images: Classes) -> str:
    counts = sorted(map(len, images.values()))
    if counts[0] == counts[-1]:
        each = f"{counts[0]:,}"
    else:
        each = f"{counts[0]:,} to {counts[-1]:,}"
    return f"{images_told(sum(counts))} of {classes_told(len(counts))}, {each} in each"


def _printable(text: str) -> str:
    """A file name that may hold bytes which are not UTF-8, for any terminal."""
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)
