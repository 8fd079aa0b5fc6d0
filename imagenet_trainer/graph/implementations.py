"""Tables of implementations: what computes an operator, and which attributes that supports.

Attributes that are neither supported nor known to have no effect are refused: a network computes
exactly what its graph defines, or not at all.
"""

from dataclasses import dataclass, field
from types import FunctionType
from typing import Any, Callable, Dict, Mapping, Optional, Tuple

from imagenet_trainer.graph.node import Node

Compute = Callable[..., Any]


class UnsupportedError(ValueError):
    """There is no equivalent for what MXNet computes here."""


@dataclass(frozen=True)
class Implementation:
    """The implementation of an operator."""

    compute: Compute  # (*inputs, **attributes)
    attributes: Tuple[str, ...] = ()  # that `compute` takes
    ignored: Tuple[str, ...] = ()  # about memory and speed only, or implied by the inputs' shapes
    only: Mapping[str, Tuple[Any, ...]] = field(default_factory=dict)  # the supported values


class Implementations(Dict[str, Implementation]):
    """Implementations by the canonical names of operators."""

    def of(
        self, names: str, ignored: str = "", only: Optional[Mapping[str, Any]] = None
    ) -> Callable[[Compute], Compute]:
        """Add a function under several names; its keywords are the attributes that it supports."""

        def add(compute: Compute) -> Compute:
            attributes: Tuple[str, ...] = ()
            if isinstance(compute, FunctionType):
                code = compute.__code__
                first = code.co_argcount
                attributes = code.co_varnames[first : first + code.co_kwonlyargcount]
            for name in names.split():
                self[name] = Implementation(compute, attributes, tuple(ignored.split()), only or {})
            return compute

        return add

    def find(self, node: Node) -> Implementation:
        """That of a node's operator; UnsupportedError if there is none."""
        if node.op not in self:
            raise UnsupportedError("this operator is not supported")
        return self[node.op]


def supported_values(node: Node, known: Implementation) -> Dict[str, Any]:
    """The attributes that the implementation takes.

    Raises UnsupportedError for an attribute, or a value of one, that it does not have.
    """
    assert node.operator is not None
    for name, value in node.values.items():
        if name in known.only:
            if value not in known.only[name]:
                raise UnsupportedError(f"{name} {value} is not supported")
        elif (
            name not in (*known.attributes, *known.ignored)
            and value != node.operator.attributes[name].default
        ):
            raise UnsupportedError(f"attribute {name} is not supported")
    return {name: node.values[name] for name in known.attributes}
