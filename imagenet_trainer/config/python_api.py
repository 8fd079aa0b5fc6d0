"""Commands as functions: `from imagenet_trainer import fit`, then `fit(network="resnet", lr=0.1)`.

Parameters have the names of the flags. The module of a command is callable itself, so
`python -m imagenet_trainer.fit`, `fit.main([...])` and `fit(...)` share one name. The signature and
the description of the parameters are those of the settings class. Type checkers and editors cannot
call a module: they read `imagenet_trainer/__init__.pyi`, which tools/python_api.py writes from the
same signatures.
"""

import dataclasses
import inspect
import os
import sys
import textwrap
from types import ModuleType
from typing import (
    Any,
    Callable,
    List,
    Literal,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    Type,
    TypeVar,
    Union,
    get_args,
    get_origin,
)

from imagenet_trainer.config.values import checkpoint, command, epoch_number

F = TypeVar("F", bound=Callable[..., Any])

Text = Union[str, os.PathLike[str]]
"""What a parameter takes whose flag takes a text, such as the name of a file."""
Epoch = Union[int, Literal["best"]]
_TYPES: Mapping[Any, Any] = {
    checkpoint: Union[str, Tuple[Text, Epoch]],
    epoch_number: Epoch,
    command: Union[str, Sequence[str]],
}


class _Command(ModuleType):
    """A callable module: its function `call` gets the flags by name and returns the results."""

    def __call__(self, **flags: Any) -> Any:
        return self.call(**flags)

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self.call)


def command_function(settings: Type[Any]) -> Callable[[F], F]:
    """A decorator for the function `call` of the module of a command.

    It gives the function the parameters of the settings class, in its signature and its docstring,
    and makes its module callable.
    """

    def decorate(function: F) -> F:
        sys.modules[function.__module__].__class__ = _Command
        return with_flags(settings)(function)

    return decorate


def with_flags(settings: Type[Any]) -> Callable[[F], F]:
    """A decorator that gives a function the parameters of the settings class.

    They are in its signature and its docstring.
    """

    def decorate(function: F) -> F:
        returns = inspect.signature(function).return_annotation
        function.__signature__ = signature(settings, returns)  # type: ignore[attr-defined]
        if function.__doc__:
            about = inspect.cleandoc(function.__doc__)
            function.__doc__ = f"{about}\n\n{description(settings)}"
        return function

    return decorate


def signature(settings: Type[Any], returns: Any) -> inspect.Signature:
    """A signature with a keyword for each flag, with its type and its default."""
    empty = inspect.Parameter.empty
    parameters = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=empty if field.metadata["positional"] else field.default,
            annotation=annotation(field),
        )
        for field in dataclasses.fields(settings)
    ]
    return inspect.Signature(parameters, return_annotation=returns)


def annotation(field: "dataclasses.Field[Any]") -> Any:
    """The type that a parameter takes: that of the field, and what its flag reads as well.

    A list of a command line may be a sequence, one value, or the text of the flag.
    """
    metadata, kind = field.metadata, field.type
    if metadata["choices"]:
        taken: Any = Literal[tuple(metadata["choices"])]
        if metadata["plugins"]:  # of which no type checker knows
            taken = Union[taken, str]
    elif metadata["parse"] in _TYPES:
        taken = _TYPES[metadata["parse"]]
    else:
        if get_origin(kind) is Union:  # Optional
            kind = get_args(kind)[0]
        taken = _taken(kind, metadata)
    return Optional[taken] if field.default is None else taken


def _taken(kind: Any, metadata: Mapping[str, Any]) -> Any:
    if kind is str:
        # Lists of names and of shards, which their commands divide at the commas.
        return Union[Text, Sequence[Text]] if metadata["metavar"] in ("LIST", "REC") else Text
    if get_origin(kind) is not tuple:
        return kind
    if isinstance(metadata["nargs"], int) and metadata["nargs"]:
        return Sequence[Union[str, int]]
    (inner, *_) = get_args(kind)
    one: Any = Text if inner is str else inner
    return Union[str, one, Sequence[one]]


def description(settings: Type[Any]) -> str:
    """The parameters for a docstring: name, and the help of the flag."""
    lines = ["Parameters", "----------"]
    for field in dataclasses.fields(settings):
        lines.append(field.name)
        lines += _indented(field.metadata["help"])
    return "\n".join(lines)


def _indented(text: str) -> List[str]:
    return textwrap.wrap(
        text, 84, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False
    )
