import base64
import json
from pathlib import Path

import numpy as np
import pytest
from helpers.reports import predictions_of

from imagenet_trainer.data.records.manifest import known_synsets
from imagenet_trainer.metrics.taxonomy import taxonomy_of
from imagenet_trainer.viz.report_data import Network, page_data
from imagenet_trainer.viz.thumbnails import NO_FILE, Thumbnails


def data_of(classes, taxonomy=None, networks=1, **more):
    known = [Network(f"n{n}", predictions_of(classes, seed=n, **more)) for n in range(networks)]
    data = page_data(known, [f"c{n}" for n in range(classes)], taxonomy, None)
    return json.loads(json.dumps(data)), known  # plain values only


def array(text):
    """An array by the rule of the page's script."""
    size, _, rest = text.partition(":")
    if size == "0":
        return np.arange(int(rest))
    return np.frombuffer(base64.b64decode(rest), "<f8" if size == "8" else f"<u{size}")


@pytest.mark.parametrize("classes", [3, 300])
def test_predictions_can_be_decoded(classes):
    data, [(_, predictions)] = data_of(classes, per_class=3)
    [network] = data["networks"]
    k = network["k"]
    assert k == min(5, classes)
    assert np.array_equal(array(data["labels"]), predictions.labels)
    assert np.array_equal(array(data["keys"]), predictions.keys)
    assert np.array_equal(array(network["top"]).reshape(-1, k), predictions.top[:, :k])
    shares = array(network["probabilities"]).reshape(-1, k) / 65535
    assert np.abs(shares - predictions.probabilities[:, :k]).max() < 1e-5
    assert np.abs(array(network["true"]) / 65535 - predictions.true).max() < 1e-5


@pytest.mark.parametrize(
    "files", [[0, 1, 2], [7, NO_FILE, 2**31], [255, 0, 1]], ids=["all", "some", "bytes"]
)
def test_numbers_of_files(files):
    predictions = predictions_of(3, per_class=1)
    thumbnails = Thumbnails(Path("out/thumbnails-1"), np.array(files))
    data = page_data([Network("", predictions)], list("abc"), None, thumbnails)
    assert data["folder"] == "thumbnails-1" and array(data["files"]).tolist() == files


def test_the_matrices_of_one_and_of_two_networks():
    one = data_of(9)[0]["matrices"]
    assert [(m["weights"], m["k"]) for m in one] == [([[0, 1]], 5), ([[0, 1]], 1)]
    assert [m["k"] for m in data_of(4)[0]["matrices"]] == [1, 4]
    first, *others = data_of(9, networks=2)[0]["matrices"]
    assert first["signed"] and first["weights"] == [[1, 1], [0, -1]] and first["k"] == 1
    assert first["title"].startswith("n1 minus n0") and len(others) == 5


def test_orders_and_groups_with_and_without_wordnet():
    plain, _ = data_of(4)
    assert [one["title"] for one in plain["orders"]] == ["by label", "by confusion (clustered)"]
    assert plain["groups"] == [] and plain["orders"][0]["spans"] == []
    ids = [list(known_synsets())[label] for label in (963, 207, 281, 208)]
    known, _ = data_of(4, taxonomy_of(ids))
    assert known["groups"] == ["food", "dogs", "cats", "dogs"]
    assert known["orders"][1]["order"] == [1, 3, 2, 0]
    assert known["orders"][1]["spans"] == [[0, 2, "dogs"], [2, 3, "cats"], [3, 4, "food"]]


def test_palettes_get_brighter():
    data, _ = data_of(2)
    difference = data["difference"]
    palettes = [one["colours"] for one in data["palettes"]]
    for palette in (*palettes, difference["colours"], difference["negative"]):
        colours = np.array([[int(c[at : at + 2], 16) for at in (1, 3, 5)] for c in palette])
        light = colours @ [0.21, 0.72, 0.07]
        assert (np.diff(light) > 0).all() and light[0] > 30  # black is zero
