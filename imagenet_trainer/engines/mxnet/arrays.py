"""Copies arrays and graphs to MXNet, and normalises images on the device."""

from typing import Any, Dict, Mapping, Sequence

import numpy as np

from imagenet_trainer.errors import InputError
from imagenet_trainer.graph import Symbol
from imagenet_trainer.system.arrays import Arrays
from imagenet_trainer.system.mxnet_import import mx


def to_numpy(arrays: Mapping[str, "mx.nd.NDArray"]) -> Arrays:
    """Named MXNet arrays as NumPy arrays; waits for them."""
    return {name: value.asnumpy() for name, value in arrays.items()}


def to_mxnet(arrays: Mapping[str, np.ndarray]) -> Dict[str, "mx.nd.NDArray"]:
    """Named NumPy arrays as MXNet arrays on the CPU, of the same types."""
    return {name: mx.nd.array(value, dtype=value.dtype) for name, value in arrays.items()}


def to_symbol(graph: Any) -> "mx.sym.Symbol":
    """A graph as MXNet's symbol; a symbol of MXNet as it is.

    Raises InputError for a graph that MXNet does not read, such as one with control characters in
    its attributes, for which MXNet's JSON has no escapes.
    """
    if not isinstance(graph, Symbol):
        return graph
    try:
        return mx.sym.load_json(graph.tojson())
    except mx.base.MXNetError as error:
        reason = str(error).strip().splitlines()[-1]
        raise InputError(
            f"MXNet does not read the network ({reason}); copy its -symbol.json again"
        ) from error


def normalised(
    symbol: "mx.sym.Symbol", mean: Sequence[float], std: Sequence[float], bgr: bool = False
) -> "mx.sym.Symbol":
    """The network with an input of uint8 (n, h, w, 3) RGB instead of float32 (n, 3, h, w).

    Batches are copied as bytes and become (value - mean) / std on the device, with `bgr` in the
    order blue, green, red.
    """
    pixels = mx.sym.Variable("data")
    if bgr:
        pixels, mean, std = mx.sym.reverse(pixels, axis=3), mean[::-1], std[::-1]
    planes = mx.sym.transpose(mx.sym.Cast(pixels, dtype="float32"), axes=(0, 3, 1, 2))
    if any(mean) or any(deviation != 1 for deviation in std):
        planes = mx.sym.image.normalize(planes, mean=tuple(mean), std=tuple(std))
    return symbol(data=planes)
