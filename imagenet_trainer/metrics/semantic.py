"""Severity of errors: metrics from predictions and WordNet's tree.

Predicting another dog for a retriever is a smaller error than predicting a fire engine. Weighing
errors by a hierarchy follows Deng, Berg, Li and Fei-Fei 2010, "What does classifying more than
10,000 image categories tell us?".
"""

from collections import Counter
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Sequence, Tuple

import numpy as np
from scipy.sparse import csr_matrix, triu

from imagenet_trainer.metrics.confusion import off_diagonal
from imagenet_trainer.metrics.predictions import Predictions
from imagenet_trainer.metrics.taxonomy import DOMAINS, GROUPS, LEVELS, Taxonomy, taxonomy_of
from imagenet_trainer.text import printable

PAIRS = 20
"""Confused pairs in evaluation.json."""


class ConfusedPair(NamedTuple):
    """Two classes that the network confuses: images of a predicted as b, and of b as a."""

    a: int
    b: int
    a_as_b: int
    b_as_a: int


def semantic_results(predictions: Predictions, ids: Sequence[str]) -> Dict[str, Any]:
    """The entries `confused_pairs` and, where WordNet has all classes, `meaning`."""
    pairs = confused_pairs(predictions.confusion(1))
    images = np.bincount(predictions.labels, minlength=len(ids)).tolist()
    entry: Dict[str, Any] = {
        "confused_pairs": [
            {"a": ids[pair.a], "b": ids[pair.b], "a_as_b": pair.a_as_b, "b_as_a": pair.b_as_a,
             "a_images": images[pair.a], "b_images": images[pair.b]}
            for pair in pairs
        ]
    }  # fmt: skip
    taxonomy = taxonomy_of(ids)
    if taxonomy is not None:
        first = predictions.top[:, 0]
        entry["meaning"] = semantic_metrics(
            predictions.labels, first, predictions.confusion(), taxonomy
        )
    return entry


def summary_lines(entry: Mapping[str, Any], names: Mapping[str, str]) -> Iterator[str]:
    """An entry of evaluation.json as lines for a terminal; `names` of the classes by id."""
    semantic = entry.get("meaning")
    if semantic and entry["images"]:
        levels = ("animal or object", "kind", "group", "class")
        shares = semantic["levels"].values()
        yield "correct: " + ", ".join(f"{n} {100 * s:.2f} %" for n, s in zip(levels, shares))
        if semantic["errors"]:
            line = (
                f"errors: {100 * semantic['errors_in_group']:.2f} % within the group; mean "
                f"distance {semantic['error_distance']:.2f} edges of WordNet's tree"
            )
            chance = semantic["chance_distance"]
            yield line + (f" (two random classes: {chance:.2f})" if chance is not None else "")
        within = semantic["clusters"]["within"]
        yield f"matrix: {100 * within:.2f} % within animals or within objects"
    for pair in entry.get("confused_pairs", ())[:3]:
        both = [(pair["a_as_b"], "a", "b"), (pair["b_as_a"], "b", "a")]
        both.sort(key=lambda one: -one[0])
        yield "confused: " + ", ".join(
            f"{names[pair[true]]} taken for {names[pair[other]]} {count}"
            # Earlier versions did not write the number of images.
            + (f" of {pair[true + '_images']}" if f"{true}_images" in pair else "")
            for count, true, other in both
            if count
        )


def short_names(classes: Sequence[Tuple[str, str]]) -> List[str]:
    """The first name of each class (id, name), with the id where two classes share a name."""
    clean = ((printable(one), printable(name)) for one, name in classes)
    first = [(name.split(",")[0].strip() or one, one) for one, name in clean]
    count = Counter(name for name, _ in first)
    return [f"{name} ({one})" if count[name] > 1 else name for name, one in first]


def confused_pairs(matrix: csr_matrix, count: int = PAIRS) -> List[ConfusedPair]:
    """The pairs of classes with the most confusions, in both directions together, most first.

    Takes a matrix of `metrics.confusion`. Pairs with equal counts are in the order of their
    classes; pairs that are never confused are omitted.
    """
    both = triu(matrix + matrix.T, 1, format="coo")
    order = np.lexsort((both.col, both.row, -both.data))[:count]
    return [
        ConfusedPair(i, j, int(matrix[i, j]), int(matrix[j, i]))
        for i, j in zip(both.row[order].tolist(), both.col[order].tolist())
    ]


def semantic_metrics(
    labels: np.ndarray, predicted: np.ndarray, matrix: csr_matrix, taxonomy: Taxonomy
) -> Dict[str, Any]:
    """All metrics that need WordNet, as plain values for JSON; shares are 0 to 1.

    Takes true classes int64 (n,), predicted classes int64 (n,), and the top-k confusion matrix.
    A share of zero images is None.

    - `levels`: share of the images whose predicted class is in the same domain, kind or group as
      the true one, or equal to it (`class`: rank-1 accuracy).
    - `errors`, `errors_in_group`: rank-1 errors, and the share of them within the group.
    - `error_distance`: mean number of edges of WordNet's tree between true and predicted class
      over the errors; `chance_distance`: the same over all pairs of different classes.
    - `clusters`: the matrix's mass by true and predicted domain as shares of the whole, their sums
      `within` and `between`, and `within_off_diagonal`, which ignores the diagonal.
    - `groups`: for each group its classes, images, rank-1 accuracy, and the share of its images
      predicted within it.
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


def clusters(matrix: csr_matrix, taxonomy: Taxonomy) -> Dict[str, Any]:
    """The mass of a matrix within and between animals and objects, as shares of the whole."""
    mass, off = (_between(counts, taxonomy.domain) for counts in (matrix, off_diagonal(matrix)))
    shares: Dict[str, Any] = {
        f"{true} as {predicted}": _share(mass[i, j], mass.sum())
        for i, true in enumerate(DOMAINS)
        for j, predicted in enumerate(DOMAINS)
    }
    shares["within"] = _share(np.trace(mass), mass.sum())
    shares["between"] = _share(mass.sum() - np.trace(mass), mass.sum())
    shares["within_off_diagonal"] = _share(np.trace(off), off.sum())
    return shares


def _between(counts: csr_matrix, domain: np.ndarray) -> np.ndarray:
    """Sums of the counts by domain, (2, 2)."""
    member = np.eye(len(DOMAINS))[domain]  # classes, 2
    return member.T @ (counts @ member)


def _by_group(
    labels: np.ndarray, correct: np.ndarray, same_group: np.ndarray, taxonomy: Taxonomy
) -> List[Dict[str, Any]]:
    group_of_image = taxonomy.group[labels]
    groups = []
    for number, group in enumerate(GROUPS):
        classes, members = int((taxonomy.group == number).sum()), group_of_image == number
        if classes:
            groups.append(
                {
                    "name": group.name,
                    "classes": classes,
                    "images": int(members.sum()),
                    "rank1": _mean(correct[members]),
                    "in_group": _mean(same_group[members]),
                }
            )
    return groups


def _mean(values: np.ndarray) -> Any:
    return float(values.mean()) if values.size else None


def _share(part: float, whole: float) -> Any:
    return float(part / whole) if whole else None
