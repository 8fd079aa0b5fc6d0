"""Shapes of all nodes of a graph."""

import math
from typing import Dict, Mapping, Sequence, Tuple

from imagenet_trainer.graph.node import Node, declared_shape
from imagenet_trainer.graph.operators import GraphError, check_names
from imagenet_trainer.graph.shapes import Known, Shape, elementwise, is_known, unified

_LARGEST = 2**63 - 1  # elements of an array
Table = Dict[Tuple[int, int], Known]  # by the id of a node and the number of its output


def all_shapes(nodes: Sequence[Node], known: Mapping[str, Shape]) -> Dict[Tuple[int, int], Shape]:
    """The shape of every output of every node, given those of some variables.

    Raises GraphError for shapes that contradict each other, and if one cannot be decided.
    """
    shapes: Dict[Tuple[int, int], Shape] = {}
    for (key, shape), name in zip(
        Inference(nodes, known).run().items(), (n.where for n in nodes for _ in n.outputs)
    ):
        if shape is None or not is_known(shape):
            raise GraphError(f"{name}: its shape does not follow from {dict(known)}")
        shapes[key] = shape
    return shapes


class Inference:
    """Shapes of all outputs of all nodes, in passes forward and backward until nothing changes."""

    def __init__(self, nodes: Sequence[Node], known: Mapping[str, Shape]) -> None:
        self._nodes = nodes
        self._table: Table = {}
        check_names(known, [n.name for n in self._nodes if n.operator is None], "variable")
        for node in self._nodes:
            for index in range(len(node.outputs)):
                self._table[id(node), index] = None
            if node.operator is None:
                given = known.get(node.name) or declared_shape(node)
                self._table[id(node), 0] = given or None
                _check_size(node, given)

    def run(self) -> Table:
        """The shape of every output, by the id of its node and its number."""
        changed = self._forward()
        while changed and not all(map(is_known, self._table.values())):
            changed = self._backward()
            changed = self._forward() or changed
        return self._table

    def _forward(self) -> bool:
        changed = False
        for node in self._nodes:
            if node.operator:
                changed |= self._apply(node)
        return changed

    def _backward(self) -> bool:
        """From the output to the inputs of operators that keep the shape."""
        changed = False
        for node in reversed(self._nodes):
            if node.operator and node.operator.rule is elementwise:
                output = self._table[id(node), 0]
                for entry in node.inputs:
                    changed |= self._set(node, entry.node, entry.output, output)
        return changed

    def _apply(self, node: Node) -> bool:
        assert node.operator is not None
        entries = node.inputs
        before = [self._table[id(entry.node), entry.output] for entry in entries]
        complete = [shape if is_known(shape) else None for shape in before]
        try:
            inputs, outputs = node.operator.rule(complete, node.values)
        except (ValueError, IndexError, TypeError) as error:
            raise GraphError(f"{node.where}: {error}") from None
        changed = False
        for entry, shape in zip(entries, inputs):
            changed |= self._set(node, entry.node, entry.output, shape)
        for index, shape in enumerate(outputs):
            if (id(node), index) in self._table:
                changed |= self._set(node, node, index, shape)
        return changed

    def _set(self, where: Node, node: Node, index: int, shape: Known) -> bool:
        old = self._table[id(node), index]
        if shape is None or shape == old:
            return False
        try:
            new = unified(old, shape)
        except ValueError as error:
            what = "" if where is node else f" of {node.name}"
            raise GraphError(f"{where.where}{what}: {error}") from None
        _check_size(where, new)
        self._table[id(node), index] = new
        return new != old


def _check_size(node: Node, shape: Known) -> None:
    if shape and math.prod(max(length, 1) for length in shape) > _LARGEST:
        raise GraphError(f"{node.where}: an array of {shape} is too large")
