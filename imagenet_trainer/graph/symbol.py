"""Symbols: lists of outputs of a graph.

Class and method names are those of `mx.sym.Symbol`. Graphs are never changed: what MXNet does in
place, as setting attributes, makes a new graph here. No function is recursive, since a graph may
be as deep as it has nodes.
"""

import functools
from typing import (
    Any,
    Callable,
    Dict,
    Iterator,
    List,
    Mapping,
    Optional,
    Sequence,
    Set,
    Tuple,
    Union,
)

from imagenet_trainer.graph.attributes import dtype_text, text_of
from imagenet_trainer.graph.inference import Inference
from imagenet_trainer.graph.naming import name_of, scope_attributes
from imagenet_trainer.graph.node import HIDDEN, Entry, Node, typed
from imagenet_trainer.graph.operators import (
    ALIASES,
    GraphError,
    Operator,
    check_names,
    find,
    nearest,
)
from imagenet_trainer.graph.reader import read_outputs
from imagenet_trainer.graph.shapes import Known, Shape, is_known
from imagenet_trainer.graph.writer import to_json


def create(
    operator: Operator,
    hint: str,
    inputs: Sequence["Symbol"],
    named: Mapping[str, "Symbol"],
    attributes: Mapping[str, Any],
    name: Optional[str] = None,
    attr: Optional[Mapping[str, str]] = None,
) -> "Symbol":
    """A symbol of one operator; variables named after it are made for missing inputs."""
    given = {key: text_of(value) for key, value in attributes.items()}
    if operator.count and operator.count not in given:
        given[operator.count] = str(len(inputs) + len(named))
    attrs = {**scope_attributes(attr), **given}
    name = name_of(name, hint)
    values = typed(operator, name, attrs)
    for key in [key for key in attrs if key in HIDDEN]:
        attrs[f"__{key}__"] = attrs.pop(key)
    names = operator.inputs_of(values, len(inputs) + len(named))
    where = f"{name} ({operator.name})"
    check_names(named, names, "input", f"{where}: ")
    if len(inputs) > len(names) or set(names[: len(inputs)]) & set(named):
        raise GraphError(f"{where}: has the inputs {', '.join(names)}, and more were given")
    by_name = {**dict(zip(names, inputs)), **named}
    entries = []
    for key in names:
        if key in by_name:
            entry = by_name[key]._single(f"{where}: {key}")
        else:
            # The operator's attributes are those of the variables that it makes, as in MXNet.
            entry = Entry(Node(None, f"{name}_{key}", attrs))
        initial = operator.initial.get(key)
        if initial and entry.node.operator is None:
            entry.node.attrs.setdefault("__init__", initial)
        if key in operator.auxiliary:
            if entry.node.operator is not None:
                raise GraphError(f"{where}: {key} is an auxiliary state and must be a variable")
            entry.node.version += 1
        entries.append(Entry(entry.node, entry.output, entry.node.version))
    node = Node(operator, name, attrs, entries, values)
    return Symbol([Entry(node, index) for index in range(len(node.outputs))])


def _operation(pair: str, scalar: str) -> Callable[["Symbol", Any], "Symbol"]:
    """A method of Symbol: one operator with another symbol, another one with a number."""

    def method(self: "Symbol", other: Any) -> "Symbol":
        if _is_symbol(other):
            return function_of(pair)(self, other)
        if isinstance(other, bool) or not isinstance(other, (int, float)):
            raise TypeError(f"a symbol and {type(other).__name__} {other!r}")
        return function_of(scalar)(self, scalar=other)

    return method


