"""Attributes of operators: their types, and the text that they have in MXNet's JSON."""

import math
import re
from typing import Any, Mapping, NamedTuple, Tuple

REQUIRED: Any = object()  # the default of an attribute that must be given

_INTEGER = re.compile(r"\s*([+-]?[0-9]+)L?\s*")
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_LARGEST = 2**63 - 1
# Codes of `__dtype__`, the element type of a variable.
DTYPES: Mapping[str, int] = {
    "float32": 0, "float64": 1, "float16": 2, "uint8": 3, "int32": 4, "int8": 5, "int64": 6,
    "bool": 7, "bfloat16": 12,
}  # fmt: skip


class Attribute(NamedTuple):
    """The type of an attribute and its default.

    `kind` is one of
    int, float, bool: a number or a truth value;
    shape, floats: a tuple of integers or of floats; a shape may be written as one integer;
    slice: a shape whose elements may be None;
    choice: one of the words in `choices`;
    text: any text.
    """

    kind: str
    default: Any = REQUIRED
    choices: Tuple[str, ...] = ()
    least: float = -math.inf  # of a number
    most: float = math.inf

    def parse(self, text: str) -> Any:
        """The value of an attribute's text; ValueError if it is not of this kind."""
        if text == "None":
            if self.default is None or self.kind in ("shape", "slice"):
                return self.default if self.default is not REQUIRED else ()
            if "None" not in self.choices:
                raise ValueError("it cannot be None")
            return None
        value = _PARSERS[self.kind](text, self.choices)  # type: ignore[operator]
        if isinstance(value, (int, float)) and not self.least <= value <= self.most:
            raise ValueError("it is out of bounds")
        return value

    @property
    def expected(self) -> str:
        """What a value must be, for messages."""
        if self.least > -math.inf:
            most = "" if self.most == math.inf else f" and at most {self.most:g}"
            return f"a number of at least {self.least:g}{most}"
        return {
            "int": "an integer", "float": "a number", "bool": "True or False",
            "shape": "integers such as (3, 3)", "slice": "integers such as (0, None)",
            "floats": "numbers such as (0.5, 0.5)", "choice": " or ".join(self.choices),
        }.get(self.kind, "text")  # fmt: skip


def text_of(value: Any) -> str:
    """The text of an attribute's value, as Python's `str` writes it for built-in types."""
    if isinstance(value, tuple):
        return f"({', '.join(map(text_of, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, list):
        return f"[{', '.join(map(text_of, value))}]"
    return str(value)


def dtype_text(value: Any) -> str:
    """The name of an element type, which may be a name, a NumPy type or a NumPy dtype."""
    return value if isinstance(value, str) else str(getattr(value, "__name__", value))


def _integer(text: str, _: Any = ()) -> int:
    match = _INTEGER.fullmatch(text)
    if not match or len(match[1]) > 20 or abs(int(match[1])) > _LARGEST:
        raise ValueError("it is not an integer")
    return int(match[1])


def _float(text: str, _: Any = ()) -> float:
    return float(text)


def _boolean(text: str, _: Any = ()) -> bool:
    if text.lower() not in _BOOLEANS:
        raise ValueError("it is not True or False")
    return _BOOLEANS[text.lower()]


def _parts(text: str) -> Tuple[str, ...]:
    """The elements of `(1, 2)`, `[1, 2]` or `1`."""
    text = text.strip()
    if text[:1] in ("(", "[") and text[-1:] == {"(": ")", "[": "]"}[text[0]]:
        text = text[1:-1].strip()
        text = text[:-1] if text.endswith(",") else text
    return tuple(part.strip() for part in text.split(",")) if text else ()


def _shape(text: str, _: Any = ()) -> Tuple[int, ...]:
    return tuple(map(_integer, _parts(text)))


def _slice(text: str, _: Any = ()) -> Tuple[Any, ...]:
    return tuple(None if part == "None" else _integer(part) for part in _parts(text))


def _floats(text: str, _: Any = ()) -> Tuple[float, ...]:
    return tuple(map(float, _parts(text)))


def _choice(text: str, choices: Tuple[str, ...]) -> str:
    if text not in choices:
        raise ValueError("it is none of the choices")
    return text


def _text(text: str, _: Any = ()) -> str:
    return text


_PARSERS = {
    "int": _integer, "float": _float, "bool": _boolean, "shape": _shape, "slice": _slice,
    "floats": _floats, "choice": _choice, "text": _text,
}  # fmt: skip
