"""Reads symbols, checks parameters against them, and prepares them for engines."""

from typing import Any, Dict, List, Optional, Sequence, Set, Tuple

import numpy as np

from imagenet_trainer.engines import Training
from imagenet_trainer.engines.pooling import pooled_first
from imagenet_trainer.engines.update_rules import STATE_NAMES
from imagenet_trainer.errors import ArgumentError, InputError
from imagenet_trainer.graph import GraphError, Symbol, as_graph, load_json, sym
from imagenet_trainer.system.arrays import Arrays

SIGMOID = "LogisticRegressionOutput"
Shapes = Dict[str, Tuple[int, ...]]


def load_symbol(text: str, path: str) -> Symbol:
    """The network in the JSON text of a file; InputError with the file's name if it is none."""
    try:
        return load_json(text)
    except GraphError as error:
        raise InputError(f"{path}: {error}; copy it again, or use another network") from error


def parameter_shapes(symbol: Any, image_shape: Sequence[int]) -> Tuple[Shapes, Shapes]:
    """Shapes of a symbol's arguments (without data and label) and auxiliary states by name."""
    symbol = as_graph(symbol)
    arguments, _, auxiliary = symbol.infer_shape(data=(1, *image_shape))
    if arguments is None or auxiliary is None:
        raise InputError(
            f"the shapes of the network's parameters do not follow from images of {image_shape}; "
            "save it with the shapes of its variables"
        )
    inputs = ("data", "softmax_label")
    arg = {n: s for n, s in zip(symbol.list_arguments(), arguments) if n not in inputs}
    return arg, dict(zip(symbol.list_auxiliary_states(), auxiliary))


def check_parameters(
    symbol: Any, image_shape: Sequence[int], arg: Arrays, aux: Arrays, path: str
) -> None:
    """Raise InputError with the file and the first difference if they are not the symbol's."""
    for expected, actual in zip(parameter_shapes(symbol, image_shape), (arg, aux)):
        for name, shape in expected.items():
            if name not in actual:
                raise InputError(f"{path}: has no {name}: it is from another network")
            if tuple(actual[name].shape) != tuple(shape):
                raise InputError(
                    f"{path}: {name} is {tuple(actual[name].shape)}, but this network has {shape}: "
                    "the file is for another network, number of classes or image size"
                )
        for name in actual:
            if name not in expected:
                raise InputError(f"{path}: {name} is not in this network: it is from another one")


def of_network(
    symbol: Any, image_shape: Sequence[int], arg: Arrays, aux: Arrays
) -> Tuple[Arrays, Arrays]:
    """The parameters without those that the network does not have, as those of other outputs."""
    wanted_arg, wanted_aux = parameter_shapes(symbol, image_shape)
    return (
        {name: value for name, value in arg.items() if name in wanted_arg},
        {name: value for name, value in aux.items() if name in wanted_aux},
    )


def check_state(
    symbol: Symbol, arg: Arrays, aux: Arrays, state: Arrays, frozen: Sequence[str], path: str
) -> None:
    """Raise InputError with the file and the first array if a state is not that of a training.

    `arg` and `aux` are the parameters beside it, `frozen` those that the training does not change.
    Without this check a training would continue with a part of its momentum.
    """
    if "updates" not in state:
        raise InputError(f"{path}: its state has no number of updates: it is incomplete")
    has: Dict[str, Set[str]] = {}
    for key, value in state.items():
        label, _, name = key.partition(":")
        if label in ("average", "trained", "statistics"):  # average:arg:NAME, statistics:0:NAME
            kind, _, name = name.partition(":")
            wanted = (arg if kind == "arg" else aux).get(name)
        elif label in STATE_NAMES:
            has.setdefault(label, set()).add(name)
            wanted = arg.get(name)
        else:
            continue
        if wanted is None or wanted.shape != value.shape:
            raise InputError(
                f"{path}: its state has {key} {value.shape}, which is not of this network: the "
                "file is damaged or of another run"
            )
    fixed = {n.inputs[1].node.name for n in symbol.nodes if n.values.get("fix_gamma")}
    fixed |= {n.name for n in symbol.nodes if float(n.attrs.get("__lr_mult__", 1)) == 0}
    learned = set(arg) - fixed - set(frozen)
    for label, names in has.items():
        missing = sorted(learned - names)
        if missing:
            raise InputError(
                f"{path}: its state has no {label} of {missing[0]}: the file is incomplete; "
                "continue from an older epoch"
            )


