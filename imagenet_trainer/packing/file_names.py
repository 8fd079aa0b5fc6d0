"""Classes in the names of image files: `cat.0.jpg`, `dog_12.jpg`, `001-cat.jpg`."""

from collections import Counter
from typing import Dict, List, NamedTuple, Sequence

from imagenet_trainer.errors import InputError
from imagenet_trainer.packing.ilsvrc.labelled import by_pattern
from imagenet_trainer.text import printable

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
