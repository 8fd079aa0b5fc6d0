"""Flags of a comparison of networks."""

from dataclasses import dataclass
from typing import Tuple

from imagenet_trainer.config.flags import option
from imagenet_trainer.config.scoring import EvaluateSettings
from imagenet_trainer.config.training import FitSettings
from imagenet_trainer.config.values import integer, numbers, strings


def _fractions(text: str) -> Tuple[float, ...]:
    values = tuple(sorted(set(numbers(None, 0, above=True)(text))))
    if any(value > 1 for value in values):
        raise ValueError("must be fractions up to 1, such as 0.1,0.3,1")
    return values


def _prefixes(text: str) -> Tuple[str, ...]:
    return tuple(dict.fromkeys(strings(text)))


@dataclass(frozen=True)
class TimingSettings:
    """How latency and throughput are measured."""

    rounds: int = option(
        100,
        "timed calls of one image for each network and device, in ten turns; fewer than six give "
        "no interval",
        integer(1),
    )
    largest_batch: int = option(
        64, "throughput is measured with batches of 1, 2, 4 and so on up to this size", integer(1)
    )
    measure_again: bool = option(
        False, "repeat all timings, for example after the machine was busy; trains nothing again"
    )


@dataclass(frozen=True)
class SubjectSettings:
    """What is compared, and where the report goes."""

    networks: str = option(
        "",
        "networks to train and compare: names separated by commas, or a text file with one "
        "network per line, followed by flags of fit for it alone",
        metavar="LIST",
    )
    runs: Tuple[str, ...] = option(
        (),
        "finished runs to compare instead: their --model-prefix, separated by spaces or commas",
        _prefixes,
        metavar="PREFIX",
        nargs="+",
    )
    first_difference: bool = option(
        False,
        "with two --runs: print the first update or checkpoint in which their numbers differ, and "
        "which settings differ; exit code 1 if there is one",
    )
    fractions: Tuple[float, ...] = option(
        (),
        "train each network on these fractions of the training images, such as 0.1,0.3,1, and "
        "plot its accuracy over their number",
        _fractions,
        metavar="F",
    )
    output: str = option("comparison", "folder of the runs and the report", metavar="FOLDER")
    title: str = option(
        "", "title of the report; by default the names of the networks", metavar="TEXT"
    )


@dataclass(frozen=True)
class ComparisonSettings(TimingSettings, SubjectSettings):
    """The flags of `compare` that are not flags of the trainings."""


@dataclass(frozen=True)
class CompareSettings(FitSettings, ComparisonSettings):
    """Everything that `compare` takes: its own flags, and those passed on to each training."""


@dataclass(frozen=True)
class MeasureSettings(EvaluateSettings, TimingSettings):
    """What `compare` passes to the process that measures a network."""


@dataclass(frozen=True)
class LatencySettings(MeasureSettings):
    """What `compare` passes to the process that measures the latencies of all networks."""

    runs: Tuple[str, ...] = option(
        (), "the --model-prefix of each network", _prefixes, metavar="PREFIX", nargs="+"
    )
