"""Flags of fit from a file: `--config run.yaml`, or the config.json of a run."""

import difflib
from dataclasses import fields
from typing import Any, Dict, List, Sequence

from imagenet_trainer.config.flags import arguments_of, flag_of
from imagenet_trainer.config.training import FitSettings
from imagenet_trainer.errors import InputError

_FLAG = "--config"
_LARGEST = 1 << 20  # bytes; a file of settings has some thousand


def with_config(argv: Sequence[str]) -> List[str]:
    """A command line of fit with the flags of its --config before its own, which override them.

    Raises InputError for a file that cannot be read or has something else than flags.
    """
    paths = [following for word, following in zip(argv, argv[1:]) if word == _FLAG]
    paths += [word.partition("=")[2] for word in argv if word.startswith(_FLAG + "=")]
    if not paths:
        return list(argv)
    if len(paths) > 1:
        raise InputError(f"{_FLAG}: is given {len(paths)} times; give one file")
    return [*arguments_of(FitSettings, _values(paths[0])), *argv]


def _values(path: str) -> Dict[str, Any]:
    """The values in a file by the name of their field."""
    content = _read(path)
    if isinstance(content, dict) and isinstance(content.get("settings"), dict):
        content = content["settings"]  # a run's config.json has more than its settings
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise InputError(f"{_FLAG} {path}: must have a line `flag: value` for each flag")
    known = {field.name for field in fields(FitSettings)} - {"config"}
    values = {}
    for key, value in content.items():
        name = key.lstrip("-").replace("-", "_")
        if name == "config":
            continue  # of the run whose config.json it is
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {flag_of(near[0])[2:]}?" if near else ""
            raise InputError(f"{_FLAG} {path}: {key}: no such flag of fit{hint}")
        if isinstance(value, dict):
            raise InputError(f"{_FLAG} {path}: {key}: must be one value, or a list")
        if value not in (None, "", [], ()):  # as fit records flags that were not given
            values[name] = value
    return values


def _read(path: str) -> Any:
    import yaml  # 20 ms

    try:
        with open(path, encoding="utf-8-sig") as file:
            text = file.read(_LARGEST + 1)
    except UnicodeDecodeError as error:
        raise InputError(f"{_FLAG} {path}: is not text in UTF-8") from error
    except OSError as error:
        raise InputError(f"{_FLAG} {path}: {error.strerror}") from error
    if len(text) > _LARGEST:
        raise InputError(f"{_FLAG} {path}: is larger than 1 MiB, so it is no file of flags")
    try:
        return yaml.safe_load(text)  # JSON is YAML
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where else ""
        raise InputError(f"{_FLAG} {path}{line}: is neither YAML nor JSON") from error
