"""Functions that make graphs, with the names and arguments of `mx.sym`.

`sym.Convolution(x, num_filter=64, kernel=(7, 7), name="conv0")`: every operator of the table is a
function of this module. Those whose names begin with `_contrib_` and `_image_` are in `sym.contrib`
and `sym.image`, those with an underscore in `sym._internal`.
"""

from typing import Any, Callable, Mapping, Optional, Sequence

from imagenet_trainer.graph.attributes import DTYPES, dtype_text, text_of
from imagenet_trainer.graph.naming import hidden, scope_attributes
from imagenet_trainer.graph.node import Entry, Node
from imagenet_trainer.graph.operators import ALIASES, GraphError, nearest
from imagenet_trainer.graph.symbol import Group, Symbol, function_of, load_json

__all__ = ["Group", "Symbol", "Variable", "contrib", "image", "load", "load_json", "var"]


def Variable(
    name: str,
    attr: Optional[Mapping[str, str]] = None,
    shape: Optional[Sequence[int]] = None,
    lr_mult: Optional[float] = None,
    wd_mult: Optional[float] = None,
    dtype: Any = None,
    init: Any = None,
    **hidden_attributes: str,
) -> Symbol:
    """A variable: data, a label or a parameter.

    Parameters
    ----------
    name
        of the variable.
    attr
        attributes of the node.
    shape
        if known; 0 for an unknown length.
    lr_mult, wd_mult
        factors of its learning rate and weight decay.
    dtype
        element type.
    init
        text of MXNet's `Initializer.dumps`, or an object with that method.
    hidden_attributes
        more attributes, with two underscores around their names.

    """
    attrs = scope_attributes(attr)
    for key, value in (("shape", shape), ("lr_mult", lr_mult), ("wd_mult", wd_mult)):
        if value is not None:
            attrs[hidden(key)] = text_of(value)
    if dtype is not None:
        word = dtype_text(dtype)
        if word not in DTYPES:
            raise GraphError(f"{name}: there is no dtype {word!r}{nearest(word, DTYPES)}")
        attrs["__dtype__"] = str(DTYPES[word])
    if init is not None:
        attrs["__init__"] = init if isinstance(init, str) else init.dumps()
    for key, text in hidden_attributes.items():
        if hidden(key) != key:
            raise GraphError(f"{name}: there is no argument {key!r}; attributes are __{key}__")
        attrs[key] = str(text)
    return Symbol([Entry(Node(None, name, attrs))])


var = Variable


def load(path: str) -> Symbol:
    """The graph in a file."""
    with open(path, encoding="utf-8") as file:
        return load_json(file.read())


def zeros(shape: Sequence[int], dtype: Any = "float32", name: Optional[str] = None) -> Symbol:
    """An array of zeros."""
    return function_of("_zeros")(shape=shape, dtype=dtype, name=name)


def ones(shape: Sequence[int], dtype: Any = "float32", name: Optional[str] = None) -> Symbol:
    """An array of ones."""
    return function_of("_ones")(shape=shape, dtype=dtype, name=name)


class _Namespace:
    """Operators whose names begin with a prefix, without it."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def __getattr__(self, name: str) -> Callable[..., Symbol]:
        if self._prefix + name not in ALIASES:
            names = [key[len(self._prefix) :] for key in ALIASES if key.startswith(self._prefix)]
            raise AttributeError(f"there is no operator {name!r}{nearest(name, names)}")
        return function_of(self._prefix + name, name)


contrib, image, _internal = _Namespace("_contrib_"), _Namespace("_image_"), _Namespace("")


def __getattr__(name: str) -> Callable[..., Symbol]:
    """The function of an operator."""
    if name.startswith("__") or name not in ALIASES:
        raise AttributeError(f"there is no operator {name!r}{nearest(name, ALIASES)}")
    return function_of(name)
