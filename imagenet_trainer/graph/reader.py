"""Reads MXNet's JSON of graphs, of all versions from 0.8 on."""

import json
from typing import Any, Dict, List, Mapping, Sequence

from imagenet_trainer.graph.node import HIDDEN, Entry, Node
from imagenet_trainer.graph.operators import GraphError, Operator, find

_MOST_NODES = 20_000  # ResNet with 1,001 layers has 8,000; engines take minutes for many more
_VERSION_09 = 900  # from here on auxiliary states are inputs, and hidden attributes are marked


def read_outputs(text: str) -> List[Entry]:
    """The outputs of the graph that a JSON text describes.

    Raises GraphError for text that is not such a JSON, for nodes that come before their inputs
    (which a graph with a circle cannot avoid), and for operators, attributes and numbers of inputs
    that do not exist.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise GraphError("the JSON of the network is damaged or cut short") from error
    try:
        return _read(document)
    except (KeyError, TypeError, IndexError, AttributeError, ValueError, OverflowError) as error:
        raise GraphError("the JSON is not that of a network of MXNet") from error


def _read(document: Mapping[str, Any]) -> List[Entry]:
    version = document.get("attrs", {}).get("mxnet_version", ["int", 0])[1]
    is_old = int(version) < _VERSION_09
    described = document["nodes"]
    if len(described) > _MOST_NODES:
        raise GraphError(
            f"the network has {len(described)} nodes; {_MOST_NODES} are the most that are read"
        )
    own = [_attributes(one) for one in described]
    if is_old:
        for index, one in enumerate(described):
            _mark_hidden(index, one, own)
    nodes: List[Node] = []
    for one, attrs in zip(described, own):
        nodes.append(_node(one, attrs, nodes, is_old))
    heads = [_entry(head, nodes, "heads") for head in document["heads"]]
    if not heads:
        raise GraphError("the network has no outputs")
    return heads


def _attributes(one: Mapping[str, Any]) -> Dict[str, str]:
    """A node's attributes, under the keys of all versions."""
    merged: Dict[str, str] = {}
    for key in ("param", "attr", "attrs"):
        merged.update(one.get(key) or {})
    if not all(isinstance(text, str) for text in (*merged, *merged.values())):
        raise TypeError("attributes are strings")
    return merged


def _mark_hidden(index: int, one: Mapping[str, Any], own: List[Dict[str, str]]) -> None:
    """Give hidden attributes of old files their marks, and parameters theirs.

    `lr_mult` becomes `__lr_mult__`; `weight_lr_mult` of a layer becomes that of its weight.
    """
    attrs = own[index]
    for key in list(attrs):
        for name in HIDDEN:
            if key == name:
                attrs[f"__{name}__"] = attrs.pop(key)
            elif key.endswith(f"_{name}") and one["op"] != "null":
                part = key[: -len(name) - 1]
                names = find(one["op"]).inputs
                if part in names and names.index(part) < len(one["inputs"]):
                    source = one["inputs"][names.index(part)][0]
                    own[source][f"__{name}__"] = attrs.pop(key)


def _node(
    one: Mapping[str, Any], attrs: Mapping[str, str], nodes: Sequence[Node], is_old: bool
) -> Node:
    name, op = one["name"], one["op"]
    if not isinstance(name, str) or not isinstance(op, str):
        raise TypeError("names are strings")
    inputs = [_entry(source, nodes, name) for source in one["inputs"]]
    if op == "null":
        if inputs:
            raise GraphError(f"{name}: a variable has no inputs")
        return Node(None, name, attrs)
    try:
        operator = find(op)
    except GraphError as error:
        raise GraphError(f"{name}: {error}") from None
    node = Node(operator, name, attrs, inputs)
    if is_old:
        node.inputs = (*inputs, *_missing_states(node, operator))
    expected = node.input_names
    if len(node.inputs) != len(expected) or not (expected or not operator.inputs):
        raise GraphError(
            f"{node.where}: has {len(node.inputs)} inputs, but takes "
            f"{len(expected)}: {', '.join(expected)}"
        )
    for key, entry in zip(expected, node.inputs):
        if key in operator.auxiliary:
            if entry.node.operator is not None:
                raise GraphError(f"{node.where}: {key} is not a variable")
            entry.node.version = max(entry.node.version, entry.version)
    return node


def _missing_states(node: Node, operator: Operator) -> List[Entry]:
    """Variables for the auxiliary states, which files before 0.9 do not have as inputs."""
    names = operator.inputs_of(node.values, len(node.inputs))[len(node.inputs) :]
    if not all(name in operator.auxiliary for name in names):
        return []
    made = []
    for name in names:
        initial = operator.initial.get(name)
        attrs = {**node.attrs, **({"__init__": initial} if initial else {})}
        made.append(Entry(Node(None, f"{node.name}_{name}", attrs)))
    return made


def _entry(source: Sequence[Any], nodes: Sequence[Node], where: str) -> Entry:
    index, output, *version = source
    if not all(type(number) is int and number >= 0 for number in source):  # True is an int
        raise TypeError("references are numbers")
    if index >= len(nodes):
        raise GraphError(
            f"{where}: refers to node {index}, which is not before it: a circle, or cut"
        )
    if output >= len(nodes[index].outputs):
        raise GraphError(f"{where}: refers to output {output} of {nodes[index].where}")
    return Entry(nodes[index], output, version[0] if version else 0)
