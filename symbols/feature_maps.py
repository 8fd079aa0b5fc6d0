"""Split a network at its last feature maps: graphs in, graphs out.

They are what the last layer with positions computes, (n, channels, height, width), of which all
that follows is a function: in most networks the input of the global pooling. Where such maps come
from a pooling, as in VGG, they are taken before it, as in the paper on Grad-CAM.
"""

from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

from imagenet_trainer.graph import Entry, GraphError, Node, Symbol, as_graph, sym
from imagenet_trainer.graph.inference import all_shapes


class Split(NamedTuple):
    """The two parts of a network."""

    body: Symbol  # two outputs: the maps, and the network's own output
    tail: Symbol  # from the maps, as `data`, to the logits (n, classes) or (n, classes, 1, 1)
    layer: str  # the name of the layer that computes the maps
    shape: Tuple[int, int, int]  # of the maps: channels, height, width


def split_at_maps(symbol: Any, image_shape: Sequence[int]) -> Split:
    """Split a network that ends in a SoftmaxOutput and takes images of this shape (c, h, w).

    Raises GraphError for a network without such maps: each layer after which it could be divided
    has one position only.
    """
    symbol = as_graph(symbol)
    logits = Symbol(symbol.entries[0].node.inputs[:1])
    shapes = all_shapes(logits.nodes, {"data": (1, *image_shape)})
    for node in reversed(_cuts(logits.nodes)):
        shape = shapes[id(node), 0]
        if node.operator and len(shape) == 4 and shape[2] * shape[3] > 1:
            break
    else:
        raise GraphError("no layer besides the image has several positions")
    while node.op == "Pooling":
        before = node.inputs[0].node
        if before.operator is None or len(before.outputs) > 1:
            break
        node = before
    _, channels, height, width = shapes[id(node), 0]
    variable = sym.Variable("data")
    tail = logits.with_inputs(
        lambda one, position, _: variable if one.inputs[position].node is node else None
    )
    body = Symbol([Entry(node), *symbol.entries])
    return Split(body, tail, node.name, (channels, height, width))


def _cuts(nodes: Sequence[Node]) -> List[Node]:
    """The nodes that are on every path from `data` to the last node, in their order.

    No edge between nodes that depend on the data passes over such a node.
    """
    consumers: Dict[int, int] = {}  # the place of the last consumer of each dependent node
    dependent: List[Node] = []
    known = set()
    for node in nodes:
        inputs = [entry.node for entry in node.inputs if id(entry.node) in known]
        if inputs or (node.operator is None and node.name == "data"):
            known.add(id(node))
            for one in inputs:
                consumers[id(one)] = len(dependent)
            dependent.append(node)
    cuts, reach = [], 0
    for place, node in enumerate(dependent):
        if reach <= place and len(node.outputs) == 1:
            cuts.append(node)
        reach = max(reach, consumers.get(id(node), 0))
    return cuts
