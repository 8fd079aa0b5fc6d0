"""Adapts the symbols of other programs to the form that engines execute.

Engines need one input `data`, one output `softmax` with probabilities, and the label
`softmax_label`. Checkpoints of MXNet's Module are close to that, exports of Gluon end in logits,
and the names of inputs vary.
"""

from typing import AbstractSet, Any, List, NamedTuple, Sequence, Tuple

from imagenet_trainer.engines.symbol import SIGMOID
from imagenet_trainer.errors import InputError
from imagenet_trainer.graph import GraphError, Symbol, as_graph, sym

# Operators that turn logits into probabilities; their first input is the logits.
_SOFTMAX = ("SoftmaxOutput", "softmax", "log_softmax", "SoftmaxActivation")
# Last operators of networks that do not predict one class per image, or hide their logits.
_NOT_LOGITS = (
    "Activation", "sigmoid", "tanh", "LogisticRegressionOutput", "LinearRegressionOutput",
    "MAERegressionOutput", "SVMOutput", "MakeLoss", "make_loss", "BlockGrad", "softmin",
)  # fmt: skip


class Adapted(NamedTuple):
    """A network in the form that engines execute."""

    symbol: Symbol  # from `data` to `softmax_output` (n, classes)
    classes: int
    notes: List[str]  # changes that the user should know


def adapt(
    symbol: Any, parameters: AbstractSet[str], image_shape: Sequence[int], path: str
) -> Adapted:
    """Adapt a symbol to the form above; the symbols of this program are returned unchanged.

    Parameters
    ----------
    symbol
        A graph, or a symbol of MXNet, with one output, or several of which one is a softmax:
        SoftmaxOutput, softmax, log_softmax.
        Logits (n, classes) get a softmax.
    parameters
        The names in its checkpoint. The argument that is not among them is the image.
    image_shape
        Channels, height, width.
    path
        The name of the network in errors.

    Raises InputError for networks that are not image classifiers.

    """
    symbol = as_graph(symbol)
    head, op = _head(symbol, path)
    notes: List[str] = []
    if op in _SOFTMAX or _is_ours(symbol, op):
        node = head.entries[0].node
        logits = Symbol(node.inputs[:1])
        if node.values.get("temperature") is not None:
            logits = logits / node.values["temperature"]
    elif op in _NOT_LOGITS:
        raise InputError(
            f"{path}: ends in {op}, which does not return probabilities of classes; use a network "
            "that ends in a softmax or in logits"
        )
    else:
        logits = head
        notes.append(f"{path}: ends in {op}; a softmax was added")
    name = _image(logits, parameters, path)
    shape = _shape(logits, name, image_shape, path)
    if op in (SIGMOID, "SoftmaxOutput") and name == "data" and _is_named(symbol):
        return Adapted(symbol, shape[1], notes)
    if len(shape) == 4:
        logits = sym.Flatten(logits)
    if name != "data":
        notes.append(f"{path}: its image input is {name!r}")
        logits = logits(**{name: sym.Variable("data")})
    label = sym.Variable("softmax_label")
    return Adapted(sym.SoftmaxOutput(logits, label, name="softmax"), shape[1], notes)


def _is_named(symbol: Symbol) -> bool:
    return symbol.list_outputs() == ["softmax_output"]


def _is_ours(symbol: Symbol, op: str) -> bool:
    """Whether it is a network of `fit --multi-label`, whose probabilities are of each class."""
    return op == SIGMOID and _is_named(symbol)


def _head(symbol: Symbol, path: str) -> Tuple[Symbol, str]:
    """The output with the class, and its operator."""
    ops = [entry.node.op for entry in symbol.entries]
    chosen = [index for index, op in enumerate(ops) if op in _SOFTMAX]
    if len(ops) == 1:
        chosen = [0]
    if len(chosen) != 1:
        raise InputError(
            f"{path}: has {len(ops)} outputs ({', '.join(symbol.list_outputs())}), "
            f"{len(chosen) or 'none'} of them a softmax; save only the output with the class"
        )
    return symbol[chosen[0]], ops[chosen[0]]


def _image(logits: Symbol, parameters: AbstractSet[str], path: str) -> str:
    """The name of the argument for the image."""
    free = [name for name in logits.list_arguments() if name not in parameters]
    if len(free) == 1:
        return free[0]
    if not free:
        raise InputError(f"{path}: all of its inputs are parameters in its checkpoint")
    if "data" in free:
        others = ", ".join(name for name in free if name != "data")
        raise InputError(
            f"{path}: needs {others} besides the image, which its .params does not have; copy "
            "the complete checkpoint again, or save the network without these inputs"
        )
    raise InputError(
        f"{path}: has {len(free)} inputs that are not parameters ({', '.join(free)}); rename the "
        "one for the image to data"
    )


def _shape(logits: Symbol, name: str, image_shape: Sequence[int], path: str) -> Tuple[int, ...]:
    """Shape of the output for one image: (1, classes) or (1, classes, 1, 1)."""
    size = ",".join(map(str, image_shape))
    try:
        _, outputs, _ = logits.infer_shape(**{name: (1, *image_shape)})
    except GraphError as error:
        raise InputError(
            f"{path}: does not accept images of --image-shape {size}; give the shape that it was "
            f"trained with ({error})"
        ) from error
    shape = tuple(outputs[0]) if outputs and outputs[0] else ()
    if len(shape) not in (2, 4) or shape[1] < 2 or any(side != 1 for side in shape[2:]):
        raise InputError(
            f"{path}: returns {shape} for one image of --image-shape {size}, not one number per "
            "class; give the shape that it was trained with, or use a classifier"
        )
    return shape
