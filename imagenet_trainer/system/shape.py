"""The shape of values from JSON files, checked where a file is read.

A shape is a type or a tuple of types; a list of one shape, for any number of values; a list of
several, for as many values; or a dictionary of shapes by key, where `key?` may be missing or null,
`*` stands for all other keys, and further keys are ignored. A number is `NUMBER`; True is none.
"""

from typing import Any

NUMBER = (int, float)


def check(value: Any, shape: Any, where: str = "") -> None:
    """Raise ValueError with the place in the file unless the value has the shape."""
    if isinstance(shape, dict):
        _check_type(value, dict, where)
        named = {key.rstrip("?") for key in shape}
        for key, one in shape.items():
            name = key.rstrip("?")
            if key == "*":
                for other in value.keys() - named:
                    check(value[other], one, _below(where, other))
            elif name != key and value.get(name) is None:
                continue
            elif name not in value:
                raise ValueError(f"{_below(where, name)} is missing")
            else:
                check(value[name], one, _below(where, name))
    elif isinstance(shape, list):
        _check_type(value, list, where)
        if len(shape) != 1 and len(value) != len(shape):
            raise ValueError(f"{where} has {len(value)} values instead of {len(shape)}")
        for number, one in enumerate(value):
            check(one, shape[number if len(shape) > 1 else 0], f"{where}[{number}]")
    else:
        _check_type(value, shape, where)


def _check_type(value: Any, wanted: Any, where: str) -> None:
    allowed = wanted if isinstance(wanted, tuple) else (wanted,)
    if isinstance(value, bool) and bool not in allowed:
        raise ValueError(f"{where or 'it'} is {str(value).lower()}")
    if not isinstance(value, allowed):
        names = {dict: "an object", list: "a list", str: "text", bool: "true or false"}
        expected = "a number" if float in allowed or int in allowed else names[allowed[0]]
        raise ValueError(f"{where or 'it'} is not {expected}")


def _below(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key
