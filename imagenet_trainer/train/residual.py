"""Where the residual branches of a network end: the parameters that make one begin as nought.

Goyal et al. 2017, arXiv:1706.02677, section 5.1: the last BatchNorm of each residual branch starts
with gamma 0, so that at first every unit hands on its input. The branches are found in the graph,
so no family has to be known here.
"""

import json
from typing import Any, Dict, List, Optional, Tuple

_ADDITIONS = ("elemwise_add", "_plus", "_Plus", "broadcast_add", "broadcast_plus", "_add")
# What may stand behind the end of a branch: it keeps nought as it is.
_PASSING = ("Dropout", "_mul_scalar", "broadcast_mul", "elemwise_mul", "identity", "_copy")


def branch_ends(graph: str) -> Tuple[str, ...]:
    """Names of the gammas, or weights, which end the residual branches of a network's JSON.

    Of the two sides of an addition the branch is the one that ends in a BatchNorm with a gamma to
    learn, or in a Convolution; where both do (one is a projection, or the end of the unit before),
    the one with more convolutions behind it. In pre-activation networks (ResNet v2) it is a
    convolution: a gamma of nought in front of relu would leave it without a gradient for ever.
    """
    nodes = json.loads(graph)["nodes"]
    depths = _depths(nodes)
    found: List[str] = []
    for node in nodes:
        if node["op"] not in _ADDITIONS or len(node["inputs"]) != 2:
            continue
        sides = [(depths[source[0]], _end(nodes, source[0])) for source in node["inputs"]]
        ends = sorted((depth, name) for depth, name in sides if name is not None)
        one_is_deeper = len(ends) == 1 or (len(ends) == 2 and ends[0][0] < ends[1][0])
        if one_is_deeper and ends[-1][1] not in found:
            found.append(str(ends[-1][1]))
    return tuple(found)


def _depths(nodes: List[Dict[str, Any]]) -> List[int]:
    """Convolutions on the longest way from the input to each node, itself among them."""
    depths: List[int] = []
    for node in nodes:
        deepest = max((depths[source[0]] for source in node["inputs"]), default=0)
        depths.append(deepest + (node["op"] == "Convolution"))
    return depths


def _end(nodes: List[Dict[str, Any]], place: int) -> Optional[str]:
    """The parameter that, at nought, makes a node nought; None for what is no branch."""
    node = nodes[place]
    while node["op"] in _PASSING:
        node = nodes[node["inputs"][0][0]]
    attributes = node.get("attrs", {})
    if node["op"] == "BatchNorm" and attributes.get("fix_gamma", "True") in ("False", "0"):
        return str(nodes[node["inputs"][1][0]]["name"])
    if node["op"] == "Convolution":
        return str(nodes[node["inputs"][1][0]]["name"])
    return None
