"""Features of images as points on a map."""

from typing import NamedTuple, Tuple

import numpy as np

from imagenet_trainer.errors import ArgumentError, InputError
from imagenet_trainer.system.wheels import pip_install

KINDS = ("pca", "umap")
LEAST = 8
"""Images that UMAP needs."""
_NEIGHBOURS = 15  # of each image; UMAP's default


class FeatureMap(NamedTuple):
    """Where each image is, and what that means."""

    places: np.ndarray  # float64 (n, 2) between 0 and 1
    about: str  # completes "each point is an image, ..."


def feature_map(features: np.ndarray, kind: str = "pca", seed: int = 0) -> FeatureMap:
    """A map of features float32 (n, d), of one of KINDS; the same features give the same map.

    `seed` is for UMAP, which draws random numbers. Raises InputError without its library, or for
    too few images.
    """
    clean = np.nan_to_num(features)
    if kind == "umap":
        neighbours = "near those with similar features (UMAP); distances between groups mean little"
        return FeatureMap(_in_unit_square(_umap(clean, seed)), neighbours)
    places, share = principal_components(clean)
    about = f"at the two principal components of the features: {100 * share:.0f} % of the variance"
    return FeatureMap(_in_unit_square(places), about)


def principal_components(features: np.ndarray) -> Tuple[np.ndarray, float]:
    """The first two, float64 (n, 2), and their share of the variance.

    The largest coefficient of each is positive, so equal features give equal maps.
    """
    centred = features.astype(np.float64)
    centred -= centred.mean(axis=0)
    values, vectors = np.linalg.eigh(centred.T @ centred)
    chosen = vectors[:, ::-1][:, :2]
    chosen = chosen * np.sign(chosen[np.abs(chosen).argmax(axis=0), np.arange(chosen.shape[1])])
    places = np.zeros((len(features), 2))
    places[:, : chosen.shape[1]] = centred @ chosen
    return places, float(values[::-1][:2].sum() / max(values.sum(), 1e-30))


def check_umap() -> None:
    """InputError unless umap-learn is installed."""
    try:
        import umap
    except ImportError as error:
        raise InputError(f"--map umap: needs {error.name}; {pip_install('umap')}") from error
    del umap


def _umap(features: np.ndarray, seed: int) -> np.ndarray:
    """Float32 (n, 2); one thread, since the order in which several work changes the result."""
    check_umap()
    if len(features) < LEAST:
        raise ArgumentError("map", "umap", f"needs {LEAST} images, not {len(features)}; use pca")
    from umap import UMAP

    neighbours = min(_NEIGHBOURS, len(features) - 1)
    return UMAP(n_neighbors=neighbours, random_state=seed, n_jobs=1).fit_transform(features)


def _in_unit_square(places: np.ndarray) -> np.ndarray:
    """Moved and stretched along both axes, to float64 between 0 and 1."""
    low, high = places.min(axis=0), places.max(axis=0)
    return (places - low.astype(np.float64)) / np.maximum(high - low, 1e-30)
