"""What a benchmark measured: numbers by name, for programs that read `--json`."""

import os
import re
import statistics
from typing import Dict, Sequence

from imagenet_trainer.errors import InputError

Figures = Dict[str, float]


def named(title: str) -> str:
    """The name of a printed row: lower case, with underscores between the words."""
    return re.sub(r"[^a-z0-9.]+", "_", title.lower()).strip("_")


def median_ratio(ones: Sequence[float], others: Sequence[float]) -> float:
    """The median over rounds of the ratio within a round, which varies less with other load."""
    return statistics.median(one / other for one, other in zip(ones, others))


def check_json(path: str) -> None:
    """Raise InputError unless the file can be written; "": there is none."""
    folder = os.path.dirname(path) or "."
    if path and (os.path.isdir(path) or not os.access(folder, os.W_OK)):
        raise InputError(f"--json {path}: cannot be written; give a file in an existing folder")
