"""Files of flags: `--config run.yaml`, or the config.json of a run."""

from typing import Any, Dict, Sequence

from imagenet_trainer.config.flags import field_of
from imagenet_trainer.errors import InputError

_FLAG = "--config"
_LARGEST = 1 << 20  # bytes; a file of settings has some thousand


def read(path: str) -> Dict[str, Any]:
    """The values in a file by their keys.

    Raises InputError for a file that cannot be read, has something else than single values and
    lists, or has a flag twice.
    """
    content = _parsed_file(path)
    if isinstance(content, dict) and isinstance(content.get("settings"), dict):
        content = content["settings"]  # a run's config.json has more than its settings
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise InputError(f"{_FLAG} {path}: must have a line `flag: value` for each flag")
    for key, value in content.items():
        if isinstance(value, dict):
            raise InputError(f"{_FLAG} {path}: {key}: must be one value, or a list")
    return content


def parsed(text: str) -> Any:
    """The value that a text has in such a file; the text itself if it has none."""
    import yaml  # 20 ms

    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError):
        return text
    return text if isinstance(value, dict) else value


def _parsed_file(path: str) -> Any:
    import yaml

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
        loader = yaml.SafeLoader(text)  # JSON is YAML
        root = loader.get_single_node()
        if isinstance(root, yaml.MappingNode):
            _check_keys([key for key, _ in root.value], path)
        return loader.construct_document(root) if root else None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where else ""
        raise InputError(f"{_FLAG} {path}{line}: is neither YAML nor JSON") from error


def _check_keys(keys: Sequence[Any], path: str) -> None:
    """Raise InputError for a flag with two lines, of which YAML would silently take the last."""
    seen = set()
    for key in keys:
        name = field_of(str(key.value))
        if name in seen:
            where = f"{_FLAG} {path}, line {key.start_mark.line + 1}"
            raise InputError(f"{where}: {key.value}: is there twice; keep one")
        seen.add(name)
