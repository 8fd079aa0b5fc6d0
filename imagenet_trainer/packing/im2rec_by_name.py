"""`tools/im2rec.py --by-name`: the classes are in the names of the images."""

import os
import shlex
from collections import Counter
from dataclasses import fields, replace
from typing import Dict, List, NamedTuple, Sequence

from imagenet_trainer.config import commands
from imagenet_trainer.errors import InputError
from imagenet_trainer.packing.console import MOST_LINES
from imagenet_trainer.packing.folders import Tree
from imagenet_trainer.packing.ilsvrc.flags import ImagenetSettings
from imagenet_trainer.packing.ilsvrc.labelled import by_pattern
from imagenet_trainer.packing.ilsvrc.layout import NONE
from imagenet_trainer.packing.ilsvrc.make import make
from imagenet_trainer.packing.ilsvrc.splits import Naming
from imagenet_trainer.packing.im2rec_flags import Im2recSettings, check_prefix, check_root
from imagenet_trainer.text import printable

# Flags that select what is listed in another way.
_OTHERS = ("recursive", "flat", "chunks", "train_ratio", "test_ratio", "classes_from")


def list_by_name(settings: Im2recSettings, show_next: bool = True) -> int:
    """Write train.lst, val.lst and classes.txt; the exit code."""
    defaults = Im2recSettings()
    for name in _OTHERS:
        if getattr(settings, name) != getattr(defaults, name):
            flag = "--" + name.replace("_", "-")
            raise InputError(f"--by-name {flag}: both decide what is listed; omit one")
    check_prefix(settings.prefix)
    check_root(settings.root)
    folder, name = os.path.split(settings.prefix)
    if name != "train":
        raise InputError(f"prefix {settings.prefix}: --by-name makes train and val; name it train")
    naming = Naming(settings.exts.split(","))
    try:
        pattern = find_pattern(naming.images(settings.root))
    except NoClassNames as error:
        raise InputError(
            f"--by-name {settings.root}: {error}; move other files away, or make a folder for each "
            "class and give --recursive"
        ) from error
    same = {field.name for field in fields(ImagenetSettings)} & {"exts", "seed", "no_shuffle"}
    return make(
        ImagenetSettings(
            folder or ".", settings.root, train=settings.root, val=NONE, test_per_class=0,
            val_ratio=settings.val_ratio, dry_run=settings.dry_run,
            **{name: getattr(settings, name) for name in same},
        ),
        replace(naming, pattern=pattern.expression), show_next,
    )  # fmt: skip


def proposal(settings: Im2recSettings) -> str:
    """The command that takes the classes from the names of the images directly in ROOT.

    "" if there are none, or their names do not contain classes.
    """
    try:
        tree = Tree(settings.root, settings.exts.split(","), lambda path, reason: None)
        pattern = find_pattern([name for _, names in tree.one_folder(True) for name in names])
    except InputError:
        return ""
    folder, name = os.path.split(settings.prefix)
    prefix = settings.prefix if name == "train" else os.path.join(folder, "train")
    command = shlex.join([*commands.PACK.split(), "--by-name", prefix, settings.root])
    counts = [f"{printable(name)} {count:,}" for name, count in pattern.counts.items()]
    more = [] if len(counts) <= MOST_LINES else ["..."]
    classes = ", ".join(counts[:MOST_LINES] + more)
    return f"if the names have the classes ({classes}), run: {command}"


# Searched in a path. The class contains a letter, and folders are ignored.
_PATTERNS = (
    # class, number: cat.0, cat_001, cat-1, cat 1, cat (1), cat1, american_bulldog_100
    r"(?:^|/)([^/]*?[^\W\d_][^/]*?)[\s._-]*(?:\d+|\(\d+\))\.\w+$",
    # number, separator, class: 001-cat, 1.cat, 7_american_bulldog
    r"(?:^|/)\d+[\s._-]+([^/]*[^\W\d_][^/]*)\.\w+$",
)
IMAGES_PER_CLASS = 5  # with fewer on average, the names are not those of classes


class NoClassNames(InputError):
    """The names of files do not contain their classes."""


class NamePattern(NamedTuple):
    """How names contain the class: a regular expression with one group."""

    expression: str
    counts: Dict[str, int]  # images by class, sorted by class


def find_pattern(paths: Sequence[str]) -> NamePattern:
    """The pattern of the class in the names of files.

    Raises
    ------
    NoClassNames
        no pattern fits all names and gives at least two classes with `IMAGES_PER_CLASS` images on
        average, or two classes differ in case only.

    """
    reasons: List[NoClassNames] = []
    for expression in _PATTERNS:
        class_of = by_pattern(expression)
        classes = [class_of(path) for path in paths]
        try:
            _check(classes, paths)
        except NoClassNames as reason:
            reasons.append(reason)
            continue
        return NamePattern(expression, dict(sorted(Counter(classes).items())))
    raise reasons[0]


def _check(classes: Sequence[str], paths: Sequence[str]) -> None:
    without = [path for path, name in zip(paths, classes) if not name]
    if without:
        raise NoClassNames(
            f"{len(without):,} of {len(paths):,} names are not a class and a number, such as "
            f"cat.1.jpg or 1-cat.jpg: {printable(without[0])} first"
        )
    names = sorted(set(classes))
    if len(names) < 2:
        raise NoClassNames(f"all names have one class, {printable(names[0])}")
    if len(names) * IMAGES_PER_CLASS > len(paths):
        raise NoClassNames(
            f"the names would give {len(paths):,} images {len(names):,} classes, such as "
            f"{printable(names[0])}"
        )
    spellings: Dict[str, str] = {}
    for name in names:
        other = spellings.setdefault(name.casefold(), name)
        if other != name:
            raise NoClassNames(
                f"the names have the classes {printable(other)} and {printable(name)}, which "
                "differ in case only; rename the images of one"
            )
