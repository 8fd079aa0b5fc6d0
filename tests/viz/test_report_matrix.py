import base64
import json

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from imagenet_trainer.data.records.manifest import known_synsets
from imagenet_trainer.metrics.taxonomy import taxonomy_of
from imagenet_trainer.viz.report_matrix import matrix_data


def data_of(matrix, ids, taxonomy=None):
    classes = [(one, one) for one in ids]
    images = np.full(len(ids), 5)
    data = matrix_data([("a", matrix)], classes, list(ids), images, taxonomy)
    return json.loads(json.dumps(data))  # plain values only


def dense(sparse, classes):
    """The matrix by the rule of the page's script."""
    parts = (sparse[name].split(":") for name in ("counts", "columns", "rows"))
    arrays = [np.frombuffer(base64.b64decode(text), f"<u{size}") for size, text in parts]
    return csr_matrix(tuple(arrays), (classes, classes)).toarray()


@pytest.mark.parametrize("most", [3, 65535, 65536, 10**7])
def test_counts_can_be_decoded(most):
    rng = np.random.default_rng(most)
    matrix = rng.integers(0, 2, (30, 30)) * rng.integers(1, most + 1, (30, 30))
    matrix[3, 4] = most
    data = data_of(matrix, [f"c{n}" for n in range(30)])
    assert np.array_equal(dense(data["matrices"][0], 30), matrix)


def test_orders_and_groups_with_and_without_wordnet():
    matrix = np.eye(4, dtype=int)
    plain = data_of(matrix, "abcd")
    assert [one["title"] for one in plain["orders"]] == ["by label", "by confusion (clustered)"]
    assert plain["groups"] == [] and plain["orders"][0]["spans"] == []
    ids = [list(known_synsets())[label] for label in (963, 207, 281, 208)]
    known = data_of(matrix, ids, taxonomy_of(ids))
    assert known["groups"] == ["food", "dogs", "cats", "dogs"]
    assert known["orders"][1]["order"] == [1, 3, 2, 0]
    assert known["orders"][1]["spans"] == [[0, 2, "dogs"], [2, 3, "cats"], [3, 4, "food"]]


def test_palettes_get_brighter():
    for palette in data_of(np.eye(2, dtype=int), "ab")["palettes"]:
        colours = np.array(
            [[int(c[at : at + 2], 16) for at in (1, 3, 5)] for c in palette["colours"]]
        )
        light = colours @ [0.21, 0.72, 0.07]
        assert (np.diff(light) > 0).all() and light[0] > 30  # black is zero
