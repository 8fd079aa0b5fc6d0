"""Networks of the user's own: a Python file with a `get_symbol`, or MXNet's JSON of a graph.

A Python file is run as it is, with the rights of the user who named it. A JSON file is only read.
"""

import importlib.util
import inspect
import os
import re
import sys
import traceback
from collections import Counter
from pathlib import Path
from typing import Any, Dict, Optional, Sequence, Tuple

from imagenet_trainer.errors import ArgumentError
from imagenet_trainer.graph import GraphError, Symbol, as_graph, load_json
from imagenet_trainer.graph.naming import NameManager
from imagenet_trainer.system.files import read_bytes

PYTHON, JSON = ".py", ".json"
_SOFTMAX = "SoftmaxOutput"


def is_file(network: str) -> bool:
    """Whether the name of a network is that of a file."""
    return network.endswith((PYTHON, JSON))


def stem_of(network: str) -> str:
    """The name of the network: that of the file, `model` for model-symbol.json."""
    name = os.path.splitext(os.path.basename(network))[0]
    return name[: -len("-symbol")] if name.endswith("-symbol") else name


def check(network: str, num_layers: Optional[int]) -> None:
    """ArgumentError for a file that is missing, and for a depth that a JSON file cannot have."""
    if not os.path.isfile(network):
        raise ArgumentError("network", network, "no such file; give a .py or .json that exists")
    if network.endswith(JSON) and num_layers is not None:
        raise ArgumentError("num_layers", num_layers, f"{network} has one depth; omit it")


def get_symbol(
    num_classes: int, image_shape: Sequence[int], path: str, num_layers: Optional[int] = None
) -> Symbol:
    """The graph of a file, for a number of classes and images of (channels, height, width).

    Raises ArgumentError with the file and the reason: its code fails, or its network is no
    classifier of so many classes with `data`, and `softmax_label` of a SoftmaxOutput.
    """
    shape = tuple(image_shape)
    if path.endswith(JSON):
        symbol = _read(path)
    else:
        symbol = _run(path, num_classes, shape, num_layers)
    advice = (
        f"return {num_classes} outputs for num_classes={num_classes}"
        if path.endswith(PYTHON)
        else "start from its parameters with --pretrained, which replaces the classifier"
    )
    check_classifier(symbol, path, num_classes, shape, advice)
    return symbol


def check_classifier(
    symbol: Symbol, network: str, num_classes: int, image_shape: Sequence[int], advice: str
) -> None:
    """ArgumentError unless a graph is a classifier of images of this shape into these classes.

    `advice` is the way out if it has another number of classes.
    """
    _check_form(symbol, network)
    shape = tuple(image_shape)
    try:
        _, outputs, _ = symbol.infer_shape(data=(1, *shape))
    except GraphError as error:
        raise ArgumentError(
            "network", network, f"does not take images of {shape}: {error}"
        ) from error
    if outputs is None:
        raise ArgumentError(
            "network", network, "has a parameter whose shape does not follow from the images; give "
            "its Variable a shape"
        )  # fmt: skip
    classes = outputs[0][-1]
    if classes != num_classes:
        raise ArgumentError(
            "network",
            network,
            f"has {classes} classes where the images have {num_classes}; {advice}",
        )


def _read(path: str) -> Symbol:
    try:
        with open(path, encoding="utf-8") as file:
            return load_json(file.read())
    except (GraphError, OSError, UnicodeDecodeError) as error:
        raise ArgumentError("network", path, f"{error}; give MXNet's JSON of a network") from error


def _run(path: str, classes: int, shape: Tuple[int, ...], num_layers: Optional[int]) -> Symbol:
    """What the file's `get_symbol` returns; errors of its code name its line."""
    _prepare_mxnet(path)
    try:
        spec = importlib.util.spec_from_file_location(f"user_network_{stem_of(path)}", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # where dataclasses look it up
        spec.loader.exec_module(module)
        function = getattr(module, "get_symbol", None)
        if not callable(function):
            raise ArgumentError("network", path, "has no function get_symbol; define it")
        options = options_of(function, classes, shape, num_layers)
        if num_layers is not None and "num_layers" not in options:
            raise ArgumentError(
                "num_layers", num_layers, f"get_symbol of {path} takes no num_layers; omit it"
            )
        with NameManager():
            return as_graph(function(**options))
    except ArgumentError:
        raise
    except (Exception, SystemExit) as error:
        lines = [one.lineno for one in traceback.extract_tb(error.__traceback__)
                 if os.path.abspath(one.filename) == os.path.abspath(path)]  # fmt: skip
        line = getattr(error, "lineno", None) if isinstance(error, SyntaxError) else None
        where = f"line {line or lines[-1]}: " if line or lines else ""
        what = " ".join(str(error).split())
        raise ArgumentError(
            "network", path, f"{where}{type(error).__name__}: {what}; correct the file"
        ) from error


def _prepare_mxnet(path: str) -> None:
    """Import MXNet as this program does, if the file imports it: its own import fails today."""
    if re.search(rb"^\s*(import|from)\s+mxnet\b", read_bytes(Path(path)), re.M):
        from imagenet_trainer.system.mxnet_import import import_problem

        problem = import_problem()
        if problem:
            raise ArgumentError("network", path, f"imports MXNet: {problem}")


def options_of(
    function: Any, classes: int, shape: Tuple[int, ...], num_layers: Optional[int]
) -> Dict[str, Any]:
    """The arguments that a function takes, of those that a family's get_symbol gets."""
    known: Dict[str, Any] = {"num_classes": classes, "image_shape": shape}
    if num_layers is not None:
        known["num_layers"] = num_layers
    parameters = inspect.signature(function).parameters
    if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values()):
        return known
    return {name: value for name, value in known.items() if name in parameters}


def _check_form(symbol: Symbol, network: str) -> None:
    last = symbol.nodes[-1]
    missing = {"data", "softmax_label"} - set(symbol.list_arguments())
    if last.op != _SOFTMAX or len(symbol.list_outputs()) != 1 or missing:
        raise ArgumentError(
            "network", network,
            "is not a classifier: it needs the input data and one output, a SoftmaxOutput with "
            "the label softmax_label; end it with sym.SoftmaxOutput(x, name='softmax')",
        )  # fmt: skip
    name, count = Counter(symbol.list_inputs()).most_common(1)[0]
    if count > 1:
        raise ArgumentError(
            "network", network, f"has {count} parameters {name}; give each layer its own name, or "
            "both the same Variable"
        )  # fmt: skip
