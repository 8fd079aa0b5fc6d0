"""Command lines from dataclasses.

The flags of a command are a frozen dataclass whose fields are made by `option`. A flag has the
field's name, with dashes:

    @dataclass(frozen=True)
    class Settings:
        batch_size: int = option(128, "images per update", integer(1))

    settings = parse(Settings, argv, "fit", "Train a network.")
    settings.batch_size  # a checked int
"""

import argparse
import dataclasses
import difflib
import os
import sys
from typing import (
    Any,
    Dict,
    Iterator,
    List,
    NoReturn,
    Optional,
    Sequence,
    Tuple,
    Type,
    TypeVar,
    Union,
    cast,
)

from imagenet_trainer import __version__
from imagenet_trainer.config import plugins
from imagenet_trainer.config.other_trainers import way_out
from imagenet_trainer.config.values import BEST, Parser, switch
from imagenet_trainer.errors import InputError
from imagenet_trainer.text import printable

S = TypeVar("S")


def option(
    default: Any,
    help: str,
    parse: Optional[Parser] = None,
    *,
    choices: Sequence[Any] = (),
    metavar: Union[str, Tuple[str, ...], None] = None,
    positional: str = "",
    may_change: bool = False,
    short: str = "",
    nargs: Union[int, str] = 0,
    const: str = "",
    plugins: str = "",
) -> Any:
    """Define one flag of a settings class.

    Parameters
    ----------
    default, help
        value without the flag; what the flag does, with its unit.
    parse
        converts the text to the value, see `values`. The default is the type of `default`; a bool
        without `parse` is a flag without a value.
    choices, metavar
        as in argparse.
    positional
        "one" or "many" makes it a positional argument.
    may_change
        whether a resumed run may change it, because it does not affect the results.
    short
        a short name, such as -n.
    nargs
        number of values, all of them strings; "+": one or more, each converted to a tuple, which
        are joined, also those of a flag that is given twice.
    const
        text that stands for the flag without its value.
    plugins
        a kind of `plugins`, whose installed names are choices too, and are in the help.

    """
    metadata = {
        "help": help,
        "parse": parse,
        "choices": choices,
        "metavar": metavar,
        "positional": positional,
        "may_change": may_change,
        "short": short,
        "nargs": nargs,
        "const": const,
        "plugins": plugins,
    }
    return dataclasses.field(default=default, metadata=metadata)


def default_of(settings: Type[Any], name: str) -> Any:
    """Default of a field."""
    return next(field.default for field in dataclasses.fields(settings) if field.name == name)


def is_set(settings: Any, name: str) -> bool:
    """Whether a field has another value than its default."""
    return bool(getattr(settings, name) != default_of(type(settings), name))


def flag_of(field_name: str) -> str:
    """Flag of a field: `batch_size` is `--batch-size`."""
    return "--" + field_name.replace("_", "-")


def field_of(flag: str) -> str:
    """Field of a flag, also of one without dashes in front: `batch-size` is `batch_size`."""
    return flag.lstrip("-").replace("-", "_")


def formatted(value: Any, exact: bool = False) -> str:
    """A value as on a command line, for messages: floats have up to six digits, unless `exact`."""
    if isinstance(value, (tuple, list)):
        if len(value) == 2 and isinstance(value[0], str) and value[1] == BEST:  # a checkpoint
            value = (value[0], "best")
        return ",".join(formatted(one, exact) for one in value)
    if isinstance(value, float) and not exact:
        return f"{value:g}"
    return str(int(value) if isinstance(value, bool) else value)


def flag_with_value(settings: Any, name: str) -> str:
    """The flag of a field with its value, for messages."""
    return f"{flag_of(name)} {formatted(getattr(settings, name))}"


# --- the argparse parser -----------------------------------------------------------------------


class _Choices:
    """Choices, and the names of plug-ins, which are looked up for other names and for errors."""

    def __init__(self, own: Sequence[Any], kind: str) -> None:
        self._own, self._kind = own, kind

    def __contains__(self, value: object) -> bool:
        return value in self._own or value in plugins.names(self._kind)

    def __iter__(self) -> Iterator[Any]:
        return iter((*self._own, *plugins.names(self._kind)))


