"""The confusion matrix as the script of the page reads it: counts, orders, groups, colours."""

import base64
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import LinearSegmentedColormap, to_hex

from imagenet_trainer.metrics.taxonomy import Taxonomy
from imagenet_trainer.viz.class_order import ORDERS, class_order, spans
from imagenet_trainer.viz.confusion import DARK_TO_BRIGHT

_TITLES = {
    "imagenet": "by label",
    "wordnet": "by WordNet's groups",
    "cluster": "by confusion (clustered)",
}
_STEPS = 16  # colours of a palette, between which the script interpolates


def matrix_data(
    matrices: Sequence[Tuple[str, np.ndarray]],
    classes: Sequence[Tuple[str, str]],
    names: Sequence[str],
    images: np.ndarray,
    taxonomy: Optional[Taxonomy],
) -> Dict[str, Any]:
    """The data of the matrix on the page, as plain values for JSON.

    Parameters
    ----------
    matrices
        titles and counts, int64 (classes, classes) by label, rows true.
    classes
        (id, name) of each class.
    names
        short names.
    images
        the number of images of each class, int64 (classes,).
    taxonomy
        None for classes that WordNet does not have.

    """
    return {
        "ids": [one for one, _ in classes],
        "names": list(names),
        "images": images.tolist(),
        "groups": [taxonomy.groups[group] for group in taxonomy.group] if taxonomy else [],
        "matrices": [{"title": title, **_sparse(matrix)} for title, matrix in matrices],
        "orders": _orders(matrices[0][1], taxonomy),
        "palettes": _palettes(),
    }


def _sparse(matrix: np.ndarray) -> Dict[str, Any]:
    """The non-zero cells: their indices row * classes + column, and their counts."""
    cells = np.flatnonzero(matrix.ravel())
    counts = matrix.ravel()[cells]
    kind = "<u2" if counts.max(initial=0) < 1 << 16 else "<u4"
    return {
        "cells": _base64(cells.astype("<u4")),
        "counts": _base64(counts.astype(kind)),
        "bytes": int(kind[-1]),
    }


def _orders(matrix: np.ndarray, taxonomy: Optional[Taxonomy]) -> List[Dict[str, Any]]:
    orders = []
    for name in ORDERS:
        if name == "wordnet" and taxonomy is None:
            continue
        order = class_order(name, matrix, taxonomy)
        groups = spans(order, taxonomy, 3 if len(order) > 100 else 1) if taxonomy else []
        orders.append(
            {"title": _TITLES[name], "order": order.tolist(), "spans": [list(g) for g in groups]}
        )
    return orders


def _palettes() -> List[Dict[str, Any]]:
    """Colours from the least to the greatest count, as #rrggbb; a count of zero is black."""
    green = LinearSegmentedColormap.from_list("green", DARK_TO_BRIGHT)
    # The darkest colours of the others are too close to black.
    scales = (
        ("green", green, 0.0),
        ("cividis (suits colour vision deficiency)", colormaps["cividis"], 0.2),
        ("grey", colormaps["gray"], 0.25),
    )
    return [
        {"title": title, "colours": [to_hex(scale(v)) for v in np.linspace(low, 1, _STEPS)]}
        for title, scale, low in scales
    ]


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(array.tobytes()).decode()
