"""Replace the classifier of a network: graphs in, graphs out.

A network's classifier is the last layer with weights before its output: a FullyConnected, or, in
SqueezeNet and MobileNet-v2, a Convolution. The networks may come from MXNet's scripts, its model
zoo, Gluon's `export` or GluonCV, with or without a softmax at the end.
"""

import difflib
import json
from typing import Any, Dict, List

from imagenet_trainer.errors import ArgumentError
from imagenet_trainer.system.mxnet_import import mx

# Operators that may end a network instead of the SoftmaxOutput that training needs.
_ENDS = ("SoftmaxOutput", "Softmax", "softmax", "SoftmaxActivation", "log_softmax")
# Operators that may follow the classifier and do not change the number of classes.
_PASSIVE = (
    "Activation", "Cast", "Dropout", "Flatten", "LeakyReLU", "Pooling", "_copy", "amp_cast",
    "identity", "mean", "relu", "squeeze",
)  # fmt: skip
# Attributes that Gluon's export writes to every parameter: the shapes bind it to the old number of
# classes, and MXNet's optimizer obeys the factors.
_STALE = ("__shape__", "__dtype__", "__storage_type__", "__lr_mult__", "__wd_mult__")
_WIDTHS = {"FullyConnected": "num_hidden", "Convolution": "num_filter"}


def with_classifier(symbol: "mx.sym.Symbol", num_classes: int, layer: str = "") -> "mx.sym.Symbol":
    """The network with a classifier of `num_classes` outputs, ending in `softmax`.

    With `layer`, everything after that layer is removed and a FullyConnected `fc` is appended, as
    in MXNet's fine-tune.py. Without it the classifier keeps its position, its name and the layers
    that follow it; only its width changes. Shapes and rate factors that Gluon's export attached to
    parameters are removed. Raises ArgumentError if there is no such layer, or no layer that looks
    like a classifier.
    """
    graph = json.loads(symbol.tojson())
    nodes = graph["nodes"]
    for node in nodes:
        node["attrs"] = {k: v for k, v in node.get("attrs", {}).items() if k not in _STALE}
    if layer:
        graph["heads"] = [[_index_of(nodes, layer), 0, 0]]
        features = mx.sym.load_json(json.dumps(graph))
        taken = {part.name for part in features.get_internals()}
        name = "fc" if not {"fc", "fc_weight", "fc_bias"} & taken else "fc_new"
        logits = mx.sym.FullyConnected(features, num_hidden=num_classes, name=name)
    else:
        end = _before_softmax(graph)
        classifier = nodes[_classifier(nodes, end)]
        width = _WIDTHS[classifier["op"]]
        for node in (classifier, *(nodes[index] for index, *_ in classifier["inputs"][1:])):
            if width in node["attrs"]:  # MXNet copies it to the parameters that it creates
                node["attrs"][width] = str(num_classes)
        graph["heads"] = [[end, 0, 0]]
        logits = mx.sym.load_json(json.dumps(graph))
    return mx.sym.SoftmaxOutput(logits, name="softmax")


def classifier_of(symbol: "mx.sym.Symbol") -> List[str]:
    """Names of the classifier's parameters, weight first."""
    graph = json.loads(symbol.tojson())
    nodes = graph["nodes"]
    classifier = nodes[_classifier(nodes, _before_softmax(graph))]
    return [nodes[index]["name"] for index, *_ in classifier["inputs"][1:]]


def _before_softmax(graph: Dict[str, Any]) -> int:
    """The node that the softmax, if there is one, takes its input from."""
    if len(graph["heads"]) != 1:
        raise _unknown_classifier(
            graph["nodes"], f"the network has {len(graph['heads'])} outputs, not one classifier"
        )
    index = graph["heads"][0][0]
    while graph["nodes"][index]["op"] in _ENDS:
        index = graph["nodes"][index]["inputs"][0][0]
    return _single_logit(graph["nodes"], index)


def _single_logit(nodes: List[Dict[str, Any]], index: int) -> int:
    """The layer of the one logit if a softmax over two classes is a sigmoid of it; else the node.

    Such a softmax takes the logit twice, multiplied by two numbers.
    """
    if nodes[index]["op"] != "Concat":
        return index
    parts = [nodes[part] for part, *_ in nodes[index]["inputs"]]
    sources = {part["inputs"][0][0] for part in parts if part["op"] == "_mul_scalar"}
    scaled = all(part["op"] == "_mul_scalar" for part in parts)
    return sources.pop() if scaled and len(sources) == 1 else index


def _classifier(nodes: List[Dict[str, Any]], index: int) -> int:
    """The first layer with weights on the way back from the output."""
    while nodes[index]["op"] in _PASSIVE:
        index = nodes[index]["inputs"][0][0]
    if nodes[index]["op"] not in _WIDTHS:
        raise _unknown_classifier(
            nodes,
            f"the network's last layers are not those of a classifier ({nodes[index]['op']} "
            f"{nodes[index]['name']})",
        )
    return index


def _unknown_classifier(nodes: List[Dict[str, Any]], reason: str) -> ArgumentError:
    return ArgumentError(
        "layer_before_fullc",
        "",
        f"{reason}; name the layer before the new classifier; {_last_layers(nodes)}",
    )


def _index_of(nodes: List[Dict[str, Any]], layer: str) -> int:
    """The node of a layer, whose name may end in MXNet's `_output`."""
    layers = {node["name"]: index for index, node in enumerate(nodes) if node["op"] != "null"}
    for name in (layer, layer[: -len("_output")] if layer.endswith("_output") else layer):
        if name in layers:
            return layers[name]
    near = difflib.get_close_matches(layer, layers, 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise ArgumentError(
        "layer_before_fullc",
        layer,
        f"no such layer{hint}; {_last_layers(nodes)}; by default the last layer with weights is "
        "replaced",
    )


def _last_layers(nodes: List[Dict[str, Any]]) -> str:
    return "the last are " + ", ".join([n["name"] for n in nodes if n["op"] != "null"][-5:])
