"""From a settings class to a command line and back, with one line for every mistake.

A command line is a frozen dataclass whose fields are made by `option`; the flag's name is the
field's name with dashes:

    @dataclass(frozen=True)
    class Settings:
        batch_size: int = option(128, "pictures in an update", integer(1))

    settings = parse(Settings, argv, "fit", "Train a network.")
    settings.batch_size  # an int, checked
"""

import argparse
import dataclasses
import difflib
import math
import os
import re
import shlex
import sys
from typing import (
    Any,
    Callable,
    List,
    Mapping,
    NoReturn,
    Optional,
    Sequence,
    Set,
    Tuple,
    Type,
    TypeVar,
    Union,
    cast,
)

from imagenet_trainer.errors import InputError

S = TypeVar("S")
Parser = Callable[[str], Any]


# --- types of values: text in, value out, ValueError with the reason ---------------------------


def number(low: float = -math.inf, high: float = math.inf, above: bool = False) -> Parser:
    """A finite float in [low, high], or in (low, high] with `above`."""

    def parse_number(text: str) -> float:
        value = float(text)
        if not math.isfinite(value):
            raise ValueError("must be a finite number")
        if not (low < value if above else low <= value) or not value <= high:
            raise ValueError(f"must be {_range(low, high, above)}")
        return value

    return parse_number


def integer(low: int, high: float = math.inf) -> Parser:
    """A whole number in [low, high]."""

    def parse_integer(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise ValueError("must be a whole number") from None
        if not low <= value <= high:
            raise ValueError(f"must be {_range(low, high, False)}")
        return value

    return parse_integer


def numbers(count: Optional[int] = None, low: float = -math.inf, above: bool = False) -> Parser:
    """Floats with commas between them, `count` of them if given; nothing gives none."""

    def parse_numbers(text: str) -> Tuple[float, ...]:
        parts = text.split(",") if text.strip() else []
        values = tuple(number(low, math.inf, above)(part) for part in parts)
        if count is not None and len(values) != count:
            raise ValueError(f"must be {count} numbers with commas between them")
        return values

    return parse_numbers


def integers(low: int, count: Optional[int] = None) -> Parser:
    """Whole numbers with commas between them; nothing gives an empty tuple."""

    def parse_integers(text: str) -> Tuple[int, ...]:
        parts = text.split(",") if text.strip() else []
        if not all(re.fullmatch(r"\s*[+-]?\d+\s*", part) for part in parts):
            raise ValueError("must be whole numbers with commas between them")
        values = tuple(integer(low)(part) for part in parts)
        if count is not None and len(values) != count:
            raise ValueError(f"must be {count} whole numbers with commas between them")
        return values

    return parse_integers


def words(*known: str) -> Parser:
    """Some of the known words with commas between them, each once, in the order given."""

    def parse_words(text: str) -> Tuple[str, ...]:
        chosen = tuple(dict.fromkeys(text.split(",")))
        if not set(chosen) <= set(known):
            raise ValueError(f"must be some of {', '.join(known)} with commas between them")
        return chosen

    return parse_words


def switch(text: str) -> bool:
    """0 or 1, as MXNet's scripts write their switches."""
    if text not in ("0", "1"):
        raise ValueError("must be 0 or 1")
    return text == "1"


def image_shape(text: str) -> Tuple[int, ...]:
    """`3,height,width` in MXNet's order."""
    shape = integers(1, 3)(text)
    if shape[0] != 3:
        raise ValueError("must be 3,height,width: pictures are read as RGB")
    return shape


_EPOCHS = 999_999  # more than any run has
BEST = -1  # the epoch that `best` stands for, until a run has been asked


def epoch_number(text: str) -> int:
    """`7`, or `best` as BEST."""
    return BEST if text == "best" else integer(0)(text)


def epochs(text: str) -> Tuple[int, ...]:
    """Epoch numbers such as `7`, `1-30` or `1,5,10-12`; `all` gives (), `best` (BEST,)."""
    if text in ("all", "best"):
        return () if text == "all" else (BEST,)
    chosen: Set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        low = integer(0, _EPOCHS)(first)
        high = integer(0, _EPOCHS)(last) if dash else low
        if high < low:
            raise ValueError(f"must have the first epoch first: {high}-{low}")
        chosen.update(range(low, high + 1))
    return tuple(sorted(chosen))


def checkpoint(text: str) -> Tuple[str, int]:
    """`PREFIX,EPOCH`, the epoch a number or `best`."""
    prefix, _, epoch = text.rpartition(",")
    if not prefix or not (epoch == "best" or epoch.isdigit()):
        raise ValueError("must be PREFIX,EPOCH, such as runs/resnet-18/model,80 or resnet-18,0")
    return prefix, epoch_number(epoch)


def pattern(text: str) -> str:
    """A regular expression."""
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"must be a regular expression: {error}") from None
    return text


def endings(text: str) -> str:
    """Endings of file names such as `.jpg .PNG`, as `.jpg,.png`."""
    words = text.lower().replace(",", " ").split()
    if not words or not all(re.fullmatch(r"\.\w+", word) for word in words):
        raise ValueError("must be endings such as .jpg .png")
    return ",".join(words)


def command(text: str) -> Tuple[str, ...]:
    """A program and its arguments, split as a shell would; nothing gives none."""
    try:
        return tuple(shlex.split(text))
    except ValueError:
        raise ValueError("must be a command whose quotes are closed") from None


def _range(low: float, high: float, above: bool) -> str:
    if high == math.inf:
        return f"above {low:g}" if above else f"{low:g} or more"
    return f"above {low:g}, at most {high:g}" if above else f"from {low:g} to {high:g}"


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
