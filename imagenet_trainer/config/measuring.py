"""Flags of benchmarks."""

from dataclasses import dataclass
from typing import Optional, Tuple

from imagenet_trainer.config.flags import option
from imagenet_trainer.config.training import FitSettings
from imagenet_trainer.config.values import integer, number, strings, subset

_JSON = "also write the numbers to this file, by name"


@dataclass(frozen=True)
class BenchmarkSettings:
    """Everything that `benchmark` takes."""

    kind: str = option(
        "",
        "what to measure; or bottleneck, which is followed by flags of fit and has its own --help",
        choices=(
            "loader",
            "checks",
            "train",
            "checkpoint",
            "pack",
            "picture",
            "reading",
            "numbers",
            "many-classes",
            "evaluate",
            "parity",
        ),
        positional="one",
    )
    images: Optional[int] = option(
        None,
        "number of images; by default 1000; 2000 for pack and loader --against, 500 for checks, "
        "160 for train and evaluate, 8000 for reading (8192 with --latency), 50000 for numbers, "
        "500000 for many-classes",
        integer(64, 1_000_000),
    )
    rounds: int = option(5, "measured rounds; the median is printed", integer(1))
    threads: int = option(2, "threads of loader, pack and reading", integer(1, 256))
    network: Tuple[str, ...] = option(
        (), "parity: only these networks; by default all", strings, metavar="NAME,NAME"
    )
    beside: int = option(
        0,
        "train: measure training on the CPU alone and beside N busy processes, by threads",
        integer(0, 256),
    )
    lock: bool = option(
        False, "loader: also print for how long an image holds the interpreter lock"
    )
    against: Tuple[str, ...] = option(
        (),
        "loader: measure it against loaders of these libraries only, also resume and order",
        subset("torchvision", "webdataset", "ffcv", "dali", "spdl"),
        metavar="LIST",
    )
    latency: float = option(
        0.0,
        "reading: from a server on this machine that answers after this time instead; 0: from a "
        "disk",
        number(0, 10_000),
        metavar="MS",
    )
    json: str = option("", _JSON, metavar="FILE")
    keep: str = option("", "picture: save the example PNG and GIF here", metavar="FOLDER")


@dataclass(frozen=True)
class BottleneckSettings(FitSettings):
    """What `benchmark bottleneck` takes: the flags of the training to examine."""

    seconds: float = option(10.0, "duration of each measurement", number(0.1, 3600))
    # Of the benchmark, which prints no events.
    json: str = option("", _JSON, metavar="FILE")  # type: ignore[assignment]
