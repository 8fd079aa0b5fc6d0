"""Puts max pooling before its rectifiers, which then have fewer values to rectify."""

from collections import Counter
from typing import Any, Dict, List, Mapping

from imagenet_trainer.graph import Entry, Node, Symbol, as_graph


def pooled_first(network: Any) -> Symbol:
    """The network with max(0, max(x)) instead of max(max(0, x)) for each window of a max pooling.

    Outputs and gradients stay the same to the last bit, and so do the names of the parameters: the
    largest value of a window, if it is positive, is in the same place before and after a rectifier,
    and otherwise neither passes a gradient. ResNets begin with such a pair, whose rectifier then
    reads a quarter of the values of the largest tensor of all.
    """
    network = as_graph(network)
    uses = Counter(id(entry.node) for entry in network.entries)
    heads = set(uses)
    uses.update(id(entry.node) for node in network.nodes for entry in node.inputs)
    before: Dict[int, List[Node]] = {}  # rectifiers, by the pooling
    for node in network.nodes:
        if _is_max_pooling(node) and id(node) not in heads:
            before[id(node)] = _rectifiers(node.inputs[0].node, uses)
    left_out = {id(node) for nodes in before.values() for node in nodes}
    after: Dict[int, Symbol] = {}

    def change(node: Node, position: int, given: Symbol) -> Symbol:
        source = node.inputs[position].node
        if id(source) in left_out:
            return Symbol(given.entries[0].node.inputs)
        if before.get(id(source)):
            if id(source) not in after:
                after[id(source)] = _copy(before[id(source)][0], given)
            return after[id(source)]
        return given

    return network.with_inputs(change)


def _rectifiers(node: Node, uses: Mapping[int, int]) -> List[Node]:
    """Those that make all values of a node for a single reader, also where a Concat joins them."""
    nodes = [entry.node for entry in node.inputs] if node.op == "Concat" else [node]
    alone = all(uses[id(one)] == 1 for one in (node, *nodes))
    return nodes if alone and all(one.is_rectifier for one in nodes) else []


def _is_max_pooling(node: Node) -> bool:
    """Whether it is one without windows that lie outside of the image."""
    if node.op != "Pooling" or node.values["pool_type"] != "max":
        return False
    if node.values["global_pool"]:
        return True
    convention, kernel = node.values["pooling_convention"], node.values["kernel"]
    if convention == "same":
        return False
    steps = (1,) * len(kernel)
    strides, pads = node.values["stride"] or steps, node.values["pad"] or (0,) * len(kernel)
    beyond = strides if convention == "full" else steps  # pixels, with padding
    return all(p + s <= k for k, s, p in zip(kernel, beyond, pads))


def _copy(node: Node, given: Symbol) -> Symbol:
    return Symbol([Entry(Node(node.operator, node.name, node.attrs, given.entries, node.values))])
