"""From a settings class to a command line and back, with one line for every mistake.

A command line is a frozen dataclass whose fields are made by `option`; the flag's name is the
field's name with dashes:

    @dataclass(frozen=True)
    class Settings:
        batch_size: int = option(128, "images in an update", integer(1))

    settings = parse(Settings, argv, "fit", "Train a network.")
    settings.batch_size  # an int, checked
"""

import argparse
import dataclasses
import difflib
import os
import sys
from typing import (
    Any,
    Callable,
    List,
    Mapping,
    NoReturn,
    Optional,
    Sequence,
    Tuple,
    Type,
    TypeVar,
    Union,
    cast,
)

from imagenet_trainer.config.values import (
    Parser,
    switch,
)
from imagenet_trainer.errors import InputError

S = TypeVar("S")


# --- types of values: text in, value out, ValueError with the reason ---------------------------


# --- options -----------------------------------------------------------------------------------


def option(
    default: Any,
    help: str,
    parse: Optional[Parser] = None,
    *,
    choices: Sequence[Any] = (),
    metavar: Union[str, Tuple[str, ...], None] = None,
    positional: str = "",
    free: bool = False,
    short: str = "",
    words: int = 0,
    bare: str = "",
) -> Any:
    """Describe one flag of a settings class.

    Parameters
    ----------
    default, help
        the value without the flag; what it does, with its unit.
    parse
        text to value, ValueError with the reason; without it the type of `default` does it, and
        a bool becomes a flag without value.
    choices, metavar
        as in argparse.
    positional
        "one" or "many" makes it an argument instead of a flag.
    free
        a resumed run may change it, because it does not touch the numbers of the run.
    short
        another name of the flag, such as -n.
    words
        the flag takes so many values, each of them a str.
    bare
        what the flag without a value stands for.

    """
    metadata = {
        "help": help,
        "parse": parse,
        "choices": choices,
        "metavar": metavar,
        "positional": positional,
        "free": free,
        "short": short,
        "words": words,
        "bare": bare,
    }
    return dataclasses.field(default=default, metadata=metadata)


def default_of(settings: Type[Any], name: str) -> Any:
    """The value of a setting without its flag."""
    return next(field.default for field in dataclasses.fields(settings) if field.name == name)


# --- from words to settings --------------------------------------------------------------------


def flag_of(field_name: str) -> str:
    """The flag of a field: `batch_size` is `--batch-size`."""
    return "--" + field_name.replace("_", "-")


# What other trainers call a flag, where the spelling does not lead to ours.
_ELSEWHERE = {
    "--arch": "--network",
    "-a": "--network",
    "--model": "--network",
    "-b": "--batch-size",
    "--learning-rate": "--lr",
    "--weight-decay": "--wd",
    "--workers": "--data-nthreads",
    "-j": "--data-nthreads",
    "--amp": "--dtype",
    "--output-dir": "--model-prefix",
    "--log-interval": "--disp-batches",
}


class _OneLineParser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        message = message.replace("argument --", "--", 1).replace("argument ", "", 1)
        print(f"{self.prog}: error: {message} (--help lists all)", file=sys.stderr)
        sys.exit(2)


class _RaisingParser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(message.replace("argument --", "--", 1).replace("argument ", "", 1))


def _argument_type(parse: Parser) -> Parser:
    def convert(text: str) -> Any:
        try:
            return parse(text)
        except ValueError as error:
            reason = str(error)
            if not reason.startswith("must"):
                reason = "not a number" if parse is not str else reason
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
        prog=prog,
        description=description,
        allow_abbrev=False,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    for field in dataclasses.fields(settings):
        about = field.metadata
        if about["positional"]:
            many = about["positional"] == "many"
            parser.add_argument(
                field.name,
                nargs="+" if many else None,
                help=about["help"],
                metavar=about["metavar"],
                choices=about["choices"] or None,
            )
            continue
        names = [*filter(None, [about["short"]]), flag_of(field.name)]
        words: dict = {"help": about["help"], "default": field.default, "dest": field.name}
        if field.default in (None, "", ()):
            words["help"] += "%(default).0s"  # keeps "(default: None)" away
        if isinstance(field.default, bool) and about["parse"] is None:
            words["help"] += "%(default).0s"
            parser.add_argument(*names, action="store_true", **words)
            continue
        if about["parse"] is switch:
            words.update(nargs="?", const=True)  # the bare flag switches on
            words["help"] += f" (default: {int(bool(field.default))})%(default).0s"
        if about["bare"]:
            words.update(nargs="?", const=about["parse"](about["bare"]))
        words["type"] = _argument_type(about["parse"] or type(field.default))
        if about["words"]:
            words.update(nargs=about["words"], type=str, metavar=about["metavar"])
        elif about["choices"]:
            words["choices"] = about["choices"]
        else:
            words["metavar"] = about["metavar"] or "N"
        if isinstance(field.default, tuple) and field.default:
            values = (one if isinstance(one, str) else f"{one:g}" for one in field.default)
            words["help"] += f" (default: {','.join(values)})"
            words["help"] += "%(default).0s"
        parser.add_argument(*names, **words)
    return parser


