"""ImageNet's classes in WordNet: their paths in the tree, and groups of classes.

Three levels divide the classes, each finer than the one before:

1. domain: animals, and objects (everything else);
2. kind: mammals, birds ..., artifacts, food ...;
3. group: dogs, cats, other mammals ..., vehicles, tools, clothing ...

A class belongs to the group of its nearest ancestor in GROUPS, so each class is in exactly one
group. Only datasets whose classes are all among ImageNet's 1,000 have a taxonomy.
"""

from dataclasses import dataclass
from functools import cache, cached_property
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from imagenet_trainer import assets

_TABLE = assets.path("wordnet_paths.txt")
DOMAINS = ("animals", "objects")
LEVELS = ("domain", "kind", "group", "class")


class Group(NamedTuple):
    """A group of classes: its name, its kind, and the synsets above its classes."""

    name: str
    kind: str
    synsets: Tuple[str, ...]


GROUPS = (
    # Animals, in ImageNet's order as far as WordNet's tree allows.
    Group("fish", "fish", ("n02512053",)),
    Group("amphibians", "amphibians", ("n01627424",)),
    Group("reptiles", "reptiles", ("n01661091",)),
    Group("birds", "birds", ("n01503061",)),
    Group("dogs", "mammals", ("n02084071",)),
    Group("wolves and foxes", "mammals", ("n02083346",)),  # canines other than dogs
    Group("cats", "mammals", ("n02120997",)),  # felines, also wild ones
    Group("hoofed animals", "mammals", ("n02370806",)),
    Group("monkeys and apes", "mammals", ("n02469914",)),
    Group("other mammals", "mammals", ("n01861778",)),
    Group("insects", "invertebrates", ("n02159955",)),
    Group("spiders", "invertebrates", ("n01769347",)),  # arachnids
    Group("crustaceans", "invertebrates", ("n01974773",)),
    Group("other invertebrates", "invertebrates", ("n01905661",)),
    # Everything else.
    Group("vehicles", "artifacts", ("n03100490",)),  # conveyance
    # structure, roof, shelter
    Group("structures", "artifacts", ("n04341686", "n04105068", "n04191943")),
    Group("furniture", "artifacts", ("n03405265",)),  # furnishing
    # clothing; footwear, body armor and armor plate are elsewhere in WordNet
    Group("clothing", "artifacts", ("n03051540", "n03380867", "n02862048", "n02740764")),
    Group("fabrics and covers", "artifacts", ("n03309808", "n03122748")),
    Group("containers", "artifacts", ("n03094503", "n04550840")),  # and tableware
    Group("tools", "artifacts", ("n03563967", "n03997484")),  # implement; power tool
    Group("appliances", "artifacts", ("n03257877",)),  # durables
    # electronic equipment and devices, cameras, computers, radio and television
    Group(
        "electronics",
        "artifacts",
        ("n03278248", "n03277771", "n03926148", "n03082979", "n03078287"),
    ),
    Group("musical instruments", "artifacts", ("n03800933",)),
    Group("weapons", "artifacts", ("n04565375",)),
    Group("instruments", "artifacts", ("n03574816",)),  # that measure, magnify, heal
    Group("sports and games", "artifacts", ("n03414162", "n04285146")),
    Group("other devices", "artifacts", ("n03183080", "n03294048")),
    Group("other objects", "artifacts", ("n00001740",)),  # entity: all others
    # food in WordNet's two senses, edible fruit, beverage
    Group("food", "food", ("n00021265", "n07555863", "n07705931", "n07881800")),
    # plant, fungus, plant part
    Group("plants and fungi", "plants", ("n00017222", "n12992868", "n13086908")),
    # geological formation; a sandbar, which WordNet has as a barrier
    Group("landscapes", "landscapes", ("n09287968", "n09214060")),
    Group("people", "people", ("n00007846",)),
)
_ANIMAL = "n00015388"


@dataclass(frozen=True)
class Taxonomy:
    """The classes of a dataset in the order of their labels.

    `paths` are WordNet ids from the root to the class; `place` is the line of each class in the
    outline of WordNet, int64 (classes,); `group`, `kind` and `domain` are indices, int64
    (classes,), into `groups`, `kinds` and DOMAINS.
    """

    paths: Tuple[Tuple[str, ...], ...]
    place: np.ndarray
    group: np.ndarray

    @property
    def groups(self) -> Tuple[str, ...]:
        """Names of all groups, also empty ones."""
        return tuple(group.name for group in GROUPS)

    @cached_property
    def group_names(self) -> Tuple[str, ...]:
        """The name of the group of each class."""
        names = self.groups
        return tuple(names[group] for group in self.group)

    @property
    def kinds(self) -> Tuple[str, ...]:
        """Names of all kinds."""
        return tuple(dict.fromkeys(group.kind for group in GROUPS))

    @cached_property
    def kind(self) -> np.ndarray:
        """The kind of each class, int64 (classes,)."""
        return np.array([self.kinds.index(group.kind) for group in GROUPS])[self.group]

    @cached_property
    def domain(self) -> np.ndarray:
        """0 for animals, 1 for everything else, int64 (classes,)."""
        return np.array([_ANIMAL not in path for path in self.paths]).astype(np.int64)

    def parts(self, level: str) -> np.ndarray:
        """The part of each class at one of LEVELS, int64 (classes,)."""
        own = np.arange(len(self.paths))
        return {"domain": self.domain, "kind": self.kind, "group": self.group, "class": own}[level]

    @cached_property
    def distances(self) -> np.ndarray:
        """Number of edges in the tree between two classes, int16 (classes, classes)."""
        number: Dict[str, int] = {}
        depth = np.array([len(path) for path in self.paths])
        padded = np.full((len(self.paths), depth.max()), -1)
        for row, path in zip(padded, self.paths):
            row[: len(path)] = [number.setdefault(wnid, len(number)) for wnid in path]
        shared = np.zeros((len(padded), len(padded)), np.int16)
        for column in padded.T:
            # A synset has one path, so equal synsets have equal ancestors. -1 pads the end of a
            # path; two paths that have ended share nothing.
            shared += (column[:, None] == column) & (column >= 0)
        return (depth[:, None] + depth - 2 * shared).astype(np.int16)


def taxonomy_of(ids: Sequence[str]) -> Optional[Taxonomy]:
    """The taxonomy of classes given by id; None unless all are among ImageNet's 1,000."""
    outline = _outline()
    if not ids or not all(wnid in outline for wnid in ids):
        return None
    places, paths = zip(*(outline[wnid] for wnid in ids))
    group = np.array([_group_of(path) for path in paths])
    return Taxonomy(tuple(paths), np.array(places), group)


@cache
def _outline() -> Dict[str, Tuple[int, Tuple[str, ...]]]:
    """Line and path of every class by id. Classes are the leaves of the outline."""
    classes: Dict[str, Tuple[int, Tuple[str, ...]]] = {}
    path: List[str] = []
    for number, line in enumerate(_TABLE.read_text(encoding="utf-8").splitlines()):
        depth = len(line) - len(line.lstrip())
        if depth == len(path) and path:
            classes.pop(path[-1])  # the line before has children
        path = [*path[:depth], line.split()[0]]
        classes[path[-1]] = number, tuple(path)
    return classes


@cache
def _group_by_synset() -> Dict[str, int]:
    return {wnid: number for number, group in enumerate(GROUPS) for wnid in group.synsets}


def _group_of(path: Sequence[str]) -> int:
    known = _group_by_synset()
    return next(known[wnid] for wnid in reversed(path) if wnid in known)