class Symbol:
    """One or more outputs of a graph, with the methods of `mx.sym.Symbol`.

    Operators are methods too: `x.reshape((0, -1))` is `sym.reshape(x, (0, -1))`.
    """

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries: Tuple[Entry, ...] = tuple(entries)  # the outputs

    # --- nodes ---------------------------------------------------------------------------------

    @functools.cached_property
    def nodes(self) -> List[Node]:
        """All nodes, each after its inputs, in the order of MXNet's JSON."""
        order: List[Node] = []
        seen = set()
        for entry in self.entries:
            stack = [(entry.node, 0)]
            if id(entry.node) in seen:
                continue
            seen.add(id(entry.node))
            while stack:
                node, position = stack.pop()
                if position == len(node.inputs):
                    order.append(node)
                    continue
                stack.append((node, position + 1))
                child = node.inputs[position].node
                if id(child) not in seen:
                    seen.add(id(child))
                    stack.append((child, 0))
        return order

    def structure(self) -> Any:
        """What the graph computes: equal for graphs that differ in names of operators only."""
        numbers = {id(node): number for number, node in enumerate(self.nodes)}

        def numbered(entries: Sequence[Entry]) -> List[Tuple[int, int]]:
            return [(numbers[id(entry.node)], entry.output) for entry in entries]

        return numbered(self.entries), [
            (
                node.op, "" if node.operator else node.name, sorted(node.attrs.items()),
                numbered(node.inputs),
            )
            for node in self.nodes
        ]  # fmt: skip

    def _single(self, where: str) -> Entry:
        if len(self.entries) != 1:
            raise GraphError(f"{where} has {len(self.entries)} outputs; select one by its number")
        return self.entries[0]

    @functools.cached_property
    def _auxiliary(self) -> Set[int]:
        """The ids of the variables that some operator uses as an auxiliary state."""
        result: Set[int] = set()
        for node in self.nodes:
            if node.operator and node.operator.auxiliary:
                for key, entry in zip(node.input_names, node.inputs):
                    if key in node.operator.auxiliary:
                        result.add(id(entry.node))
        return result

    # --- lists ---------------------------------------------------------------------------------

    def list_inputs(self) -> List[str]:
        """The names of all variables."""
        return [node.name for node in self.nodes if node.operator is None]

    def list_arguments(self) -> List[str]:
        """The names of data, labels and parameters, in the order of MXNet's lists."""
        return [
            node.name
            for node in self.nodes
            if node.operator is None and id(node) not in self._auxiliary
        ]

    def list_auxiliary_states(self) -> List[str]:
        """The names of moving statistics."""
        return [node.name for node in self.nodes if id(node) in self._auxiliary]

    def list_outputs(self) -> List[str]:
        """The names of the outputs: `conv0_output`, or the name of a variable."""
        return [entry.node.outputs[entry.output] for entry in self.entries]

    @property
    def name(self) -> Optional[str]:
        """The name of the last operator; None if there are several."""
        return self.entries[0].node.name if len({id(e.node) for e in self.entries}) == 1 else None

    def attr(self, key: str) -> Optional[str]:
        """An attribute of the last operator; None if it has none of this name."""
        return self.list_attr().get(key) if self.name is not None else None

    def list_attr(self) -> Dict[str, str]:
        """All attributes of the last operator."""
        return _listed(self.entries[0].node)

    def attr_dict(self) -> Dict[str, Dict[str, str]]:
        """The attributes of all nodes that have some, by their names."""
        return {node.name: _listed(node) for node in self.nodes if node.attrs}

    def get_internals(self) -> "Symbol":
        """A symbol with the visible outputs of all nodes."""
        return Symbol(
            [Entry(node, index) for node in self.nodes for index in range(len(node.outputs))]
        )

    def get_children(self) -> Optional["Symbol"]:
        """A symbol with the inputs of the last operator; None for a variable."""
        last = {id(entry.node): entry.node for entry in self.entries}
        entries = [entry for node in last.values() for entry in node.inputs]
        return Symbol(entries) if entries else None

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator["Symbol"]:
        return (Symbol([entry]) for entry in self.entries)

    def __getitem__(self, index: Union[int, str, slice]) -> Any:
        """One output, by number or name."""
        if isinstance(index, str):
            names = self.list_outputs()
            if names.count(index) != 1:
                count = names.count(index)
                near = "" if count else nearest(index, names)
                raise GraphError(f"{count or 'no'} outputs are named {index!r}{near}")
            index = names.index(index)
        if isinstance(index, slice):
            return Symbol(self.entries[index])
        if not -len(self) <= index < len(self):
            raise IndexError(f"output {index} of {len(self)}")
        return Symbol([self.entries[index]])

    def __repr__(self) -> str:
        if self.name is None:
            names = ", ".join(entry.node.name for entry in self.entries[:20])
            return f"<Symbol group [{names}{', ...' if len(self) > 20 else ''}]>"
        return f"<Symbol {self.name}>"

    def __bool__(self) -> bool:
        raise TypeError("a symbol has no truth value")

    # --- composition ---------------------------------------------------------------------------

    def __call__(self, **variables: "Symbol") -> "Symbol":
        """The graph with some of its variables replaced: `symbol(data=head)`."""
        check_names(variables, self.list_inputs(), "variable")
        return self._copied(
            {key: as_graph(value)._single(key) for key, value in variables.items()}, {}
        )

    def with_attributes(self, changes: Mapping[str, Mapping[str, Optional[str]]]) -> "Symbol":
        """The graph with other attributes of some nodes, by their names; None removes one."""
        return self._copied({}, changes)

    def with_inputs(self, change: Callable[[Node, int, "Symbol"], Optional["Symbol"]]) -> "Symbol":
        """The graph with operators between some of its operators and their inputs.

        `change` gets a node of this graph, the number of an input, and that input in the new graph.
        It returns what replaces the input, or None.
        """
        return self._copied({}, {}, change)

    def _copied(
        self,
        replaced: Mapping[str, Entry],
        changes: Mapping[str, Mapping[str, Optional[str]]],
        change: Optional[Callable[[Node, int, "Symbol"], Optional["Symbol"]]] = None,
    ) -> "Symbol":
        """A copy of the graph with other variables, and with other attributes of some nodes."""
        new: Dict[int, Entry] = {}
        for node in self.nodes:
            if node.operator is None and node.name in replaced:
                new[id(node)] = replaced[node.name]
                continue
            attrs: Mapping[str, Any] = node.attrs
            values: Optional[Mapping[str, Any]] = node.values
            if node.name in changes:
                attrs = {**attrs, **changes[node.name]}
                attrs = {key: text for key, text in attrs.items() if text is not None}
                values = None  # read from the new text
            inputs = [_moved(entry, new) for entry in node.inputs]
            if change:
                for position, entry in enumerate(inputs):
                    other = change(node, position, Symbol([entry]))
                    if other is not None:
                        inputs[position] = other._single(node.where)
            copy = Node(node.operator, node.name, attrs, inputs, values)
            copy.version = node.version
            new[id(node)] = Entry(copy)
        return Symbol([_moved(entry, new) for entry in self.entries])

    # --- shapes --------------------------------------------------------------------------------

    def infer_shape(
        self, **known: Sequence[int]
    ) -> Tuple[Optional[List[Shape]], Optional[List[Shape]], Optional[List[Shape]]]:
        """Shapes of arguments, outputs and auxiliary states, given those of some variables.

        Three times None if a shape cannot be decided. Raises GraphError with the node for shapes
        that contradict each other, and for names that are not variables.
        """
        arguments, outputs, auxiliary = self.infer_shape_partial(**known)
        if not all(map(is_known, [*arguments, *outputs, *auxiliary])):
            return None, None, None
        return arguments, outputs, auxiliary  # type: ignore[return-value]

    def infer_shape_partial(
        self, **known: Sequence[int]
    ) -> Tuple[List[Known], List[Known], List[Known]]:
        """As `infer_shape`, with None for shapes that cannot be decided."""
        table = Inference(
            self.nodes, {key: tuple(map(int, shape)) for key, shape in known.items()}
        ).run()
        variables = [node for node in self.nodes if node.operator is None]
        return (
            [table[id(node), 0] for node in variables if id(node) not in self._auxiliary],
            [table[id(entry.node), entry.output] for entry in self.entries],
            [table[id(node), 0] for node in variables if id(node) in self._auxiliary],
        )

    # --- JSON ----------------------------------------------------------------------------------

    def tojson(self) -> str:
        """MXNet 1.9.1's JSON, byte for byte."""
        return to_json(self.nodes, self.entries)

    def save(self, path: str) -> None:
        """Write the JSON to a file."""
        with open(path, "w", encoding="utf-8") as file:
            file.write(self.tojson())

    # --- operators -----------------------------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in ALIASES:
            raise AttributeError(f"a symbol has no {name!r}{nearest(name, ALIASES)}")
        return functools.partial(function_of(name), self)

    def __neg__(self) -> "Symbol":
        return self * -1.0

    __add__ = __radd__ = _operation("_Plus", "_PlusScalar")
    __sub__ = _operation("_Minus", "_MinusScalar")
    __rsub__ = _operation("_Minus", "_RMinusScalar")
    __mul__ = __rmul__ = _operation("_Mul", "_MulScalar")
    __truediv__ = _operation("_Div", "_DivScalar")
    __rtruediv__ = _operation("_Div", "_RDivScalar")
    __mod__ = _operation("_Mod", "_ModScalar")
    __pow__ = _operation("_Power", "_PowerScalar")
    __gt__ = _operation("_greater", "_greater_scalar")
    __lt__ = _operation("_lesser", "_lesser_scalar")


