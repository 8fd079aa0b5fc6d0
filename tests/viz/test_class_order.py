import numpy as np
import pytest

from imagenet_trainer.data.records.manifest import known_synsets
from imagenet_trainer.metrics.taxonomy import taxonomy_of
from imagenet_trainer.viz.class_order import ORDERS, Span, class_order, cluster_order, spans

IMAGENET = taxonomy_of(list(known_synsets()))


def blocks(count, size, seed):
    """A shuffled matrix with confusions inside blocks, and the block of each class."""
    rng = np.random.default_rng(seed)
    n = count * size
    matrix = 40 * np.eye(n, dtype=int)
    for block in range(count):
        inside = slice(block * size, (block + 1) * size)
        matrix[inside, inside] += rng.integers(2, 9, (size, size))
    shuffled = rng.permutation(n)
    return matrix[np.ix_(shuffled, shuffled)], shuffled // size


def spread(matrix, order):
    """Mean distance of confusions from the diagonal."""
    ordered = matrix[np.ix_(order, order)]
    rows, columns = np.indices(ordered.shape)
    off = ordered * (rows != columns)
    return (off * abs(rows - columns)).sum() / off.sum()


@pytest.mark.parametrize("order", ORDERS)
def test_every_order_is_a_permutation(order):
    matrix = np.random.default_rng(0).integers(0, 3, (1000, 1000)) if order != "cluster" else None
    matrix = blocks(20, 5, 0)[0] if matrix is None else matrix
    positions = class_order(order, matrix, IMAGENET)
    assert positions.dtype.kind == "i" and sorted(positions.tolist()) == list(range(len(matrix)))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_clusters_bring_confusions_to_the_diagonal(seed):
    matrix, block = blocks(6, 7, seed)
    order = cluster_order(matrix)
    changes = np.count_nonzero(np.diff(block[order]))
    assert changes == 5  # each block is contiguous
    assert spread(matrix, order) < 0.3 * spread(matrix, np.arange(42))
    assert np.array_equal(order, cluster_order(matrix.copy()))
    assert order.tolist().index(0) < 21


@pytest.mark.parametrize("matrix", [np.zeros((5, 5), int), np.eye(2, dtype=int), np.ones((3, 3))])
def test_matrices_without_structure_can_be_ordered(matrix):
    assert sorted(cluster_order(matrix).tolist()) == list(range(len(matrix)))


def test_groups_are_contiguous_in_wordnet_order():
    order = class_order("wordnet", np.zeros((1000, 1000)), IMAGENET)
    group = IMAGENET.group[order]
    assert (np.diff(group) >= 0).all()
    dogs = IMAGENET.groups.index("dogs")
    retrievers = [  # five neighbours in WordNet's tree
        position for position, label in enumerate(order) if "n02099029" in IMAGENET.paths[label]
    ]
    assert np.ptp(retrievers) == 4 and set(group[retrievers]) == {dogs}


def test_orders_that_do_not_exist():
    with pytest.raises(ValueError, match="WordNet"):
        class_order("wordnet", np.eye(3), None)
    with pytest.raises(ValueError, match=r"^name: .*cluster"):
        class_order("name", np.eye(3), None)


def test_spans_of_imagenet_order():
    named = spans(np.arange(1000), IMAGENET, 8)
    assert Span(151, 269, "dogs") in named and Span(281, 294, "cats") in named
    assert Span(33, 69, "reptiles") in named and Span(25, 33, "amphibians") in named
    # Artifacts are sorted by name: their groups are not contiguous, their kind is.
    artifacts = [span for span in named if span.name == "artifacts"]
    assert artifacts and artifacts[0].first == 398 and artifacts[0].end > 900
    assert [a.end <= b.first for a, b in zip(named, named[1:])] == [True] * (len(named) - 1)
    assert all(span.end - span.first >= 8 for span in named)


def test_spans_of_wordnet_order_are_all_groups():
    order = class_order("wordnet", np.zeros((1000, 1000)), IMAGENET)
    named = spans(order, IMAGENET, 1)
    assert [span.name for span in named] == list(IMAGENET.groups)
    assert named[0].first == 0 and named[-1].end == 1000
