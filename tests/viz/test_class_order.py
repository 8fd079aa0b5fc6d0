import numpy as np
import pytest

from imagenet_trainer.data.records.manifest import known_synsets
from imagenet_trainer.metrics.taxonomy import taxonomy_of
from imagenet_trainer.viz.class_order import ORDERS, Span, class_order, cluster_order, spans

WHOLE = taxonomy_of(list(known_synsets()))


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
    found = class_order(order, matrix, WHOLE)
    assert found.dtype.kind == "i" and sorted(found.tolist()) == list(range(len(matrix)))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_clusters_bring_confusions_to_the_diagonal(seed):
    matrix, block = blocks(6, 7, seed)
    found = cluster_order(matrix)
    changes = np.count_nonzero(np.diff(block[found]))
    assert changes == 5  # each block is contiguous
    assert spread(matrix, found) < 0.3 * spread(matrix, np.arange(42))
    assert np.array_equal(found, cluster_order(matrix.copy()))
    assert found.tolist().index(0) < 21


@pytest.mark.parametrize("matrix", [np.zeros((5, 5), int), np.eye(2, dtype=int), np.ones((3, 3))])
def test_matrices_without_structure_can_be_ordered(matrix):
    assert sorted(cluster_order(matrix).tolist()) == list(range(len(matrix)))


def test_groups_are_contiguous_in_wordnet_order():
    order = class_order("wordnet", np.zeros((1000, 1000)), WHOLE)
    group = WHOLE.group[order]
    assert (np.diff(group) >= 0).all()
    dogs = WHOLE.groups.index("dogs")
    retrievers = [  # five neighbours in WordNet's tree
        position for position, label in enumerate(order) if "n02099029" in WHOLE.paths[label]
    ]
    assert np.ptp(retrievers) == 4 and set(group[retrievers]) == {dogs}


def test_orders_that_do_not_exist():
    with pytest.raises(ValueError, match="WordNet"):
        class_order("wordnet", np.eye(3), None)
    with pytest.raises(ValueError, match=r"^name: .*cluster"):
        class_order("name", np.eye(3), None)


def test_spans_of_imagenet_order():
    found = spans(np.arange(1000), WHOLE, 8)
    assert Span(151, 269, "dogs") in found and Span(281, 294, "cats") in found
    assert Span(33, 69, "reptiles") in found and Span(25, 33, "amphibians") in found
    # Artifacts are sorted by name: their groups are not contiguous, their kind is.
    artifacts = [span for span in found if span.name == "artifacts"]
    assert artifacts and artifacts[0].first == 398 and artifacts[0].end > 900
    assert [a.end <= b.first for a, b in zip(found, found[1:])] == [True] * (len(found) - 1)
    assert all(span.end - span.first >= 8 for span in found)


def test_spans_of_wordnet_order_are_all_groups():
    order = class_order("wordnet", np.zeros((1000, 1000)), WHOLE)
    found = spans(order, WHOLE, 1)
    assert [span.name for span in found] == list(WHOLE.groups)
    assert found[0].first == 0 and found[-1].end == 1000
