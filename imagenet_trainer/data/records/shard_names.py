"""Names of the shards of a pack: train.rec, or train-00000-of-00008.rec and so on."""

import re
from typing import Pattern

_NUMBER = r"-(\d+)-of-(\d+)"


def numbered(stem: str, number: int, total: int) -> str:
    """The stem of a shard: `train-00000-of-00008`."""
    return f"{stem}-{number:05d}-of-{total:05d}"


def without_number(stem: str) -> str:
    """`train` of `train-00000-of-00008`, and of `train`."""
    return re.sub(_NUMBER + "$", "", stem)


def shards_named(stem: str, extension: str = ".rec") -> "Pattern[str]":
    """Matches the names of a pack's shards; groups 1 and 2 are number and total, if it has them."""
    return re.compile(f"{re.escape(stem)}(?:{_NUMBER})?{re.escape(extension)}")