def number_of_classes(symbol: Any, image_shape: Sequence[int]) -> int:
    """The number of a network's outputs; image_shape is (channels, height, width)."""
    _, outputs, _ = as_graph(symbol).infer_shape(data=(1, *image_shape))
    if not outputs:
        raise InputError(f"the number of classes does not follow from images of {image_shape}")
    return int(np.prod(outputs[0][1:]))


def ends_in_sigmoid(symbol: Any) -> bool:
    """Whether a network is for images with several classes."""
    return [entry.node.op for entry in as_graph(symbol).entries] == [SIGMOID]


def label_vector_length(symbol: Symbol, image_shape: Tuple[int, int, int]) -> int:
    """The length of a network's label vectors, also where it has other outputs too; 0 for none."""
    if not any(node.op == SIGMOID for node in symbol.nodes):
        return 0
    shapes, _, _ = symbol.infer_shape(data=(1, *image_shape))
    return dict(zip(symbol.list_arguments(), shapes or ()))["softmax_label"][1]


def executed_graph(symbol: Any, training: Optional[Training]) -> Symbol:
    """What an engine executes, with the network's parameters and outputs.

    With a training, frozen layers use their moving statistics, and max pooling comes before the
    rectifier, unless the outputs of the layers are monitored.

    Raises ArgumentError if the training has label vectors and the network no sigmoid, or vice
    versa.
    """
    symbol = as_graph(symbol)
    if training is None:
        return symbol
    _check_head(symbol, training)
    symbol = frozen_in(symbol, training.optimizer.frozen)
    return symbol if training.monitor else pooled_first(symbol)


def _check_head(symbol: Symbol, training: Training) -> None:
    if training.multi_label != ends_in_sigmoid(symbol):
        kind = "a sigmoid" if training.multi_label else "a softmax"
        value = int(training.multi_label)
        raise ArgumentError("multi_label", value, f"needs a network that ends in {kind}")


def with_sigmoid(symbol: Any) -> Symbol:
    """The classifier with a sigmoid for each class instead of its softmax, under the same name.

    MXNet's LogisticRegressionOutput has the gradient of the mean over the classes of the binary
    cross-entropies. Raises ArgumentError for a network that does not end in a softmax of logits.
    """
    symbol = as_graph(symbol)
    last = symbol.entries[0].node
    if ends_in_sigmoid(symbol):
        return symbol
    if len(symbol) != 1 or last.op != "SoftmaxOutput":
        raise ArgumentError("multi_label", "", f"needs a network that ends in a softmax, not in "
                            f"{last.op}; omit it")  # fmt: skip
    logits, label = Symbol(last.inputs[:1]), Symbol(last.inputs[1:])
    return sym.LogisticRegressionOutput(logits, label, name=last.name)


def draws_numbers(network: Symbol) -> bool:
    """Whether a training of the network draws random numbers, as dropout does."""
    return any(
        node.op == "Dropout" or node.values.get("act_type") == "rrelu" for node in network.nodes
    )


def frozen_in(symbol: Any, names: List[str]) -> Symbol:
    """The network whose BatchNorms with frozen parameters normalise by moving statistics.

    A BatchNorm is frozen if its beta is frozen and its gamma is frozen or fixed. Otherwise the
    output of a frozen layer would still change with its statistics.
    """
    symbol, frozen, changes = as_graph(symbol), set(names), {}
    for node in symbol.nodes:
        if node.op == "BatchNorm":
            gamma, beta = (entry.node.name for entry in node.inputs[1:3])
            if beta in frozen and (gamma in frozen or node.values["fix_gamma"]):
                changes[node.name] = {"use_global_stats": "True"}
    return symbol.with_attributes(changes)
