"""`tools/im2rec.py --by-name`: images in one folder, whose names contain their classes."""

import os
import shlex
from dataclasses import replace

from imagenet_trainer.config import commands
from imagenet_trainer.config.flags import flag_of, is_set
from imagenet_trainer.errors import InputError
from imagenet_trainer.packing.console import MOST_LINES
from imagenet_trainer.packing.file_names import NoClassNames, find_pattern
from imagenet_trainer.packing.folders import Tree
from imagenet_trainer.packing.ilsvrc.flags import ImagenetSettings
from imagenet_trainer.packing.ilsvrc.layout import NONE
from imagenet_trainer.packing.ilsvrc.make import make
from imagenet_trainer.packing.ilsvrc.splits import Naming
from imagenet_trainer.packing.im2rec_flags import Im2recSettings, check_prefix, check_root
from imagenet_trainer.text import printable

# Flags that select what is listed in another way.
_OTHERS = ("recursive", "flat", "chunks", "train_ratio", "test_ratio", "classes_from")


def list_by_name(settings: Im2recSettings, show_next: bool = True) -> int:
    """Write train.lst, val.lst and classes.txt; the exit code."""
    for name in _OTHERS:
        if is_set(settings, name):
            raise InputError(f"--by-name {flag_of(name)}: both decide what is listed; omit one")
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
    return make(
        ImagenetSettings(
            folder or ".", settings.root, train=settings.root, val=NONE, test_per_class=0,
            val_ratio=settings.val_ratio, dry_run=settings.dry_run, exts=settings.exts,
            seed=settings.seed, no_shuffle=settings.no_shuffle,
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
