"""An ONNX graph under construction, and the table of the functions that add to it.

A function of the table takes the builder, the names of its inputs, and attributes as keywords. It
adds nodes and returns the names of its outputs. All values are float32.
"""

from typing import Any, Dict, List, Optional, Sequence, Set, Tuple

import numpy as np

from imagenet_trainer.errors import ArgumentError
from imagenet_trainer.graph import Node
from imagenet_trainer.graph.implementations import (
    Implementations,
    UnsupportedError,
    supported_values,
)
from imagenet_trainer.system.arrays import Arrays

Shape = Tuple[Optional[int], ...]  # None: the length depends on the batch size
OPERATORS = Implementations()


class Builder:
    """Nodes and constants; what is added is named after the node that is being translated.

    Attributes
    ----------
    nodes
        ONNX's nodes, each after its inputs.
    constants
        arrays by name, those of the parameters included.
    shapes
        of the inputs and outputs of the network's own nodes, by the names of the values.
    output_shape
        of the first output of the node that is being translated.

    """

    def __init__(self, parameters: Arrays, reserved: Sequence[str]) -> None:
        self.nodes: List[Any] = []
        self.constants: Arrays = {
            name: np.asarray(value, np.float32) for name, value in parameters.items()
        }
        self.shapes: Dict[str, Shape] = {}
        self.output_shape: Shape = ()
        self._name = ""
        self._taken: Set[str] = {*parameters, *reserved}  # names of values
        self._taken_by_nodes: Set[str] = set()

    def translate(self, node: Node, inputs: Sequence[str], shapes: Sequence[Shape]) -> List[str]:
        """Add what computes a node with outputs of these shapes; return the outputs' names.

        Raises ArgumentError with the node for an operator, an attribute or a value of one that
        has no translation.
        """
        self._name, self.output_shape = node.name, shapes[0]
        try:
            known = OPERATORS.find(node)
            outputs = known.compute(self, *inputs, **supported_values(node, known))
        except UnsupportedError as error:
            raise ArgumentError(
                "to", "onnx", f"{node.name}: {node.op}: {error}; use mxnet"
            ) from error
        outputs = [outputs] if isinstance(outputs, str) else list(outputs)
        self.shapes.update(zip(outputs, shapes))
        return outputs

    # --- nodes and constants -------------------------------------------------------------------

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output; an empty name is an input that is omitted.

        `onnx_file.write` refuses attributes that ONNX's operator does not have.
        """
        return self.add_several(op, 1, *inputs, **attributes)[0]

    def add_several(self, op: str, count: int, *inputs: str, **attributes: Any) -> List[str]:
        """Add a node with `count` outputs."""
        from onnx import helper

        outputs = [_unique(f"{self._name}_output", self._taken) for _ in range(count)]
        name = _unique(self._name, self._taken_by_nodes)
        self.nodes.append(helper.make_node(op, inputs, outputs, name, **attributes))
        return outputs

    def constant(self, value: np.ndarray, what: str) -> str:
        """Add an array."""
        name = _unique(f"{self._name}_{what}", self._taken)
        self.constants[name] = value
        return name

    def number(self, value: float) -> str:
        """Add a float32 without axes."""
        return self.constant(np.array(value, np.float32), "number")

    def integers(self, values: Sequence[int], what: str) -> str:
        """Add int64 (n,): axes, lengths."""
        return self.constant(np.array(values, np.int64), what)

    # --- shapes --------------------------------------------------------------------------------

    def lengths(self, value: str, first: int = 0) -> Tuple[int, ...]:
        """Lengths of the axes from `first` on, none of which may depend on the batch size."""
        return fixed(self.shapes[value][first:])

    def reshaped(self, value: str, shape: Sequence[Optional[int]]) -> str:
        """The value in another shape, in which at most one length depends on the batch size."""
        if value in self.constants:
            return self.constant(self.constants[value].reshape(fixed(shape)), "reshaped")
        if list(shape).count(None) > 1:
            raise UnsupportedError("two axes of its output depend on the batch size")
        target = [-1 if length is None else length for length in shape]
        return self.add("Reshape", value, self.integers(target, "shape"))

    def transposed(self, value: str, axes: Sequence[int]) -> str:
        """The value with its axes in another order."""
        if value in self.constants:
            return self.constant(np.transpose(self.constants[value], axes), "transposed")
        return self.add("Transpose", value, perm=axes)

    def expanded(self, value: str) -> str:
        """The value repeated along axes of length one, to the shape of the output."""
        pairs = zip(self.output_shape, self.shapes[value])
        # A length of 1 keeps that of the input.
        target = fixed([1 if new == old else new for new, old in pairs])
        return self.add("Expand", value, self.integers(target, "shape"))


def fixed(shape: Sequence[Optional[int]]) -> Tuple[int, ...]:
    """The lengths; UnsupportedError if one depends on the batch size."""
    if None in shape:
        raise UnsupportedError("a shape that depends on the batch size is not supported here")
    return tuple(length for length in shape if length is not None)


def _unique(name: str, taken: Set[str]) -> str:
    base, number = name, 0
    while name in taken:
        number += 1
        name = f"{base}_{number}"
    taken.add(name)
    return name
