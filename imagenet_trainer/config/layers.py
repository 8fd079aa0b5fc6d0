"""Where the values of fit's flags come from. Each of these overrides those before it:

    defaults, --recipe, --config, environment, --set, flags of the command line

`expanded` is the command line with the others before its own flags.
"""

import difflib
import json
import os
from dataclasses import asdict, fields
from typing import Any, Callable, Dict, Iterable, Iterator, List, Mapping, NamedTuple, Sequence

from imagenet_trainer.config import config_file, recipes
from imagenet_trainer.config.flags import field_of, flag_of, given, parse_or_raise, texts_of
from imagenet_trainer.config.old_flags import translated
from imagenet_trainer.config.python_values import arguments_of
from imagenet_trainer.config.training import FitSettings
from imagenet_trainer.errors import InputError, attributed_to

VARIABLE = "IMAGENET_TRAINER_"
"""Prefix of the variables: IMAGENET_TRAINER_BATCH_SIZE is --batch-size."""
NO_FLAGS = ("HOW", "EXIT_CODE", "PREFIX", "RANK")
"""Variables with this prefix that --when-done and the launcher set for other programs."""
_SET, _CONFIG = "--set", "--config"


class Value(NamedTuple):
    """A value that is no flag of the command line; None takes back what others gave."""

    field: str
    value: Any
    source: str  # `--config run.yaml`, `--set`, or the variable
    where: str  # for messages: the source, and the name in it


class Layer(NamedTuple):
    """Flags, and where they are from."""

    source: str
    words: List[str]


def expanded(argv: Sequence[str], environment: Mapping[str, str] = os.environ) -> List[str]:
    """A command line of fit with all flags that are given elsewhere before its own.

    Expanding it again changes nothing, so that processes that get the result read it as this one.
    Old forms are translated. Raises InputError for a value that a flag would refuse, with the file
    and the name, the variable or the --set that has it, and for an unknown name with the closest.
    """
    return [word for layer in layers(argv, environment) for word in layer.words]


def layers(argv: Sequence[str], environment: Mapping[str, str] = os.environ) -> List[Layer]:
    """The flags by their source, the weakest first; raises as `expanded` does."""
    own = translated(argv)
    variables = list(_of_environment(environment))
    path = _path_of_config(own, variables)
    found: Dict[str, Value] = {}
    for one in (*_of_file(path), *variables, *_of_assignments(_assignments(own))):
        found.pop(one.field, None)
        if one.value is not None:
            found[one.field] = one
    others, mine = list(_checked(found.values())), Layer("command line", own)
    chosen = recipes.chosen([word for layer in (*others, mine) for word in layer.words])
    recipe = [Layer(f"--recipe {chosen.name}", chosen.arguments)] if chosen else []
    return [*recipe, *others, mine]


def _checked(values: Iterable[Value]) -> Iterator[Layer]:
    """The flags of values. The message of a wrong one has no flag, which nobody wrote."""
    for one in values:
        try:
            words = translated(arguments_of(FitSettings, {one.field: one.value}))
            parse_or_raise(FitSettings, words)
        except InputError as error:
            reason = str(error).replace(f"{flag_of(one.field)}: ", "", 1)
            raise InputError(f"{one.where}: {reason}") from None
        yield Layer(one.source, words)


def listing(argv: Sequence[str], environment: Mapping[str, str] = os.environ) -> str:
    """Every flag with its value and its source: a file for --config."""
    sources = {field.name: "default" for field in fields(FitSettings)}
    found = layers(argv, environment)
    for layer in found:
        sources.update(dict.fromkeys(given(FitSettings, layer.words), layer.source))
    words = [word for layer in found for word in layer.words]
    values = asdict(parse_or_raise(FitSettings, words))
    unnamed = ("set", "config", "show_config")  # of which a file takes none
    lines = [f"{name}: {json.dumps(values[name])}  # {source}"
             for name, source in sources.items() if name not in unnamed]  # fmt: skip
    return "\n".join(lines)


# --- sources -----------------------------------------------------------------------------------


def _of_file(path: str) -> Iterator[Value]:
    if not path:
        return
    source = f"{_CONFIG} {path}"
    for key, value in config_file.read(path).items():
        name = field_of(key)
        if name in ("config", "set"):  # of the run whose config.json it is
            continue
        with attributed_to(source):
            field = _field(name, key, lambda field: flag_of(field)[2:])
        yield Value(field, value, source, f"{source}: {key}")


def _of_environment(environment: Mapping[str, str]) -> Iterator[Value]:
    """Values of variables, as on a command line; an empty variable counts as none."""
    for variable in sorted(environment):
        name = variable[len(VARIABLE) :]
        if variable.startswith(VARIABLE) and name not in NO_FLAGS and environment[variable]:
            field = _field(name.lower(), variable, lambda field: VARIABLE + field.upper())
            yield Value(field, environment[variable], variable, variable)


def _of_assignments(assignments: Sequence[str]) -> Iterator[Value]:
    for text in assignments:
        key, equals, value = text.partition("=")
        with attributed_to(f"{_SET} {text}"):
            if not equals:
                raise InputError("must be NAME=VALUE")
            field = _field(field_of(key), key, lambda field: field)
            yield Value(field, config_file.parsed(value), _SET, f"{_SET} {text}")


def _field(name: str, written: str, as_written: Callable[[str], str]) -> str:
    """The name of a field; InputError for an unknown one, with the closest."""
    known = [field.name for field in fields(FitSettings) if field.name != "set"]
    if name in known:
        return name
    near = difflib.get_close_matches(name, known, 1)
    hint = f"; did you mean {as_written(near[0])}?" if near else ""
    raise InputError(f"{written}: no such flag of fit{hint}")


def _assignments(argv: Sequence[str]) -> List[str]:
    """What follows every --set."""
    found: List[str] = []
    words = list(argv)
    while words:
        word = words.pop(0)
        if word.startswith(f"{_SET}="):
            found.append(word[len(_SET) + 1 :])
        while word == _SET and words and not words[0].startswith("-"):
            found.append(words.pop(0))
    return found


def _path_of_config(argv: Sequence[str], variables: Sequence[Value]) -> str:
    """The file of --config, or that of its variable."""
    paths = texts_of("config", argv)
    if len(paths) > 1:
        raise InputError(f"{_CONFIG}: is given {len(paths)} times; give one file")
    paths += [str(one.value) for one in variables if one.field == "config"]
    return paths[0] if paths else ""