class _Joined(argparse.Action):
    """The values of a flag that is given several times, together."""

    def __call__(
        self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: Any = None
    ) -> None:
        before = getattr(namespace, self.dest)
        setattr(namespace, self.dest, [*before, *values] if isinstance(before, list) else values)


class _HelpFormatter(argparse.HelpFormatter):
    """Appends the default to the help of each flag, as it is written on a command line.

    Before it come the names of plug-ins.
    """

    def _get_help_string(self, action: argparse.Action) -> str:
        text, default = action.help or "", action.default
        found = plugins.names(getattr(action, "plugins", ""))
        text += f"; plug-ins: {', '.join(found).replace('%', '%%')}" if found else ""
        if not action.option_strings or action.nargs == 0 or default in (None, "", ()):
            return text
        if isinstance(default, (tuple, bool)):
            default = formatted(default)
        return f"{text} (default: {str(default).replace('%', '%%')})"


class _OneLineParser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        message = printable(_reworded(message))
        print(f"{self.prog}: error: {message} (--help lists all)", file=sys.stderr)
        sys.exit(2)


class _RaisingParser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(_reworded(message))


def _reworded(message: str) -> str:
    """Argparse's message about `argument --lr` is one about `--lr`."""
    return message.replace("argument --", "--", 1).replace("argument ", "", 1)


def _argument_type(parse: Parser) -> Parser:
    """`parse` with the text in its errors."""

    def convert(text: str) -> Any:
        try:
            return parse(text)
        except ValueError as error:
            reason = str(error)
            if not reason.startswith("must"):
                reason = "not a number"  # of float, whose message repeats the text
            raise argparse.ArgumentTypeError(f"{text!r}: {reason}") from None

    return convert


def parser_of(
    settings: Type[Any],
    prog: str,
    description: str,
    kind: Type[argparse.ArgumentParser] = _OneLineParser,
) -> argparse.ArgumentParser:
    """The argparse parser of a settings class."""
    parser = kind(
        prog=prog, description=description, allow_abbrev=False, formatter_class=_HelpFormatter
    )
    if kind is not _RaisingParser:
        version = f"imagenet-trainer {__version__}"
        parser.add_argument("--version", action="version", version=version, help="its number")
    for field in dataclasses.fields(settings):
        if field.metadata["positional"]:
            parser.add_argument(
                field.name,
                nargs="+" if field.metadata["positional"] == "many" else None,
                help=field.metadata["help"],
                # An error about a value from Python names the parameter.
                metavar=None if kind is _RaisingParser else field.metadata["metavar"],
                choices=field.metadata["choices"] or None,
            )
        else:
            names = [*filter(None, [field.metadata["short"]]), flag_of(field.name)]
            action = parser.add_argument(*names, dest=field.name, **_keywords(field))
            action.plugins = field.metadata["plugins"]  # type: ignore[attr-defined]
    return parser


def _keywords(field: "dataclasses.Field[Any]") -> Dict[str, Any]:
    """Arguments of `add_argument` for a flag."""
    metadata = field.metadata
    keywords: Dict[str, Any] = {"help": metadata["help"], "default": field.default}
    if isinstance(field.default, bool) and metadata["parse"] is None:
        return {**keywords, "action": "store_true"}
    if metadata["nargs"] == "+":
        keywords.update(nargs="+", action=_Joined)
    elif metadata["nargs"]:
        return {**keywords, "nargs": metadata["nargs"], "metavar": metadata["metavar"]}
    if metadata["parse"] is switch:
        keywords.update(nargs="?", const=True)  # the flag without a value switches on
    elif metadata["const"]:
        keywords.update(nargs="?", const=metadata["parse"](metadata["const"]))
    if metadata["choices"] and metadata["plugins"]:
        keywords["choices"] = _Choices(metadata["choices"], metadata["plugins"])
        keywords["metavar"] = "{" + ",".join(map(str, metadata["choices"])) + ",NAME}"
    elif metadata["choices"]:
        keywords["choices"] = metadata["choices"]
    else:
        keywords["metavar"] = metadata["metavar"] or "N"
    keywords["type"] = _argument_type(metadata["parse"] or type(field.default))
    return keywords


# --- from a command line -----------------------------------------------------------------------


