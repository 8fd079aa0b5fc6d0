"""What the script of a report reads: predictions, orders and groups of the classes, colours."""

import base64
import hashlib
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

import numpy as np
from scipy.sparse import csr_matrix

from imagenet_trainer.metrics.predictions import TOP, Predictions
from imagenet_trainer.metrics.taxonomy import Taxonomy
from imagenet_trainer.text import printable
from imagenet_trainer.viz.class_order import MOST_CLUSTERED, ORDERS, class_order, spans
from imagenet_trainer.viz.feature_map import FeatureMap
from imagenet_trainer.viz.matrix_style import COLOURS, FEWER, MORE, colours_of
from imagenet_trainer.viz.thumbnails import Thumbnails

_TITLES = {
    "imagenet": "by label",
    "wordnet": "by WordNet's groups",
    "cluster": "by confusion (clustered)",
}
_DISTINCT = ("cividis", "viridis")


class Network(NamedTuple):
    """The predictions of a network, and its name on the page."""

    title: str
    predictions: Predictions


def page_data(
    networks: Sequence[Network],
    names: Sequence[str],
    taxonomy: Optional[Taxonomy],
    thumbnails: Optional[Thumbnails],
    places: Optional[FeatureMap] = None,
) -> Dict[str, Any]:
    """The data of a page as plain values for JSON.

    Parameters
    ----------
    networks
        one, or two with predictions for the same images.
    names
        short names of the classes by label.
    taxonomy
        None for classes that WordNet does not have.
    thumbnails
        the files beside the page; None if there are none.
    places
        the map of the images' features; None for no map.

    Arrays are base64 of little-endian integers after the number of bytes of each, `2:AAEA`; `0:5`
    stands for 0, 1, 2, 3, 4. Probabilities are in 65,535ths.

    """
    first = networks[0].predictions
    data: Dict[str, Any] = {
        "names": list(map(printable, names)),
        "groups": list(taxonomy.group_names) if taxonomy else [],
        "orders": _orders(first.confusion(), taxonomy),
        "palettes": _palettes(),
        "difference": {"colours": MORE, "negative": FEWER},
        "matrices": _matrices(networks),
        "labels": _packed(first.labels),
        "keys": _packed(first.keys),
        "networks": [_packed_network(one) for one in networks],
        # The browser stores the verdicts on these images under it.
        "digest": hashlib.sha256(first.keys.tobytes() + first.labels.tobytes()).hexdigest()[:16],
    }
    if thumbnails is not None:
        data["folder"], data["files"] = thumbnails.folder.name, _packed(thumbnails.files)
    if places is not None:
        x, y = (_packed(_parts(column)) for column in places.places.T)
        data["map"] = {"x": x, "y": y, "about": places.about}
    return data


def _packed_network(network: Network) -> Dict[str, Any]:
    predictions = network.predictions
    k = min(TOP, predictions.top.shape[1])
    return {
        "title": printable(network.title),
        "k": k,
        "top": _packed(predictions.top[:, :k].ravel()),
        "probabilities": _packed(_parts(predictions.probabilities[:, :k].ravel())),
        "true": _packed(_parts(predictions.true)),
    }


def _parts(probabilities: np.ndarray) -> np.ndarray:
    """Probabilities in 65,535ths."""
    return np.rint(np.nan_to_num(probabilities) * 65535).astype(np.int64)


def _matrices(networks: Sequence[Network]) -> List[Dict[str, Any]]:
    """The matrices that the page can show: sums of the networks' counts times weights."""
    classes = networks[0].predictions.classes
    k = min(TOP, *(one.predictions.top.shape[1] for one in networks))
    kinds = [(k, f"top-{k} predictions"), (1, "first prediction only")]
    # With up to five classes the top five are all classes in every row.
    kinds = kinds[::-1] if classes <= TOP or len(networks) > 1 else kinds
    if len(networks) == 1:
        return [{"title": title, "weights": [[0, 1]], "k": k} for k, title in kinds]
    one, other = (printable(network.title) for network in networks)
    return [
        {"title": f"{name}: {title}", "weights": weights, "k": k, "signed": len(weights) > 1}
        for k, title in kinds
        for name, weights in (
            (f"{other} minus {one}", [[1, 1], [0, -1]]), (one, [[0, 1]]), (other, [[1, 1]]),
        )
    ]  # fmt: skip


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
    suits = " (suits colour vision deficiency)"
    return [
        {"title": name + (suits if name in _DISTINCT else ""), "colours": colours_of(name)}
        for name in COLOURS
    ]


def _packed(values: np.ndarray) -> str:
    if len(values) and np.array_equal(values, np.arange(len(values))):
        return f"0:{len(values)}"
    most, least = values.max(initial=0), values.min(initial=0)
    kind = next((f"<u{size}" for size in (1, 2, 4) if least >= 0 and most < 1 << 8 * size), "<f8")
    return f"{kind[2:]}:{base64.b64encode(values.astype(kind).tobytes()).decode()}"
