"""How wrong errors are: numbers from predictions and WordNet's tree; arrays in, numbers out.

A retriever taken for another dog is a smaller error than one taken for a fire engine. The idea of
weighing errors by a hierarchy is that of Deng, Berg, Li and Fei-Fei 2010, "What does classifying
more than 10,000 image categories tell us?".
"""

from collections import Counter
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Sequence, Tuple

import numpy as np

from imagenet_trainer.metrics.predictions import Predictions
from imagenet_trainer.metrics.taxonomy import DOMAINS, GROUPS, LEVELS, Taxonomy, taxonomy_of

PAIRS = 20


class ConfusedPair(NamedTuple):
    """Two classes that are taken for each other; `there` counts a taken for b, `back` b for a."""

    a: int
    b: int
    a_as_b: int
    b_as_a: int


def semantic_results(predictions: Predictions, ids: Sequence[str]) -> Dict[str, Any]:
    """What evaluation.json holds: `confused_pairs`, and `meaning` where WordNet has all classes."""
    pairs = confused_pairs(predictions.confusion(1))
    found: Dict[str, Any] = {
        "confused_pairs": [
            {"a": ids[pair.a], "b": ids[pair.b], "a_as_b": pair.a_as_b, "b_as_a": pair.b_as_a}
            for pair in pairs
        ]
    }
    taxonomy = taxonomy_of(ids)
    if taxonomy is not None:
        first = predictions.top[:, 0]
        found["meaning"] = semantic_metrics(
            predictions.labels, first, predictions.confusion(), taxonomy
        )
    return found


def summary_lines(numbers: Mapping[str, Any], names: Mapping[str, str]) -> Iterator[str]:
    """Lines for a terminal from an entry of evaluation.json; names of classes by id."""
    found = numbers.get("meaning")
    if found and numbers["images"]:
        levels = ("animal or object", "kind", "group", "class")
        shares = found["levels"].values()
        yield "right: " + ", ".join(f"{n} {100 * s:.2f} %" for n, s in zip(levels, shares))
        if found["errors"]:
            line = (
                f"errors: {100 * found['errors_in_group']:.2f} % stay in the group; "
                f"{found['error_distance']:.2f} edges of WordNet's tree away"
            )
            chance = found["chance_distance"]
            yield line + (f", two classes at random {chance:.2f}" if chance is not None else "")
        within = found["clusters"]["within"]
        yield f"matrix: {100 * within:.2f} % within animals or within objects"
    for pair in numbers.get("confused_pairs", ())[:3]:
        a, b = names[pair["a"]], names[pair["b"]]
        yield f"confused: {a} taken for {b} {pair['a_as_b']}, {b} for {a} {pair['b_as_a']}"


def short_names(classes: Sequence[Tuple[str, str]]) -> List[str]:
    """The first name of each class (id, name), with its id where two classes have the same."""
    first = [(name.split(",")[0].strip() or one, one) for one, name in classes]
    often = Counter(name for name, _ in first)
    return [f"{name} ({one})" if often[name] > 1 else name for name, one in first]


def confused_pairs(matrix: np.ndarray, count: int = PAIRS) -> List[ConfusedPair]:
    """The pairs of classes with the most confusions in both directions together, most first.

    Takes counts int64 (classes, classes), rows true, columns predicted. Pairs that are confused
    as often come in the order of their classes; pairs that never are do not come at all.
    """
    both = np.triu(matrix + matrix.T, 1)
    a, b = np.nonzero(both)
    order = np.argsort(-both[a, b], kind="stable")[:count]
    return [
        ConfusedPair(i, j, int(matrix[i, j]), int(matrix[j, i]))
        for i, j in zip(a[order].tolist(), b[order].tolist())
    ]


def semantic_metrics(
    labels: np.ndarray, predicted: np.ndarray, matrix: np.ndarray, taxonomy: Taxonomy
) -> Dict[str, Any]:
    """All numbers that need WordNet, as plain values for JSON; shares are 0 to 1.

    Takes true classes int64 (n,), rank-1 classes int64 (n,), and the top-k confusion matrix int64
    (classes, classes). A share of nothing is None.

    - `levels`: share of the images whose rank-1 class is in the same domain, kind, group as the
      true one, or is it (`class`, which is rank-1 accuracy).
    - `errors`, `errors_in_group`: rank-1 errors, and the share of them that stay in the group.
    - `error_distance`: mean edges of WordNet's tree between true and predicted class over rank-1
      errors; `chance_distance`: over all pairs of two different classes.
    - `clusters`: shares of the matrix's mass by true and predicted domain, `within` and `between`
      added up, and the same without the diagonal as `within_off_diagonal`.
    - `groups`: for each group its classes, images, rank-1 accuracy, share that stays in it.
    """
    wrong = labels != predicted
    distances = taxonomy.distances
    classes = len(distances)
    different = ~np.eye(classes, dtype=bool)
    same_group = taxonomy.group[labels] == taxonomy.group[predicted]
    return {
        "levels": {
            level: _mean(part[labels] == part[predicted])
            for level, part in ((level, taxonomy.parts(level)) for level in LEVELS)
        },
        "errors": int(wrong.sum()),
        "errors_in_group": _mean(same_group[wrong]),
        "error_distance": _mean(distances[labels, predicted][wrong]),
        "chance_distance": _mean(distances[different]),
        "clusters": clusters(matrix, taxonomy),
        "groups": _by_group(labels, ~wrong, same_group, taxonomy),
    }


def clusters(matrix: np.ndarray, taxonomy: Taxonomy) -> Dict[str, Any]:
    """Mass of a matrix within and between animals and objects, as shares of the whole."""
    mass, off = (
        _between(counts, taxonomy.domain) for counts in (matrix, matrix * (1 - np.eye(len(matrix))))
    )
    found: Dict[str, Any] = {
        f"{true} as {predicted}": _share(mass[i, j], mass.sum())
        for i, true in enumerate(DOMAINS)
        for j, predicted in enumerate(DOMAINS)
    }
    found["within"] = _share(np.trace(mass), mass.sum())
    found["between"] = _share(mass.sum() - np.trace(mass), mass.sum())
    found["within_off_diagonal"] = _share(np.trace(off), off.sum())
    return found


def _between(counts: np.ndarray, domain: np.ndarray) -> np.ndarray:
    """Counts added up by domain, (2, 2)."""
    member = np.eye(len(DOMAINS))[domain]  # classes, 2
    return member.T @ counts @ member


def _by_group(
    labels: np.ndarray, right: np.ndarray, same_group: np.ndarray, taxonomy: Taxonomy
) -> List[Dict[str, Any]]:
    of_image = taxonomy.group[labels]
    found = []
    for number, group in enumerate(GROUPS):
        classes, here = int((taxonomy.group == number).sum()), of_image == number
        if classes:
            found.append(
                {
                    "name": group.name,
                    "classes": classes,
                    "images": int(here.sum()),
                    "rank1": _mean(right[here]),
                    "in_group": _mean(same_group[here]),
                }
            )
    return found


def _mean(values: np.ndarray) -> Any:
    return float(values.mean()) if values.size else None


def _share(part: float, whole: float) -> Any:
    return float(part / whole) if whole else None
