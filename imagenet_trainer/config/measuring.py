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
        choices=("loader", "train", "pack", "picture", "reading", "gpu"),
        positional="one",
    )
    images: Optional[int] = option(
        None,
        "pictures; by default 1000, 2000 for pack, 160 for train, 8000 for reading",
        integer(64, 100_000),
    )
    rounds: int = option(5, "counted rounds; medians are printed", integer(1))
    threads: int = option(2, "threads of loader and pack", integer(1, 256))
    tiny: bool = option(False, "gpu: rehearse on the CPU; the numbers mean nothing")
    keep: str = option(
        "", "picture: leave the example PNG and GIF in this folder", metavar="FOLDER"
    )