def parse(settings: Type[S], argv: Optional[Sequence[str]], prog: str, description: str) -> S:
    """Parse a command line.

    An error prints one line, with the closest flag for a misspelt one, and exits with code 2.
    """
    parser = parser_of(settings, prog, description)
    if "_ARGCOMPLETE" in os.environ:  # a shell asks for completions
        import argcomplete

        argcomplete.autocomplete(parser)
    return _parse(parser, settings, argv)


def parse_or_raise(settings: Type[S], argv: Sequence[str]) -> S:
    """Parse a command line; raises InputError for an error."""
    return _parse(_raising_parser(settings), settings, argv)


def given(settings: Type[Any], argv: Sequence[str]) -> List[str]:
    """The fields whose flags a command line has."""
    nothing = object()
    names = [field.name for field in dataclasses.fields(settings)]
    space = argparse.Namespace(**dict.fromkeys(names, nothing))
    parsed, _ = _raising_parser(settings).parse_known_args(_with_values(settings, argv), space)
    return [name for name in names if getattr(parsed, name) is not nothing]


def unknown_arguments(settings: Type[Any], argv: Sequence[str]) -> List[str]:
    """The arguments of a command line that do not belong to a settings class."""
    return _raising_parser(settings).parse_known_args(_with_values(settings, argv))[1]


def is_given(name: str, argv: Sequence[str]) -> bool:
    """Whether a command line has the flag of a field."""
    return bool(texts_of(name, argv))


def texts_of(name: str, argv: Sequence[str]) -> List[str]:
    """What follows the flag of a field, each time that a command line has it; "" at its end."""
    found = []
    for word, after in zip(argv, [*argv[1:], ""]):
        flag, equals, text = word.partition("=")
        if flag == flag_of(name):
            found.append(text if equals else after)
    return found


_RAISING: Dict[type, argparse.ArgumentParser] = {}  # making one takes longer than its use


def _raising_parser(settings: Type[Any]) -> argparse.ArgumentParser:
    if settings not in _RAISING:
        _RAISING[settings] = parser_of(settings, settings.__name__, "", _RaisingParser)
    return _RAISING[settings]


def _parse(parser: argparse.ArgumentParser, settings: Type[S], argv: Optional[Sequence[str]]) -> S:
    argv = sys.argv[1:] if argv is None else argv
    arguments, unknown = parser.parse_known_args(_with_values(settings, argv))
    if unknown:
        _refuse(parser, unknown[0])
    fields = dataclasses.fields(cast(Any, settings))
    joined = {field.name for field in fields if field.metadata["nargs"] == "+"}
    values = vars(arguments)
    for name, value in values.items():
        if isinstance(value, list):
            values[name] = tuple(sum(value, ()) if name in joined else value)
    return settings(**values)


def _with_values(settings: Type[Any], argv: Sequence[str]) -> List[str]:
    """The words with `--bgr=1` for a `--bgr` before the name of an image.

    Argparse would take the name as the switch's value. Without positional arguments every word
    after a switch is meant as its value.
    """
    fields = dataclasses.fields(settings)
    words = list(argv)
    if any(field.metadata["positional"] for field in fields):
        switches = {flag_of(one.name) for one in fields if one.metadata["parse"] is switch}
        for number, word in enumerate(words):
            if word in switches and words[number + 1 : number + 2] not in (["0"], ["1"]):
                words[number] = f"{word}=1"
    return words


_SIMILAR = 0.8  # below it a flag is no misspelling: --sched has 0.77 in common with --seed


def _refuse(parser: argparse.ArgumentParser, argument: str) -> NoReturn:
    """End with the error of an argument that no flag takes."""
    flags = [name for action in parser._actions for name in action.option_strings]
    if not argument.startswith("-"):
        near = [flag for flag in ("--file", "--model-prefix") if "/" in argument and flag in flags]
        hint = f"; did you mean {near[0]} {argument}?" if near else ""
        if any(action.nargs == "+" and not action.option_strings for action in parser._actions):
            hint = "; give all that are no flags in one place, before or after the flags"
        parser.error(f"{argument}: unexpected argument{hint}")
    flag = argument.split("=")[0]
    hint = way_out(flag, flags)
    close = difflib.get_close_matches(flag, flags, 1, _SIMILAR)
    if close and not hint:
        hint = f"did you mean {close[0]}?"
    parser.error(f"{argument}: no such flag" + (f"; {hint}" if hint else ""))
