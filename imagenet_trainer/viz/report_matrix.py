"""The confusion matrix as the script of the page reads it: counts, orders, groups, colours."""

import base64
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import LinearSegmentedColormap, to_hex
from scipy.sparse import csr_matrix

from imagenet_trainer.metrics.confusion import as_counts
from imagenet_trainer.metrics.taxonomy import Taxonomy
from imagenet_trainer.text import printable
from imagenet_trainer.viz.class_order import MOST_CLUSTERED, ORDERS, class_order, spans
from imagenet_trainer.viz.confusion import DARK_TO_BRIGHT

_TITLES = {
    "imagenet": "by label",
    "wordnet": "by WordNet's groups",
    "cluster": "by confusion (clustered)",
}
_STEPS = 16  # colours of a palette, between which the script interpolates


def matrix_data(
    matrices: Sequence[Tuple[str, Any]],
    classes: Sequence[Tuple[str, str]],
    names: Sequence[str],
    images: np.ndarray,
    taxonomy: Optional[Taxonomy],
) -> Dict[str, Any]:
    """The data of the matrix on the page, as plain values for JSON.

    Parameters
    ----------
    matrices
        titles and counts by label, as `metrics.confusion` takes them.
    classes
        (id, name) of each class.
    names
        short names.
    images
        the number of images of each class, int64 (classes,).
    taxonomy
        None for classes that WordNet does not have.

    """
    counted = [(title, as_counts(matrix)) for title, matrix in matrices]
    return {
        "ids": [printable(one) for one, _ in classes],
        "names": list(map(printable, names)),
        "images": images.tolist(),
        "groups": [taxonomy.groups[group] for group in taxonomy.group] if taxonomy else [],
        "matrices": [{"title": title, **_sparse(matrix)} for title, matrix in counted],
        "orders": _orders(counted[0][1], taxonomy),
        "palettes": _palettes(),
    }


def _sparse(matrix: csr_matrix) -> Dict[str, Any]:
    """The non-zero cells by row: where each row begins, and the columns and counts of all cells.

    Each array is base64 of little-endian integers after the number of their bytes: `2:AAEA`.
    """
    arrays = {"rows": matrix.indptr, "columns": matrix.indices, "counts": matrix.data}
    return {name: _base64(array) for name, array in arrays.items()}


def _orders(matrix: csr_matrix, taxonomy: Optional[Taxonomy]) -> List[Dict[str, Any]]:
    orders = []
    for name in ORDERS:
        if name == "wordnet" and taxonomy is None:
            continue
        if name == "cluster" and matrix.shape[0] > MOST_CLUSTERED:
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
    size = 1 if array.max(initial=0) < 1 << 8 else 2 if array.max() < 1 << 16 else 4
    return f"{size}:{base64.b64encode(array.astype(f'<u{size}').tobytes()).decode()}"
