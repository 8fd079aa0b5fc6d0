"""Nodes of graphs: variables and operators."""

from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from imagenet_trainer.graph.attributes import REQUIRED, Attribute
from imagenet_trainer.graph.operators import GraphError, Operator, nearest
from imagenet_trainer.graph.shapes import Shape

# Attributes about a node, without MXNet's marks of hidden ones, as old programs wrote them.
HIDDEN = ("ctx_group", "lr_mult", "wd_mult", "force_mirroring", "mirror_stage")


class Node:
    """A variable, or an operator with its inputs.

    Attributes
    ----------
    name, operator
        `operator` is None for a variable.
    attrs
        text by name, as in the JSON; of a variable that an operator made, the operator's.
    values
        the operator's own attributes with their types, including defaults.
    inputs
        entries: the node, the number of its output, and how many operators had written to the
        variable before (auxiliary states).
    version
        of a variable: how many operators write to it.

    """

    __slots__ = ("attrs", "inputs", "name", "operator", "values", "version")

    def __init__(
        self,
        operator: Optional[Operator],
        name: str,
        attrs: Mapping[str, str],
        inputs: Sequence["Entry"] = (),
        values: Optional[Mapping[str, Any]] = None,
    ) -> None:
        self.operator, self.name, self.attrs = operator, name, dict(attrs)
        self.inputs: Tuple[Entry, ...] = tuple(inputs)
        if values is None:
            values = typed(operator, name, attrs) if operator else {}
        self.values: Mapping[str, Any] = values
        self.version = 0

    def __repr__(self) -> str:
        return f"<Node {self.where}>"

    @property
    def op(self) -> str:
        """The operator's canonical name; `null` for a variable."""
        return self.operator.name if self.operator else "null"

    @property
    def is_rectifier(self) -> bool:
        """Whether it is max(0, x), under either of MXNet's names."""
        return self.op == "relu" or (self.op == "Activation" and self.values["act_type"] == "relu")

    @property
    def where(self) -> str:
        """Name and operator, for messages."""
        return f"{self.name} ({self.op})" if self.operator else self.name

    @property
    def outputs(self) -> List[str]:
        """The names of the visible outputs, as in `list_outputs`."""
        if self.operator is None:
            return [self.name]
        names = self.operator.outputs(self.values)
        return [f"{self.name}_{name or 'output'}" for name in names]

    @property
    def output_count(self) -> int:
        """Of all outputs, including those that only MXNet reads."""
        if self.operator is None:
            return 1
        return len(self.operator.outputs(self.values)) + self.operator.inner(self.values)

    @property
    def input_names(self) -> List[str]:
        """The operator's names of its inputs."""
        assert self.operator is not None
        return self.operator.inputs_of(self.values, len(self.inputs))


class Entry(NamedTuple):
    """One output of a node, as an input of another."""

    node: Node
    output: int = 0
    version: int = 0


def typed(operator: Operator, name: str, attrs: Mapping[str, str]) -> Dict[str, Any]:
    """An operator's attributes with their types, including defaults.

    Raises GraphError for an unknown attribute (with the nearest name), a value of another kind,
    and for a missing attribute.
    """
    where = f"{name} ({operator.name})" if name else operator.name
    values = {key: kind.default for key, kind in operator.attributes.items()}
    for key, text in attrs.items():
        kind = operator.attributes.get(key)
        if kind is None:
            if not is_hidden(key) and key != operator.count:
                near = nearest(key, operator.attributes)
                raise GraphError(f"{where}: there is no attribute {key!r}{near}")
            continue
        try:
            values[key] = kind.parse(text)
        except ValueError:
            raise GraphError(f"{where}: {key} {text[:40]!r} is not {kind.expected}") from None
    missing = [key for key, value in values.items() if value is REQUIRED]
    if missing:
        raise GraphError(f"{where}: needs the attribute {missing[0]}")
    return values


def is_hidden(name: str) -> bool:
    """Whether an attribute is about a node and not an argument of its operator."""
    return (
        (name.startswith("__") and name.endswith("__"))
        or name in HIDDEN
        or any(name.endswith(f"_{end}") for end in HIDDEN)
    )


def declared_shape(node: Node) -> Shape:
    """The `__shape__` of a variable, in which 0 is unknown; () without one."""
    text = node.attrs.get("__shape__", "()")
    try:
        shape = Attribute("shape", ()).parse(text)
    except ValueError:
        raise GraphError(f"{node.name}: __shape__ {text[:40]!r} is not a shape") from None
    return tuple(max(length, 0) for length in shape)
