"""Classes: their names from files of several kinds, and the match of two sets of classes.

A class is a pair (id, name); its label is its position. Two sets of classes are matched by
identity: by id, such as a WordNet id, else by name. So a dataset with some of a network's classes,
or with all of them in another order, can be evaluated without packing it again.
"""

import json
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from imagenet_trainer.data.records.manifest import ClassName, known_synsets, manifest_path
from imagenet_trainer.errors import InputError
from imagenet_trainer.system.arrays import DAMAGED
from imagenet_trainer.system.files import read_bytes
from imagenet_trainer.text import printable

IMAGENET_CLASSES = 1000
IMAGENET = "imagenet"
Classes = Tuple[Tuple[str, str], ...]  # (id, name) in the order of the labels

_WORDNET_ID = re.compile(r"(n\d{8})[\s,:]+(.*)")
_MOST_NAMED = 3  # classes that a message names


class OtherClasses(InputError):
    """A dataset has classes that the reference does not have."""


def default_classes(count: int) -> Tuple[ClassName, ...]:
    """Classes of shards without a manifest: ImageNet's, or placeholders."""
    if count == IMAGENET_CLASSES:
        return tuple(ClassName(*one) for one in known_synsets().items())
    return tuple(ClassName(f"class_{label}", f"class {label}") for label in range(count))


def are_placeholders(classes: Classes) -> bool:
    """Whether the ids say nothing but the labels: class_0, class_1 ..."""
    return all(one == f"class_{label}" for label, (one, _) in enumerate(classes))


def match(
    own: Classes, reference: Classes, title: str, counts: Optional[np.ndarray] = None
) -> Optional[np.ndarray]:
    """The class of the reference for each of our labels, by identity.

    Parameters
    ----------
    own, reference
        The classes to match, and those to find.
    title
        The name of the reference in errors.
    counts
        Number of images of each own class, int64 (own,). Classes without images match nothing and
        need no match. None: all have images, except placeholders among named classes.

    Returns
    -------
    int64 (own,): -1 for a class without a match, which has no images; or None where every label is
    its class. In this order: equal positions, equal ids, equal names, and folders named by the
    reference's labels, such as those of ImageNetV2 (0 to 999).

    Raises OtherClasses, whose message lists the classes that the reference does not have.

    """
    named = [label for label, (one, _) in enumerate(own) if one != f"class_{label}"]
    used = [*range(len(own))] if counts is None else np.flatnonzero(counts).tolist()
    if counts is None and named:
        used = named
    last = max(used, default=-1)
    positions = {one: label for label, (one, _) in enumerate(reference)}
    named_used = [label for label in used if own[label][0] != f"class_{label}"]
    if last < len(reference) and all(own[n][0] == reference[n][0] for n in named_used):
        return None  # among them sets that know only labels
    if not named_used:
        raise OtherClasses(f"has label {last}, but {title} has {len(reference)} classes")
    if are_placeholders(reference):
        if len(own) == len(reference):
            return None  # a network that was trained on labels without names
        raise OtherClasses(
            f"has {len(own)} classes where {title} has {len(reference)}, which have no names"
        )
    by_name = _unique({label: _titles(one) for label, one in enumerate(reference)})
    found = {label: _by_title(own[label], positions, by_name) for label in used}
    if set(found.values()) == {None}:
        numbers = dict(_numbers(own, used, len(reference)))
        found = found if None in numbers.values() else numbers
    _check_all(found, own, f"the {len(reference)} of {title}")
    result = np.full(len(own), -1)
    result[list(found)] = list(found.values())
    return result


def _check_all(found: Mapping[int, Optional[int]], own: Classes, theirs: str) -> None:
    """OtherClasses unless every class has a match of its own."""
    missing = [own[label][0] for label, match in found.items() if match is None]
    if missing:
        more = " ..." if len(missing) > _MOST_NAMED else ""
        raise OtherClasses(
            f"{len(missing)} of its {len(found)} classes are not among {theirs}: "
            f"{', '.join(missing[:_MOST_NAMED])}{more}"
        )
    times = Counter(found.values())
    twice = [own[label][0] for label, match in found.items() if times[match] > 1]
    if twice:
        raise OtherClasses(f"{' and '.join(twice[:2])} are the same class")


def _numbers(own: Classes, used: Sequence[int], known: int) -> Iterator[Tuple[int, Optional[int]]]:
    """Each label with the number that its folder is named by; None if that is no label."""
    for label in used:
        text = own[label][0]
        is_label = text.isdecimal() and str(int(text)) == text and int(text) < known
        yield label, int(text) if is_label else None


def _by_title(
    one: Tuple[str, str], positions: Mapping[str, int], by_name: Mapping[str, int]
) -> Optional[int]:
    """The label of a class by its id, else by the first of its names that is known."""
    if one[0] in positions:
        return positions[one[0]]
    return next((by_name[title] for title in _titles(one) if title in by_name), None)


def _titles(one: Tuple[str, str]) -> List[str]:
    """All names of a class for comparison: id, the whole name, each of its synonyms."""
    parts = [one[0], one[1], *one[1].split(",")]
    return [re.sub(r"[\s_-]+", " ", part).strip().casefold() for part in parts if part.strip()]