def Group(symbols: Sequence[Symbol]) -> Symbol:
    """One symbol with the outputs of several."""
    return Symbol([entry for symbol in symbols for entry in as_graph(symbol).entries])


def _moved(entry: Entry, new: Mapping[int, Entry]) -> Entry:
    """The entry in a copy of the graph, in which a variable may be another output."""
    found = new[id(entry.node)]
    return Entry(found.node, entry.output or found.output, entry.version)


def _listed(node: Node) -> Dict[str, str]:
    """Its attributes; hidden ones of MXNet's optimizer and devices under both of their names."""
    plain = {key: node.attrs[f"__{key}__"] for key in HIDDEN if f"__{key}__" in node.attrs}
    return {**node.attrs, **plain}


@functools.cache
def function_of(name: str, hint: str = "") -> Any:
    """The function that makes an operator, with the arguments that it has in `mx.sym`.

    Inputs, which are symbols, come first, then attributes, `name`, and `attr`, the attributes of
    the node. Raises GraphError for arguments that the operator does not have.
    """
    operator = find(name)
    hint = (hint or name).lower()
    variadic = bool(operator.inputs) and operator.inputs[0].startswith("*")
    order = [*([] if variadic else operator.inputs), *operator.attributes]

    def function(
        *arguments: Any, name: Optional[str] = None, attr: Optional[Mapping[str, str]] = None,
        **named: Any,
    ) -> Symbol:  # fmt: skip
        inputs: List[Symbol] = []
        if variadic:
            inputs = [as_graph(one) for one in arguments]
        else:
            if len(arguments) > len(order):
                raise TypeError(f"{operator.name} takes {len(order)} arguments: {', '.join(order)}")
            positional = dict(zip(order, arguments))
            twice = positional.keys() & named.keys()
            if twice:
                raise TypeError(f"{operator.name} has two values for {twice.pop()}")
            named = {**positional, **named}
        symbols = {key: as_graph(value) for key, value in named.items() if _is_symbol(value)}
        values = {}
        for key, value in named.items():
            if key in symbols or (key in operator.inputs and value is None):
                continue
            if key in operator.inputs:
                raise TypeError(f"{operator.name}: {key} must be a symbol, not {value!r}")
            values[key] = dtype_text(value) if key == "dtype" else value
        return create(operator, hint, inputs, symbols, values, name, attr)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{operator.name}({', '.join(order)}, name, attr), as in MXNet 1.9.1."
    return function


def load_json(text: str) -> Symbol:
    """The graph that a JSON text describes; errors are those of `reader.read_outputs`."""
    return Symbol(read_outputs(text))


def as_graph(symbol: Any) -> Symbol:
    """A graph as it is; MXNet's own symbol as a graph, with copies of its nodes.

    The functions of `sym` do this with their inputs. Where two inputs have nodes in common,
    convert a group of both, so that the nodes stay the same.
    """
    if isinstance(symbol, Symbol):
        return symbol
    if _is_symbol(symbol):
        return load_json(symbol.tojson())
    raise TypeError(f"a graph or an MXNet symbol is needed, not {type(symbol).__name__}")


def _is_symbol(value: Any) -> bool:
    return hasattr(value, "tojson") and hasattr(value, "list_arguments")
