"""Another classifier for a network: graphs in, graphs out.

A network's classifier is the last layer with weights before its output: a FullyConnected, or, as in
SqueezeNet and MobileNet-v2, a Convolution. Networks come as MXNet's scripts, its model zoo, Gluon's
`export` and GluonCV leave them: with or without a softmax at the end.
"""

import difflib
import json
from typing import Any, Dict, List

from imagenet_trainer.errors import InputError
from imagenet_trainer.system.mxnet_import import mx

# What may stand at the end instead of the SoftmaxOutput that training needs.
_ENDS = ("SoftmaxOutput", "Softmax", "softmax", "SoftmaxActivation", "log_softmax")
# What may stand between the classifier and the end, and changes no number of classes.
_PASSIVE = (
    "Activation", "Cast", "Dropout", "Flatten", "LeakyReLU", "Pooling", "_copy", "amp_cast",
    "identity", "mean", "relu", "squeeze",
)  # fmt: skip
# What Gluon's export writes to every parameter: the shapes bind it to the old classes, and MXNet's
# optimizer obeys the factors.
_STALE = ("__shape__", "__dtype__", "__storage_type__", "__lr_mult__", "__wd_mult__")
_WIDTHS = {"FullyConnected": "num_hidden", "Convolution": "num_filter"}


def with_classifier(symbol: mx.sym.Symbol, num_classes: int, layer: str = "") -> mx.sym.Symbol:
    """The network with a classifier of so many outputs, (batch, num_classes), ending in `softmax`.

    With `layer`, everything behind that layer goes, and a FullyConnected `fc` comes, as in MXNet's
    fine-tune.py. Without it the classifier keeps its place, its name and what follows it, and only
    changes its width. Shapes and rate factors that Gluon's export has attached to parameters go.
    InputError when there is no such layer, or none that looks like a classifier.
    """
    graph = json.loads(symbol.tojson())
    nodes = graph["nodes"]
    for node in nodes:
        node["attrs"] = {k: v for k, v in node.get("attrs", {}).items() if k not in _STALE}
    if layer:
        graph["heads"] = [[_place(nodes, layer), 0, 0]]
        features = mx.sym.load_json(json.dumps(graph))
        taken = {part.name for part in features.get_internals()}
        name = "fc" if not {"fc", "fc_weight", "fc_bias"} & taken else "fc_new"
        logits = mx.sym.FullyConnected(features, num_hidden=num_classes, name=name)
    else:
        end = _before_softmax(graph)
        classifier = nodes[_classifier(nodes, end)]
        width = _WIDTHS[classifier["op"]]
        for node in (classifier, *(nodes[place] for place, *_ in classifier["inputs"][1:])):
            if width in node["attrs"]:  # MXNet repeats it in the parameters that it makes itself
                node["attrs"][width] = str(num_classes)
        graph["heads"] = [[end, 0, 0]]
        logits = mx.sym.load_json(json.dumps(graph))
    return mx.sym.SoftmaxOutput(logits, name="softmax")


def classifier_of(symbol: mx.sym.Symbol) -> List[str]:
    """Names of the classifier's parameters, weight first."""
    graph = json.loads(symbol.tojson())
    nodes = graph["nodes"]
    classifier = nodes[_classifier(nodes, _before_softmax(graph))]
    return [nodes[place]["name"] for place, *_ in classifier["inputs"][1:]]


def _before_softmax(graph: Dict[str, Any]) -> int:
    """The node that the softmax, if there is one, gets its input from."""
    if len(graph["heads"]) != 1:
        raise InputError(
            f"the network has {len(graph['heads'])} outputs, so its classifier is not known; name "
            f"the layer before it with --layer-before-fullc{_last_layers(graph['nodes'])}"
        )
    place = graph["heads"][0][0]
    while graph["nodes"][place]["op"] in _ENDS:
        place = graph["nodes"][place]["inputs"][0][0]
    return _single_logit(graph["nodes"], place)


def _single_logit(nodes: List[Dict[str, Any]], place: int) -> int:
    """The layer of one logit, where a softmax of two classes is a sigmoid of it; else the node.

    The softmax then gets the logit twice, each time multiplied by a number.
    """
    if nodes[place]["op"] != "Concat":
        return place
    parts = [nodes[part] for part, *_ in nodes[place]["inputs"]]
    behind = {part["inputs"][0][0] for part in parts if part["op"] == "_mul_scalar"}
    scaled = all(part["op"] == "_mul_scalar" for part in parts)
    return behind.pop() if scaled and len(behind) == 1 else place


def _classifier(nodes: List[Dict[str, Any]], place: int) -> int:
    """Go from the output to the first layer with weights."""
    while nodes[place]["op"] in _PASSIVE:
        place = nodes[place]["inputs"][0][0]
    if nodes[place]["op"] not in _WIDTHS:
        raise InputError(
            f"the network's last layers are not those of a classifier ({nodes[place]['op']} "
            f"{nodes[place]['name']}); name the layer before it with --layer-before-fullc"
            f"{_last_layers(nodes)}"
        )
    return place


def _place(nodes: List[Dict[str, Any]], layer: str) -> int:
    """The node of a layer, which may be written with MXNet's `_output` behind its name."""
    layers = {node["name"]: place for place, node in enumerate(nodes) if node["op"] != "null"}
    for name in (layer, layer[: -len("_output")] if layer.endswith("_output") else layer):
        if name in layers:
            return layers[name]
    near = difflib.get_close_matches(layer, layers, 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise InputError(
        f"--layer-before-fullc {layer}: no such layer{hint}{_last_layers(nodes)}; without the flag "
        "the last layer with weights is exchanged"
    )


def _last_layers(nodes: List[Dict[str, Any]]) -> str:
    return "; the last are " + ", ".join([n["name"] for n in nodes if n["op"] != "null"][-5:])
