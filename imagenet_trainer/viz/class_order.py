"""The order of classes along the sides of a confusion matrix: arrays in, orders out."""

from typing import Any, List, NamedTuple, Optional

import numpy as np
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from imagenet_trainer.metrics.confusion import as_counts
from imagenet_trainer.metrics.taxonomy import Taxonomy

ORDERS = ("imagenet", "wordnet", "cluster")
MOST_CLUSTERED = 1500
"""Classes that `cluster` orders, in 10 s; the time grows with their third power or faster."""


class Span(NamedTuple):
    """Neighbours in an order, positions `first` to `end` - 1, with a common name."""

    first: int
    end: int
    name: str


def class_order(order: str, matrix: Any, taxonomy: Optional[Taxonomy]) -> np.ndarray:
    """The class at each position, int64 (classes,).

    - `imagenet`: by label, which is the order of the WordNet ids (or of the dataset's own classes);
    - `wordnet`: by group, and by position in WordNet's tree within a group; ValueError without a
      taxonomy;
    - `cluster`: classes that are confused are neighbours, see `cluster_order`.

    Takes a matrix of `metrics.confusion`.
    """
    if order == "imagenet":
        return np.arange(matrix.shape[0])
    if order == "wordnet":
        if taxonomy is None:
            raise ValueError("the classes are not ImageNet's, so WordNet's order is not known")
        return np.lexsort((taxonomy.place, taxonomy.group))
    if order == "cluster":
        return cluster_order(matrix)
    raise ValueError(f"{order}: no such order; choose one of {', '.join(ORDERS)}")


def cluster_order(matrix: Any) -> np.ndarray:
    """An order in which confusions are near the diagonal, int64 (classes,).

    Agglomerative clustering with average linkage. The distance of two classes decreases with the
    share of their images that are confused with each other. Leaves are in the optimal order of
    Bar-Joseph, Gifford and Jaakkola 2001, with class 0 in the first half. Equal distances are
    merged in the order of the labels, so the same matrix always gives the same order.
    """
    counts = as_counts(matrix).toarray()
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    similarity = share + share.T
    np.fill_diagonal(similarity, 0)
    # Without the root, one strong pair would make all others look equal.
    distance = 1 - np.sqrt(similarity / max(similarity.max(), 1e-12))
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(distance), "average", optimal_ordering=True)
    leaves = leaves_list(tree).astype(np.int64)
    first = int(np.flatnonzero(leaves == 0)[0])
    return leaves if 2 * first < len(leaves) else leaves[::-1]


def spans(order: np.ndarray, taxonomy: Taxonomy, least: int) -> List[Span]:
    """Runs of at least `least` neighbours of one group, or of one kind where groups alternate.

    In ImageNet's order animals are sorted by group, but artifacts by name: so the groups of animals
    get names, and the artifacts get one name together.
    """
    named: List[Span] = []
    for kind in _runs(taxonomy.kind[order]):
        inner = taxonomy.group[order[kind.first : kind.end]]
        groups = [
            Span(kind.first + run.first, kind.first + run.end, taxonomy.groups[int(run.name)])
            for run in _runs(inner)
            if run.end - run.first >= least
        ]
        length = kind.end - kind.first
        if 2 * sum(span.end - span.first for span in groups) >= length:
            named += groups
        elif length >= least:
            named.append(Span(kind.first, kind.end, taxonomy.kinds[int(kind.name)]))
    return named


def _runs(values: np.ndarray) -> List[Span]:
    """Runs of equal values; the name of each is its value."""
    edges = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)]
    return [Span(first, end, str(values[first])) for first, end in zip(edges, edges[1:])]
