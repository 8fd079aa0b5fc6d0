"""The types of the commands as functions, for type checkers and editors.

    python tools/python_api.py > imagenet_trainer/__init__.pyi

writes a class with the signature of each command, from its settings class. A test compares the two.
"""

import inspect
import re
import sys
import textwrap
from pathlib import Path
from typing import Any, Collection, Iterator, List, Union, get_args, get_origin

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from imagenet_trainer import benchmark, compare, doctor, evaluate, export, fit, predict, published
from imagenet_trainer.config.python_api import Text

COMMANDS = (fit, evaluate, predict, compare, export, published, benchmark, doctor)
# Other functions of the modules that take flags by name.
FUNCTIONS = {benchmark: (benchmark.bottleneck,)}
# They take nearly all parameters of fit, which are described there alone.
LIKE_FIT = (compare, benchmark.bottleneck)
_HEAD = '''\
"""Signatures of the commands as functions; tools/python_api.py writes this file."""

# fmt: off
# ruff: noqa: D417 (parameters of fit are described there alone)
import os
from types import ModuleType
from typing import Any, Literal, Optional, Sequence, Tuple, Union

{imports}

Text = Union[str, os.PathLike[str]]

__version__: str
'''


def stub() -> str:
    """The content of imagenet_trainer/__init__.pyi."""
    functions = [*COMMANDS, *(one for found in FUNCTIONS.values() for one in found)]
    lines = [_HEAD.format(imports="\n".join(_imports({*map(_result, functions)})))]
    for module in COMMANDS:
        lines += _command(module)
    return "\n".join(lines)


def _result(function: Any) -> Any:
    return inspect.signature(function).return_annotation


def _imports(classes: Collection[Any]) -> Iterator[str]:
    """The import of the classes of each module."""
    for module in sorted({one.__module__ for one in classes}):
        names = sorted(one.__name__ for one in classes if one.__module__ == module)
        yield "\n".join([f"from {module} import (", *(f"    {name}," for name in names), ")"])


def _command(module: Any) -> List[str]:
    """The class of a callable module, and the module as its instance."""
    name = module.__name__.rpartition(".")[2]
    lines = [f"class _{name.title()}(ModuleType):"]
    lines += _method("__call__", module, module.call.__doc__)
    for function in FUNCTIONS.get(module, ()):
        lines += _method(function.__name__, function, function.__doc__)
    lines += ["    def call(self, **flags: Any) -> Any: ..."]
    return [*lines, "    def main(self, argv: Optional[Sequence[str]] = None) -> int: ...", "",
            f"{name}: _{name.title()}", ""]  # fmt: skip


def _method(name: str, function: Any, about: Any) -> List[str]:
    lines = [f"    def {name}(", "        self,", "        *,"]
    for one in inspect.signature(function).parameters.values():
        text = f"{one.name}: {type_text(one.annotation)}"
        if one.default is not one.empty:
            text += f" = {one.default!r}"
        lines += textwrap.wrap(
            f"{text},", 100, initial_indent=" " * 8, subsequent_indent=" " * 12,
            break_long_words=False, break_on_hyphens=False,
        )  # fmt: skip
    about = _without_those_of_fit(about) if function in LIKE_FIT else f"{about}\n"
    docstring = textwrap.indent(f'"""{about}\n"""', " " * 8).splitlines()
    return [
        *lines,
        f"    ) -> {_result(function).__name__}:",
        *(line.rstrip() for line in docstring),
    ]


def _without_those_of_fit(about: str) -> str:
    """A docstring without the parameters that the one of fit describes in the same words."""
    entry = re.compile(r"^\w+\n(?: +.*\n?)+", re.M)
    known = {*map(str.strip, entry.findall(fit.call.__doc__ or ""))}
    own = entry.sub(lambda found: "" if found[0].strip() in known else found[0], about)
    # In front of the section, in which every line that is not indented names a parameter.
    title = "\nParameters\n"
    more = f"\nThe parameters that are not listed are those of `fit`.\n{title}"
    return own.rstrip().replace(title, more, 1) + "\n"


def type_text(kind: Any) -> str:
    """A type as source text, the same in all versions of Python."""
    if kind == Text:
        return "Text"
    arguments, origin = get_args(kind), get_origin(kind)
    if origin is None:
        return "None" if kind is type(None) else str(kind.__name__)
    if origin is Union:
        if set(get_args(Text)) < set(arguments):  # Python flattens unions
            rest = [one for one in arguments if one not in get_args(Text)]
            return f"Union[Text, {', '.join(map(type_text, rest))}]"
        if len(arguments) == 2 and arguments[1] is type(None):
            return f"Optional[{type_text(arguments[0])}]"
    name = {tuple: "Tuple", Union: "Union"}.get(origin) or getattr(kind, "_name", None) or "Literal"
    items = map(repr if name == "Literal" else type_text, arguments)
    return f"{name}[{', '.join(items)}]"


if __name__ == "__main__":
    print(stub(), end="")
