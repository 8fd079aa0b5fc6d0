"""Upper bounds for the speed of a training on a GPU, from the GPU's own rates."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Bounds:
    """Measured rates of the device."""

    flops: float  # of a large matrix product
    copy: float  # bytes read and written, per second


def bound(symbol: Any, side: int, bounds: Bounds, bytes_each: int) -> float:
    """Upper bound in images/s for implementations that compute layer by layer.

    A convolution or dense layer is computed three times (forward, gradients of input and weight),
    each at the matrix rate or at the rate of reading its input and writing its output once,
    whichever is slower. The rest (normalisation, activations, update) counts as free.
    """
    graph = json.loads(symbol.tojson())
    internals = symbol.get_internals()
    _, shapes, _ = internals.infer_shape(data=(1, 3, side, side))
    shape_of = dict(zip(internals.list_outputs(), shapes))
    seconds = 0.0
    for node in graph["nodes"]:
        if node["op"] not in ("Convolution", "FullyConnected"):
            continue
        source, weight = (graph["nodes"][place[0]] for place in node["inputs"][:2])
        made = np.prod(shape_of[f"{node['name']}_output"])
        key = source["name"] if source["op"] == "null" else f"{source['name']}_output"
        read = np.prod(shape_of[key]) if key in shape_of else made
        flops = 2 * made * np.prod(shape_of[weight["name"]][1:])
        seconds += 3 * max(flops / bounds.flops, (read + made) * bytes_each / bounds.copy)
    return 1 / seconds
