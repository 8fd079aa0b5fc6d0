"""Settings from Python's values, which are checked as those of a command line."""

import dataclasses
import os
import shlex
from typing import Any, Callable, List, Mapping, Sequence, Tuple, Type, TypeVar, cast

from imagenet_trainer.config.flags import flag_of, formatted, parse_or_raise
from imagenet_trainer.config.values import checkpoint, command, switch
from imagenet_trainer.errors import InputError

S = TypeVar("S")


def settings_of(
    settings: Type[S],
    values: Mapping[str, Any],
    expand: Callable[[List[str]], Sequence[str]] = lambda argv: argv,
) -> S:
    """Settings from values by field name: `batch_size=64`.

    Each value is converted to the text of its flag and checked as on a command line; None omits
    the flag. `expand` is what the command does to its arguments first. Raises InputError for what
    a command line would refuse.
    """
    argv, positional = _arguments_of(settings, values)
    argv = list(expand(argv))
    if positional:
        argv += ["--", *map(str, positional)]
    return parse_or_raise(settings, argv)


def arguments_of(settings: Type[Any], values: Mapping[str, Any]) -> List[str]:
    """The flags that set these values, by field name; None omits a flag."""
    return _arguments_of(settings, values)[0]


def _arguments_of(settings: Type[Any], values: Mapping[str, Any]) -> Tuple[List[str], List[Any]]:
    """Flags and positional arguments."""
    argv: List[str] = []
    positional: List[Any] = []
    fields = {field.name: field for field in dataclasses.fields(cast(Any, settings))}
    for name, value in values.items():
        field = fields.get(name)
        if value is None:
            continue
        if field and field.metadata["positional"]:
            positional += [value] if isinstance(value, (str, os.PathLike)) else list(value)
        elif field and isinstance(field.default, bool) and field.metadata["parse"] is None:
            argv += [flag_of(name)] * _is_on(name, value)
        elif field and field.metadata["nargs"]:
            argv += _words_of(flag_of(name), value)
        elif field and field.metadata["parse"] in _TEXTS and not isinstance(value, str):
            argv.append(f"{flag_of(name)}={_TEXTS[field.metadata['parse']](value)}")
        else:
            argv.append(f"{flag_of(name)}={_text(value)}")
    return argv, positional


def _words_of(flag: str, value: Any) -> List[str]:
    """A flag with each of its values as a word; nothing for no values."""
    is_one = not isinstance(value, (tuple, list, range))
    words = [_text(one) for one in ([value] if is_one else value)]
    if len(words) == 1:
        return [f"{flag}={words[0]}"]  # which may begin with a dash
    return [flag, *words] if words else []


def _is_on(name: str, value: Any) -> bool:
    """The value of a flag that has none on a command line."""
    try:
        return switch(_text(value))
    except ValueError as error:
        raise InputError(f"{flag_of(name)}: {value!r}: {error}") from None


# The texts of values that are no lists with commas.
_TEXTS: Mapping[Any, Callable[[Any], str]] = {
    command: shlex.join,
    checkpoint: formatted,
}


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, (tuple, list, range)):
        return ",".join(map(_text, value))
    return str(value)