def _unique(titles: Mapping[int, Sequence[str]]) -> Dict[str, int]:
    """The label of each title that only one class has; `crane` is a bird and a machine."""
    times = Counter(title for some in titles.values() for title in set(some))
    return {title: label for label, some in titles.items() for title in some if times[title] == 1}


def label_finder(reference: Classes) -> Callable[[str], int]:
    """A function from an id, a name or a number of a class to its label.

    It raises OtherClasses for what is none of these.
    """
    positions = {one: label for label, (one, _) in enumerate(reference)}
    by_name = _unique({label: _titles(one) for label, one in enumerate(reference)})

    def find(text: str) -> int:
        label = _by_title((text, text), positions, by_name)
        if label is None and text.isdecimal() and int(text) < len(reference):
            label = int(text)
        if label is None:
            raise OtherClasses(f"{text!r} is none of the {len(reference)} classes")
        return label

    return find


# --- files ---------------------------------------------------------------------------------------


def read_classes(source: str) -> Classes:
    """The classes that a file names, in the order of their labels.

    `source` is `imagenet`, or a file:

    - text, one class per line: an id, a name, or a WordNet id followed by a name;
    - JSON: a list of names or of [id, name]; names by label, {"0": "tench"} or
      {"0": ["n01440764", "tench"]}; labels by name, {"tench": 0};
    - a manifest of im2rec, or the shard, .rec, beside it;
    - a checkpoint: PREFIX-0012.npz, PREFIX-0012.params beside it, or PREFIX, whose newest is read.

    Raises InputError, which begins with the source, if there are no classes in it.
    """
    if source == IMAGENET:
        return default_classes(IMAGENET_CLASSES)
    path = _file_of(source)
    try:
        if path.endswith(".npz"):
            found = _of_checkpoint(path)
        elif path.endswith(".json"):
            found = _of_json(json.loads(read_bytes(Path(path))))
        else:
            found = _of_lines(read_bytes(Path(path)).decode("utf-8-sig"))
    except DAMAGED as error:
        raise InputError(
            f"{source}: has no classes that can be read ({error}); give imagenet, a text file with "
            "a class per line, a JSON file of names, a manifest, or a checkpoint"
        ) from error
    classes = tuple((printable(one), printable(name)) for one, name in found)
    if not classes:
        raise InputError(f"{source}: has no classes; write one per line")
    times = Counter(one for one, _ in classes)
    if times.most_common(1)[0][1] > 1:
        # Names, of which ImageNet has two cranes and two maillots, are no ids.
        classes = tuple(
            (f"{one}_{label}" if times[one] > 1 else one, name)
            for label, (one, name) in enumerate(classes)
        )
    return classes


def _file_of(source: str) -> str:
    """The file to read for a source; of a PREFIX its newest checkpoint."""
    if source.endswith(".rec"):
        return manifest_path(source)
    if os.path.isfile(source) and not source.endswith(".params"):
        return source
    stem = source[: -len(".params")] if source.endswith(".params") else source
    folder, name = os.path.split(stem)
    files = os.listdir(folder or ".") if os.path.isdir(folder or ".") else []
    pattern = re.compile(re.escape(name) + r"(-\d{4,})?\.npz")
    found = sorted((one for one in files if pattern.fullmatch(one)), key=lambda s: (len(s), s))
    if not found:
        raise InputError(
            f"{source}: no such file or checkpoint; give imagenet, a text or JSON file of classes, "
            "a manifest, or the PREFIX of a run"
        )
    return os.path.join(folder, found[-1])


def _of_checkpoint(path: str) -> List[Tuple[str, str]]:
    with np.load(path, allow_pickle=False) as file:
        return [(str(one), str(name)) for one, name in json.loads(str(file["about"]))["classes"]]


def _of_lines(text: str) -> List[Tuple[str, str]]:
    lines = (line.strip() for line in text.splitlines())
    return [_of_text(line) for line in lines if line]


def _of_text(text: str) -> Tuple[str, str]:
    """A class in one text: a WordNet id with or without a name, or a name."""
    both = _WORDNET_ID.fullmatch(text)
    if both:
        return both[1], both[2]
    return text, known_synsets().get(text, text)


def _of_json(data: Any) -> List[Tuple[str, str]]:
    if isinstance(data, dict) and isinstance(data.get("classes"), list):
        return [(str(one["id"]), str(one["name"])) for one in data["classes"]]  # a manifest, a card
    if isinstance(data, dict):
        if all(isinstance(label, int) for label in data.values()):
            data = {label: name for name, label in data.items()}
        by_label = {int(label): one for label, one in data.items()}
        if sorted(by_label) != list(range(len(data))):
            raise ValueError(f"its labels are not 0 to {len(data) - 1}")
        data = [by_label[label] for label in range(len(data))]
    if not isinstance(data, list):
        raise ValueError("neither a list nor an object")
    return [
        (str(one[0]), str(one[1])) if isinstance(one, list) else _of_text(str(one)) for one in data
    ]
