"""Carved out of imagenet_trainer/flags.py."""

import math
import re
import shlex
from typing import (
    Any,
    Callable,
    Optional,
    Set,
    Tuple,
)

Parser = Callable[[str], Any]


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
        raise ValueError("must be 3,height,width: images are read as RGB")
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
