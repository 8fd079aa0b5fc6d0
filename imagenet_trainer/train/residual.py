"""The parameters at the ends of residual branches: with zeros in them a branch outputs zero.

Goyal et al. 2017, arXiv:1706.02677, section 5.1: the gamma of the last BatchNorm of each residual
branch starts at 0, so that every unit initially passes its input through unchanged. The branches
are found in the graph, so this works for every family of networks.
"""

import json
from typing import Any, Dict, List, Optional, Tuple

_ADDITIONS = ("elemwise_add", "_plus", "_Plus", "broadcast_add", "broadcast_plus", "_add")
# Operators that may follow the end of a branch: they map zeros to zeros.
_PASSING = ("Dropout", "_mul_scalar", "broadcast_mul", "elemwise_mul", "identity", "_copy")


def branch_ends(graph: str) -> Tuple[str, ...]:
    """Names of the gammas, or weights, at the ends of the residual branches of a graph (JSON).

    Of the two inputs of an addition, the branch is the one that ends in a BatchNorm with a learned
    gamma, or in a Convolution. If both do (one is a projection, or the end of the unit before), the
    branch is the one with more convolutions. In pre-activation networks (ResNet v2) it ends in a
    convolution: a gamma of zero before a relu would never get a gradient.
    """
    nodes = json.loads(graph)["nodes"]
    depths = _depths(nodes)
    names: List[str] = []
    for node in nodes:
        if node["op"] not in _ADDITIONS or len(node["inputs"]) != 2:
            continue
        sides = [(depths[source[0]], _end(nodes, source[0])) for source in node["inputs"]]
        ends = sorted((depth, name) for depth, name in sides if name is not None)
        one_is_deeper = len(ends) == 1 or (len(ends) == 2 and ends[0][0] < ends[1][0])
        if one_is_deeper and ends[-1][1] not in names:
            names.append(str(ends[-1][1]))
    return tuple(names)


def _depths(nodes: List[Dict[str, Any]]) -> List[int]:
    """Convolutions on the longest path from the input to each node, itself included."""
    depths: List[int] = []
    for node in nodes:
        deepest = max((depths[source[0]] for source in node["inputs"]), default=0)
        depths.append(deepest + (node["op"] == "Convolution"))
    return depths


def _end(nodes: List[Dict[str, Any]], position: int) -> Optional[str]:
    """The parameter whose zeros make the node output zeros; None if the node ends no branch."""
    node = nodes[position]
    while node["op"] in _PASSING:
        node = nodes[node["inputs"][0][0]]
    attributes = node.get("attrs", {})
    if node["op"] == "BatchNorm" and attributes.get("fix_gamma", "True") in ("False", "0"):
        return str(nodes[node["inputs"][1][0]]["name"])
    if node["op"] == "Convolution":
        return str(nodes[node["inputs"][1][0]]["name"])
    return None
