"""Reads symbols, checks parameters against them, and freezes their BatchNorms."""

import json
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np

from imagenet_trainer.errors import InputError
from imagenet_trainer.system.arrays import Arrays
from imagenet_trainer.system.mxnet_import import mx

Shapes = Dict[str, Tuple[int, ...]]


def load_symbol(text: str, path: str) -> Any:
    """An MXNet symbol from its JSON; InputError with the file's name if it is not one."""
    try:
        return mx.sym.load_json(text)
    except (mx.base.MXNetError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a network that MXNet can read; copy it again") from error


def parameter_shapes(symbol: Any, image_shape: Sequence[int]) -> Tuple[Shapes, Shapes]:
    """Shapes of a symbol's arguments (without data and label) and auxiliary states by name."""
    arguments, _, auxiliary = symbol.infer_shape(data=(1, *image_shape))
    inputs = ("data", "softmax_label")
    arg = {n: s for n, s in zip(symbol.list_arguments(), arguments) if n not in inputs}
    return arg, dict(zip(symbol.list_auxiliary_states(), auxiliary))


def check_parameters(
    symbol: Any, image_shape: Sequence[int], arg: Arrays, aux: Arrays, path: str
) -> None:
    """Raise InputError with the file and the first difference if they are not the symbol's."""
    for expected, actual in zip(parameter_shapes(symbol, image_shape), (arg, aux)):
        for name, shape in expected.items():
            if name not in actual:
                raise InputError(f"{path}: has no {name}: it is from another network")
            if tuple(actual[name].shape) != tuple(shape):
                raise InputError(
                    f"{path}: {name} is {tuple(actual[name].shape)}, but this network has {shape}: "
                    "the file is for another network, number of classes or image size"
                )
        for name in actual:
            if name not in expected:
                raise InputError(f"{path}: {name} is not in this network: it is from another one")


def number_of_classes(symbol: Any, image_shape: Tuple[int, int, int]) -> int:
    """The number of a network's outputs; image_shape is (channels, height, width)."""
    _, outputs, _ = symbol.infer_shape(data=(1, *image_shape))
    return int(np.prod(outputs[0][1:]))


def frozen_in(symbol: Any, names: List[str]) -> Any:
    """The network whose BatchNorms with frozen parameters normalise by moving statistics.

    A BatchNorm is frozen if its beta is frozen and its gamma is frozen or fixed. Otherwise the
    output of a frozen layer would still change with its statistics.
    """
    frozen, graph = set(names), json.loads(symbol.tojson())
    nodes = graph["nodes"]
    for node in nodes:
        if node["op"] != "BatchNorm":
            continue
        attributes = node.setdefault("attrs", {})
        gamma, beta = (nodes[source[0]]["name"] for source in node["inputs"][1:3])
        learns_gamma = attributes.get("fix_gamma", "True") in ("False", "0")
        if beta in frozen and (gamma in frozen or not learns_gamma):
            attributes["use_global_stats"] = "True"
    return mx.sym.load_json(json.dumps(graph))
