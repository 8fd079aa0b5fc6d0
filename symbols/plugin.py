"""Networks of other installed packages: functions like the `get_symbol` of a user's file."""

import inspect
from typing import Optional, Sequence, Tuple

from imagenet_trainer.config import plugins
from imagenet_trainer.errors import ArgumentError
from imagenet_trainer.graph import Symbol, as_graph
from imagenet_trainer.graph.naming import NameManager
from imagenet_trainer.symbols.user_file import check_classifier, options_of


def image_shape_of(name: str) -> Tuple[int, int, int]:
    """The size for which a network was published: the default of its function's image_shape.

    Raises ArgumentError as `plugins.load` does.
    """
    plugin, function = plugins.load("networks", name)
    try:
        parameter = inspect.signature(function).parameters.get("image_shape")
    except ValueError as error:  # of functions that are not written in Python
        raise plugin.error("has no signature; name a function") from error
    shape = parameter.default if parameter else None
    if isinstance(shape, tuple) and len(shape) == 3:
        return shape[0], shape[1], shape[2]
    return 3, 224, 224


def get_symbol(
    num_classes: int, image_shape: Sequence[int], name: str, num_layers: Optional[int] = None
) -> Symbol:
    """The graph of a plug-in, for a number of classes and images of (channels, height, width).

    Raises ArgumentError with the package and the reason: its code fails, or its network is no
    classifier of so many classes.
    """
    plugin, function = plugins.load("networks", name)
    options = options_of(function, num_classes, tuple(image_shape), num_layers)
    if num_layers is not None and "num_layers" not in options:
        raise ArgumentError("num_layers", num_layers, f"{name} has one depth; omit it")
    try:
        with NameManager():
            symbol = as_graph(function(**options))
    except ArgumentError:
        raise
    except (Exception, SystemExit) as error:
        reason = f"failed: {plugins.one_line(error)}; report it to its authors"
        raise plugin.error(reason) from error
    advice = f"its authors must return {num_classes} outputs for num_classes={num_classes}"
    try:
        check_classifier(symbol, name, num_classes, image_shape, advice)
    except ArgumentError as error:
        raise plugin.error(f"is unusable: {str(error).partition(': ')[2]}") from error
    return symbol
