"""Flags of measurements."""

from dataclasses import dataclass
from typing import Optional

from imagenet_trainer.flags import (
    integer,
    option,
)


@dataclass(frozen=True)
class BenchmarkSettings:
    """Everything that `benchmark` takes."""

    kind: str = option(
        "",
        "what to measure",
        choices=("loader", "train", "pack", "picture", "reading", "numbers", "evaluate"),
        positional="one",
    )
    images: Optional[int] = option(
        None,
        "pictures; by default 1000, 2000 for pack, 160 for train and evaluate, 8000 for reading, "
        "50000 for numbers",
        integer(64, 100_000),
    )
    rounds: int = option(5, "counted rounds; medians are printed", integer(1))
    threads: int = option(2, "threads of loader and pack", integer(1, 256))
    keep: str = option(
        "", "picture: leave the example PNG and GIF in this folder", metavar="FOLDER"
    )
