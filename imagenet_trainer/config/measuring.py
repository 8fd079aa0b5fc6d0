"""Flags of measurements."""

from dataclasses import dataclass
from typing import Optional, Tuple

from imagenet_trainer.config.flags import option
from imagenet_trainer.config.training import FitSettings
from imagenet_trainer.config.values import integer, integers, number


def _names(text: str) -> Tuple[str, ...]:
    """Words between commas."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


@dataclass(frozen=True)
class BenchmarkSettings:
    """Everything that `benchmark` takes."""

    kind: str = option(
        "",
        "what to measure; bottleneck takes the flags of fit behind it, and has a --help of its own",
        choices=(
            "loader",
            "train",
            "checkpoint",
            "bottleneck",
            "pack",
            "picture",
            "reading",
            "numbers",
            "evaluate",
            "gpu",
            "parity",
        ),
        positional="one",
    )
    images: Optional[int] = option(
        None,
        "images; by default 1000, 2000 for pack, 160 for train and evaluate, 8000 for reading, "
        "50000 for numbers",
        integer(64, 100_000),
    )
    rounds: int = option(5, "counted rounds; medians are printed", integer(1))
    threads: int = option(2, "threads of loader and pack", integer(1, 256))
    tiny: bool = option(False, "gpu: rehearse on the CPU; the numbers mean nothing")
    network: Tuple[str, ...] = option(
        (), "parity and gpu: only these networks, by default all", _names, metavar="NAME,NAME"
    )
    batches: Tuple[int, ...] = option(
        (), "gpu: only these batches, by default 256,512,1024", integers(1), metavar="N,N"
    )
    keep: str = option(
        "", "picture: leave the example PNG and GIF in this folder", metavar="FOLDER"
    )


@dataclass(frozen=True)
class BottleneckSettings(FitSettings):
    """What `benchmark bottleneck` takes: the flags of the training in question."""

    seconds: float = option(10.0, "how long each thing is measured", number(0.1, 3600))
