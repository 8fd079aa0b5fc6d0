"""Features of images in two dimensions."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from imagenet_trainer.errors import InputError
from imagenet_trainer.viz import feature_map as maps
from imagenet_trainer.viz.feature_map import feature_map, principal_components


def test_principal_components_are_those_of_scikit_learn():
    decomposition = pytest.importorskip("sklearn.decomposition")
    rng = np.random.default_rng(0)
    features = (rng.normal(size=(90, 6)) * [9, 5, 1, 1, 0.5, 0.1] @ rng.normal(size=(6, 6))) + 3
    found = feature_map(features.astype(np.float32))
    pca = decomposition.PCA(2).fit(features)
    share = pca.explained_variance_ratio_.sum()
    assert principal_components(features)[1] == pytest.approx(share, rel=1e-4)
    assert f"{100 * share:.0f} % of the variance" in found.about
    for one, other in zip(found.places.T, pca.transform(features).T):
        assert abs(np.corrcoef(one, other)[0, 1]) == pytest.approx(1, abs=1e-6)
        assert one.min() == 0 and one.max() == 1


@pytest.mark.parametrize("features", [np.ones((4, 3)), np.arange(4.0)[:, None]])
def test_maps_of_few_dimensions(features):
    places = feature_map(features).places
    assert places.shape == (4, 2) and np.isfinite(places).all()


def test_umap_gets_the_seed_and_one_thread(monkeypatch):
    class UMAP:
        def __init__(self, **settings):
            assert settings == {"n_neighbors": 11, "random_state": 7, "n_jobs": 1}

        def fit_transform(self, features):
            assert np.isfinite(features).all()
            return features[:, :2]

    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=UMAP))
    features = np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32)
    features[3, 4] = np.nan
    places = feature_map(features, "umap", 7).places
    assert places.min() == 0 and places.max() == 1
    with pytest.raises(InputError, match="needs 8 images, not 7; use pca"):
        feature_map(features[:7], "umap", 7)


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(InputError, match=r"--map umap: needs umap; .*pip install -e '.\[umap\]'"):
        maps.check_umap()


@pytest.mark.slow  # umap-learn compiles for ten seconds
def test_umap_repeats_and_keeps_groups_together():
    pytest.importorskip("umap")
    rng = np.random.default_rng(0)
    group = np.arange(240) % 3
    features = (rng.normal(size=(240, 16)) + 9 * np.eye(16)[group]).astype(np.float32)
    one, other = (feature_map(features, "umap", 3).places for _ in range(2))
    np.testing.assert_array_equal(one, other)
    assert not np.array_equal(one, feature_map(features, "umap", 4).places)
    distance = np.linalg.norm(one[:, None] - one, axis=2)
    np.fill_diagonal(distance, np.inf)
    assert (group[distance.argmin(axis=1)] == group).all()
