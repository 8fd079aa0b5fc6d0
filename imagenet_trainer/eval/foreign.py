"""Networks of other programs, brought into the form that engines execute.

An engine wants one input `data`, one output of probabilities named `softmax`, and the label
`softmax_label`. Checkpoints of MXNet's Module have nearly that; Gluon's exports end in logits;
others name their inputs as they like.
"""

import json
from typing import AbstractSet, Any, List, NamedTuple, Sequence, Tuple

from imagenet_trainer.errors import InputError

# Operators that turn logits into probabilities; their first input is the logits.
_SOFTMAX = ("SoftmaxOutput", "Softmax", "softmax", "log_softmax", "SoftmaxActivation")
# What ends a network that is no classifier of one class an image, or whose logits are hidden.
_NOT_LOGITS = (
    "Activation", "sigmoid", "tanh", "LogisticRegressionOutput", "LinearRegressionOutput",
    "MAERegressionOutput", "SVMOutput", "MakeLoss", "make_loss", "BlockGrad", "softmin",
)  # fmt: skip


class Adapted(NamedTuple):
    """A network as engines want it."""

    symbol: Any  # from `data` to `softmax_output` (n, classes)
    classes: int
    notes: List[str]  # what was done to it, for the user


def adapted(
    symbol: Any, parameters: AbstractSet[str], image_shape: Sequence[int], path: str
) -> Adapted:
    """Bring a symbol into the form above; our own networks come back as they are.

    Parameters
    ----------
    symbol
        with one output, or several of which one is a softmax: SoftmaxOutput, softmax,
        log_softmax, or logits (n, classes), on which a softmax is put.
    parameters
        names in its checkpoint; the argument that is none of them is the image.
    image_shape
        3, height, width.
    path
        what errors call the network.

    Raises InputError for networks that are no classifiers of images.

    """
    head, op = _head(symbol, path)
    notes: List[str] = []
    if op in _SOFTMAX:
        logits = head.get_children()[0]
        temperature = _attribute(head, "temperature")
        if temperature not in ("", "None"):
            logits = logits / float(temperature)
    elif op in _NOT_LOGITS:
        raise InputError(
            f"{path}: ends in {op}, which gives no probabilities of classes; give a network that "
            "ends in a softmax or in logits"
        )
    else:
        logits = head
        notes.append(f"{path} ends in {op}: a softmax is put on it")
    name = _image(logits, parameters, path)
    shape = _shape(logits, name, image_shape, path)
    if op == "SoftmaxOutput" and name == "data" and symbol.list_outputs() == ["softmax_output"]:
        return Adapted(symbol, shape[1], notes)
    from imagenet_trainer.system.mxnet_import import mx

    if len(shape) == 4:
        logits = mx.sym.Flatten(logits)
    if name != "data":
        notes.append(f"{path}: its input {name!r} takes the images")
        logits = logits(**{name: mx.sym.Variable("data")})
    label = mx.sym.Variable("softmax_label")
    return Adapted(mx.sym.SoftmaxOutput(logits, label, name="softmax"), shape[1], notes)


def _head(symbol: Any, path: str) -> Tuple[Any, str]:
    """The output that names the class, and its operator."""
    nodes = json.loads(symbol.tojson())
    ops = [nodes["nodes"][node]["op"] for node, *_ in nodes["heads"]]
    chosen = [place for place, op in enumerate(ops) if op in _SOFTMAX]
    if len(ops) == 1:
        chosen = [0]
    if len(chosen) != 1:
        raise InputError(
            f"{path}: has {len(ops)} outputs ({', '.join(symbol.list_outputs())}), "
            f"{len(chosen) or 'none'} of them a softmax; save the one that names the class alone"
        )
    return symbol[chosen[0]], ops[chosen[0]]


def _attribute(head: Any, name: str) -> str:
    """An attribute of the last operator; '' if it has none."""
    return head.list_attr().get(name, "")


def _image(logits: Any, parameters: AbstractSet[str], path: str) -> str:
    """The argument that takes the image."""
    free = [name for name in logits.list_arguments() if name not in parameters]
    if len(free) == 1:
        return free[0]
    if not free:
        raise InputError(f"{path}: has no input that is no parameter of its checkpoint")
    if "data" in free:
        others = ", ".join(name for name in free if name != "data")
        raise InputError(
            f"{path}: needs {others} beside the image, which its .params does not hold; copy "
            "the whole checkpoint again, or save the network without these inputs"
        )
    raise InputError(
        f"{path}: which of its inputs {', '.join(free)} takes the image cannot be told; name "
        "that one data"
    )


def _shape(logits: Any, name: str, image_shape: Sequence[int], path: str) -> Tuple[int, ...]:
    """Shape of the predictions to one image: (1, classes) or (1, classes, 1, 1)."""
    from imagenet_trainer.system.mxnet_import import mx

    size = ",".join(map(str, image_shape))
    try:
        _, outputs, _ = logits.infer_shape(**{name: (1, *image_shape)})
    except mx.base.MXNetError as error:
        raise InputError(
            f"{path}: does not take images of --image-shape {size}; give the one that it was "
            "trained with"
        ) from error
    shape = tuple(outputs[0]) if outputs and outputs[0] else ()
    if len(shape) not in (2, 4) or shape[1] < 2 or any(side != 1 for side in shape[2:]):
        raise InputError(
            f"{path}: predictions {shape} to one image of --image-shape {size}, not a number for "
            "each class; give the size that it was trained with, or a classifier"
        )
    return shape
