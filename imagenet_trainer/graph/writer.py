"""MXNet's JSON of a graph, byte for byte as MXNet 1.9.1 writes it."""

import json
from typing import Any, Dict, List, Mapping, Sequence

from imagenet_trainer.graph.node import Entry, Node

VERSION = 10901  # MXNet 1.9.1, for programs that read old versions differently


def to_json(nodes: Sequence[Node], outputs: Sequence[Entry]) -> str:
    """The JSON of a graph, given all of its nodes in order and its outputs."""
    number = {id(node): index for index, node in enumerate(nodes)}
    rows = [0]
    for node in nodes:
        rows.append(rows[-1] + node.output_count)
    return _mapping(
        {
            "nodes": _list([_node(node, number) for node in nodes], 4, True),
            "arg_nodes": _list(
                [str(index) for index, node in enumerate(nodes) if node.operator is None], 4
            ),
            "node_row_ptr": _list(list(map(str, rows)), 4),
            "heads": _list([_entry(entry, number) for entry in outputs], 4),
            "attrs": f'{{"mxnet_version": ["int", {VERSION}]}}',
        },
        2,
    )


def _node(node: Node, number: Mapping[int, int]) -> str:
    parts = {"op": _text(node.op), "name": _text(node.name)}
    if node.attrs:
        parts["attrs"] = _mapping({k: _text(v) for k, v in sorted(node.attrs.items())}, 8)
    parts["inputs"] = _list([_entry(entry, number) for entry in node.inputs], 8)
    return _mapping(parts, 6)


def _entry(entry: Entry, number: Mapping[int, int]) -> str:
    return f"[{number[id(entry.node)]}, {entry.output}, {entry.version}]"


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _mapping(parts: Dict[str, str], indent: int) -> str:
    """An object: one entry a line, but a single one on the line of its brackets."""
    lines = [f'"{name}": {value}' for name, value in parts.items()]
    return _lines(lines, indent, len(lines) > 1, "{}")


def _list(parts: List[str], indent: int, multiple: bool = False) -> str:
    """An array: one element a line if it has more than ten."""
    return _lines(parts, indent, multiple or len(parts) > 10, "[]")


def _lines(parts: Sequence[Any], indent: int, multiple: bool, brackets: str) -> str:
    if not multiple:
        return brackets[0] + ", ".join(parts) + brackets[1]
    margin = "\n" + " " * indent
    return brackets[0] + margin + f", {margin}".join(parts) + margin[:-2] + brackets[1]
