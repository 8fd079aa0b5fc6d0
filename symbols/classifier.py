"""Replace the classifier of a network: graphs in, graphs out.

A network's classifier is the last layer with weights before its output: a FullyConnected, or, in
SqueezeNet and MobileNet-v2, a Convolution. The networks may come from MXNet's scripts, its model
zoo, Gluon's `export` or GluonCV, with or without a softmax at the end.
"""

from typing import Any, List, Sequence

from imagenet_trainer.errors import ArgumentError
from imagenet_trainer.graph import Entry, Node, Symbol, as_graph, sym
from imagenet_trainer.graph.operators import SHAPELESS, nearest

# Operators that may end a network instead of the SoftmaxOutput that training needs.
_ENDS = (
    "SoftmaxOutput", "softmax", "SoftmaxActivation", "log_softmax", "LogisticRegressionOutput",
)  # fmt: skip
# Operators that may follow the classifier and do not change the number of classes.
_PASSIVE = (
    "Activation", "Cast", "Dropout", "Flatten", "LeakyReLU", "Pooling", "_copy", "amp_cast",
    "mean", "relu", "squeeze",
)  # fmt: skip
# Attributes that Gluon's export writes to every parameter: the shapes bind it to the old number of
# classes, and MXNet's optimizer obeys the factors.
_STALE = ("__shape__", "__dtype__", "__storage_type__", "__lr_mult__", "__wd_mult__")
_WIDTHS = {"FullyConnected": "num_hidden", "Convolution": "num_filter"}


def with_classifier(symbol: Any, num_classes: int, layer: str = "") -> Symbol:
    """The graph, or MXNet symbol, with a classifier of `num_classes` outputs, ending in `softmax`.

    With `layer`, everything after that layer is removed and a FullyConnected `fc` is appended, as
    in MXNet's fine-tune.py. Without it the classifier keeps its position, its name and the layers
    that follow it; only its width changes. Shapes and rate factors that Gluon's export attached to
    parameters are removed. Raises ArgumentError if there is no such layer, or no layer that looks
    like a classifier.
    """
    symbol = as_graph(symbol)
    symbol = _without_stale(symbol)
    if layer:
        features = Symbol([Entry(_node_of(symbol.nodes, layer))])
        taken = {node.name for node in features.nodes}
        name = "fc" if not {"fc", "fc_weight", "fc_bias"} & taken else "fc_new"
        logits = sym.FullyConnected(features, num_hidden=num_classes, name=name)
    else:
        end = _before_softmax(symbol)
        classifier = _classifier(symbol.nodes, end)
        width = _WIDTHS[classifier.op]
        changes = {
            node.name: {width: str(num_classes)}
            # MXNet copies the attribute to the parameters that it creates.
            for node in (classifier, *(entry.node for entry in classifier.inputs[1:]))
            if width in node.attrs
        }
        logits = Symbol([Entry(end)]).with_attributes(changes)
    return sym.SoftmaxOutput(logits, name="softmax")


def with_features(symbol: Any) -> Symbol:
    """The graph with two outputs: what its classifier takes, (n, d), and its own output.

    The input of a Convolution is averaged over its positions. Raises ArgumentError as
    `with_classifier` does.
    """
    symbol = as_graph(symbol)
    classifier = _classifier(symbol.nodes, _before_softmax(symbol))
    features = Symbol(classifier.inputs[:1])
    if classifier.op == "Convolution":
        features = sym.Pooling(features, global_pool=True, pool_type="avg", kernel=(1, 1))
    return Symbol([*sym.Flatten(features).entries, *symbol.entries])


def _without_stale(symbol: Symbol) -> Symbol:
    """The graph without what Gluon's export attached.

    A parameter that is no layer's keeps its `__shape__`, which does not follow from the data.
    """
    kept = {
        entry.node.name for node in symbol.nodes if node.op in SHAPELESS for entry in node.inputs
    }
    return symbol.with_attributes(
        {
            node.name: {key: None for key in _STALE if key != "__shape__" or node.name not in kept}
            for node in symbol.nodes
        }
    )


def classifier_of(symbol: Any) -> List[str]:
    """Names of the classifier's parameters, weight first."""
    symbol = as_graph(symbol)
    classifier = _classifier(symbol.nodes, _before_softmax(symbol))
    return [entry.node.name for entry in classifier.inputs[1:]]


def is_rectified(symbol: Any) -> bool:
    """Whether a rectifier follows the classifier, as in SqueezeNet: its outputs can die."""
    symbol = as_graph(symbol)
    node = _before_softmax(symbol)
    while node.op in _PASSIVE:
        if node.op == "LeakyReLU" or node.is_rectifier:
            return True
        node = node.inputs[0].node
    return False


def _before_softmax(symbol: Symbol) -> Node:
    """The node that the softmax, if there is one, takes its input from."""
    if len(symbol) != 1:
        raise _unknown_classifier(
            symbol.nodes, f"the network has {len(symbol)} outputs, not one classifier"
        )
    node = symbol.entries[0].node
    while node.op in _ENDS:
        node = node.inputs[0].node
    return _single_logit(node)


def _single_logit(node: Node) -> Node:
    """The layer of the one logit if a softmax over two classes is a sigmoid of it; else the node.

    Such a softmax takes the logit twice, multiplied by two numbers.
    """
    if node.op != "Concat":
        return node
    parts = [entry.node for entry in node.inputs]
    if not all(part.op == "_mul_scalar" for part in parts):
        return node
    sources = {id(part.inputs[0].node) for part in parts}
    return parts[0].inputs[0].node if len(sources) == 1 else node


def _classifier(nodes: Sequence[Node], node: Node) -> Node:
    """The first layer with weights on the way back from the output."""
    while node.op in _PASSIVE:
        node = node.inputs[0].node
    if node.op not in _WIDTHS:
        raise _unknown_classifier(
            nodes,
            f"the network's last layers are not those of a classifier ({node.op} {node.name})",
        )
    return node


def _unknown_classifier(nodes: Sequence[Node], reason: str) -> ArgumentError:
    return ArgumentError(
        "layer_before_fullc",
        "",
        f"{reason}; name the layer before the new classifier; {_last_layers(nodes)}",
    )


def _node_of(nodes: Sequence[Node], layer: str) -> Node:
    """The node of a layer, whose name may end in MXNet's `_output`."""
    layers = {node.name: node for node in nodes if node.operator}
    for name in (layer, layer[: -len("_output")] if layer.endswith("_output") else layer):
        if name in layers:
            return layers[name]
    raise ArgumentError(
        "layer_before_fullc",
        layer,
        f"no such layer{nearest(layer, layers)}; {_last_layers(nodes)}; by default the last layer "
        "with weights is replaced",
    )


def _last_layers(nodes: Sequence[Node]) -> str:
    return "the last are " + ", ".join([node.name for node in nodes if node.operator][-5:])