def parse(settings: Type[S], argv: Optional[Sequence[str]], prog: str, description: str) -> S:
    """Read a command line into a settings object.

    A mistake prints one line, with the nearest name for a misspelt flag, and exits with 2.
    """
    return _read(parser_of(settings, prog, description), settings, argv)


def settings_of(
    settings: Type[S],
    values: Mapping[str, Any],
    expanded: Callable[[List[str]], Sequence[str]] = lambda words: words,
) -> S:
    """The same from Python's values by the names of the fields: `batch_size=64`.

    They are checked as on a command line: each becomes the text that would stand there. None
    leaves a flag away, and `expanded` is what the command makes of its words first. Raises
    InputError for what a command line would refuse.
    """
    words, last = _words_of(settings, values)
    parser = parser_of(settings, settings.__name__, "", _RaisingParser)
    words = list(expanded(words))
    return _read(parser, settings, [*words, "--", *map(str, last)] if last else words)


def words_of(settings: Type[Any], values: Mapping[str, Any]) -> List[str]:
    """The flags that say these values, by the names of the fields; None leaves one away."""
    return _words_of(settings, values)[0]


def read(settings: Type[S], words: Sequence[str]) -> S:
    """Read a command line as `parse` does; InputError for a mistake."""
    return _read(parser_of(settings, settings.__name__, "", _RaisingParser), settings, words)


def others(settings: Type[Any], words: Sequence[str]) -> List[str]:
    """The words of a command line that are no flags, or values of flags, of a settings class."""
    parser = parser_of(settings, settings.__name__, "", _RaisingParser)
    return parser.parse_known_args(list(words))[1]


def is_given(name: str, words: Sequence[str]) -> bool:
    """Whether a command line has the flag of a field."""
    return any(word.split("=")[0] == flag_of(name) for word in words)


def _words_of(settings: Type[Any], values: Mapping[str, Any]) -> Tuple[List[str], List[Any]]:
    """Flags, and what stands behind them without one."""
    words: List[str] = []
    last: List[Any] = []
    known = {field.name: field for field in dataclasses.fields(cast(Any, settings))}
    for name, value in values.items():
        field = known.get(name)
        if value is None:
            continue
        if field and field.metadata["positional"]:
            last += [value] if isinstance(value, (str, os.PathLike)) else list(value)
        elif field and isinstance(field.default, bool) and field.metadata["parse"] is None:
            words += [flag_of(name)] * bool(value)
        else:
            words.append(f"{flag_of(name)}={_text(value)}")
    return words, last


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, (tuple, list, range)):
        return ",".join(map(_text, value))
    return str(value)


def _read(parser: argparse.ArgumentParser, settings: Type[S], argv: Optional[Sequence[str]]) -> S:
    arguments, unknown = parser.parse_known_args(argv)
    for word in unknown:
        flags = [name for action in parser._actions for name in action.option_strings]
        if not word.startswith("-"):
            parser.error(f"{word}: belongs to no flag")
        name = word.split("=")[0]
        near = difflib.get_close_matches(name, flags, 1, 0.6)
        if _ELSEWHERE.get(name) in flags:
            near = [_ELSEWHERE[name]]
        hint = f"; did you mean {near[0]}?" if near else ""
        parser.error(f"{word}: no such flag{hint}")
    values = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in vars(arguments).items()
    }
    return settings(**values)
