"""The parameters at the ends of residual branches: with zeros in them a branch outputs zero.

Goyal et al. 2017, arXiv:1706.02677, section 5.1: the gamma of the last BatchNorm of each residual
branch starts at 0, so that every unit initially passes its input through unchanged. The branches
are found in the graph, so this works for every family of networks.
"""

from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from imagenet_trainer.graph import Node, as_graph

_ADDITIONS = ("elemwise_add", "broadcast_add")
# Operators that may follow the end of a branch: they map zeros to zeros.
_PASSING = ("Dropout", "_mul_scalar", "broadcast_mul", "elemwise_mul", "_copy")


class Branch(NamedTuple):
    """A residual branch: an input of the addition at its end."""

    addition: Node
    position: int  # of the branch among the inputs of the addition
    end: str  # the parameter whose zeros make it output zeros


def branch_ends(symbol: Any) -> Tuple[str, ...]:
    """Names of the gammas, or weights, at the ends of the residual branches of a network."""
    return tuple(dict.fromkeys(branch.end for branch in branches(symbol)))


def branches(symbol: Any) -> List[Branch]:
    """The residual branches of a network, in the order of its graph.

    Of the two inputs of an addition, the branch is the one that ends in a BatchNorm with a learned
    gamma, or in a Convolution or dense layer. If both do (one is a projection, or the end of the
    unit before), the branch is the one with more convolutions. In pre-activation networks (ResNet
    v2) it ends in a convolution: a gamma of zero before a relu would never get a gradient.
    """
    symbol = as_graph(symbol)
    depths = _depths(symbol.nodes)
    found: List[Branch] = []
    for node in symbol.nodes:
        if node.op not in _ADDITIONS:
            continue
        sides = [
            (depths[id(entry.node)], position, _end(entry.node))
            for position, entry in enumerate(node.inputs)
        ]
        ends = sorted((depth, k, name) for depth, k, name in sides if name is not None)
        if len(ends) == 1 or (len(ends) == 2 and ends[0][0] < ends[1][0]):
            found.append(Branch(node, *ends[-1][1:]))
    return found


def _depths(nodes: List[Node]) -> Dict[int, int]:
    """By id: the convolutions on the longest path from the input to a node, itself included."""
    depths: Dict[int, int] = {}
    for node in nodes:
        deepest = max((depths[id(entry.node)] for entry in node.inputs), default=0)
        depths[id(node)] = deepest + (node.op == "Convolution")
    return depths


def _end(node: Node) -> Optional[str]:
    """The parameter whose zeros make the node output zeros; None if the node ends no branch."""
    while node.op in _PASSING:
        node = node.inputs[0].node
    if node.op in ("Convolution", "FullyConnected") or (
        node.op == "BatchNorm" and not node.values["fix_gamma"]
    ):
        return node.inputs[1].node.name
    return None
