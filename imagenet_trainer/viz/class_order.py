"""In which order classes stand along the sides of a confusion matrix: arrays in, orders out."""

from typing import List, NamedTuple, Optional

import numpy as np

from imagenet_trainer.metrics.taxonomy import Taxonomy

ORDERS = ("imagenet", "wordnet", "cluster")


class Span(NamedTuple):
    """Neighbours in an order, positions `first` up to but without `end`, with a common name."""

    first: int
    end: int
    name: str


def class_order(order: str, matrix: np.ndarray, taxonomy: Optional[Taxonomy]) -> np.ndarray:
    """The class at each position, int64 (classes,).

    - `imagenet`: by label, which is the order of the WordNet ids (or of the set's own classes);
    - `wordnet`: group by group, inside them along WordNet's tree; ValueError without a taxonomy;
    - `cluster`: so that classes that are confused are neighbours, see `cluster_order`.

    Takes counts int64 (classes, classes), rows true, columns predicted.
    """
    if order == "imagenet":
        return np.arange(len(matrix))
    if order == "wordnet":
        if taxonomy is None:
            raise ValueError("the classes are not ImageNet's, so WordNet's order is not known")
        return np.lexsort((taxonomy.place, taxonomy.group))
    if order == "cluster":
        return cluster_order(matrix)
    raise ValueError(f"{order}: no such order; there are {', '.join(ORDERS)}")


def cluster_order(matrix: np.ndarray) -> np.ndarray:
    """An order in which confusions lie near the diagonal, int64 (classes,).

    Agglomerative clustering with average linkage; the distance of two classes falls with the
    share of their images that each takes for the other. Leaves are in the optimal order of
    Bar-Joseph, Gifford and Jaakkola 2001, with class 0 in the first half; equal distances are
    merged in the order of the labels, so the same matrix gives the same order.
    """
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    alike = share + share.T
    np.fill_diagonal(alike, 0)
    # The root keeps one strong pair from making all others look alike.
    distance = 1 - np.sqrt(alike / max(alike.max(), 1e-12))
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(distance), "average", optimal_ordering=True)
    leaves = leaves_list(tree).astype(np.int64)
    first = int(np.flatnonzero(leaves == 0)[0])
    return leaves if 2 * first < len(leaves) else leaves[::-1]


def spans(order: np.ndarray, taxonomy: Taxonomy, least: int) -> List[Span]:
    """Neighbours of the same group, at least so many; where groups alternate, of the same kind.

    In ImageNet's own order animals stand together by group, while artifacts are sorted by name; so
    the animals' groups are named, and the artifacts as a whole.
    """
    found: List[Span] = []
    for kind in _runs(taxonomy.kind[order]):
        inner = taxonomy.group[order[kind.first : kind.end]]
        long = [
            Span(kind.first + run.first, kind.first + run.end, taxonomy.groups[int(run.name)])
            for run in _runs(inner)
            if run.end - run.first >= least
        ]
        length = kind.end - kind.first
        if 2 * sum(span.end - span.first for span in long) >= length:
            found += long
        elif length >= least:
            found.append(Span(kind.first, kind.end, taxonomy.kinds[int(kind.name)]))
    return found


def _runs(values: np.ndarray) -> List[Span]:
    """Stretches of equal values, whose name is the value."""
    edges = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)]
    return [Span(first, end, str(values[first])) for first, end in zip(edges, edges[1:])]
