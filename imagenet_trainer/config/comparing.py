"""Flags of a comparison of networks."""

from dataclasses import dataclass
from typing import Tuple

from imagenet_trainer.config.flags import option
from imagenet_trainer.config.scoring import EvaluateSettings
from imagenet_trainer.config.training import FitSettings
from imagenet_trainer.config.values import integer, numbers


def _fractions(text: str) -> Tuple[float, ...]:
    values = tuple(sorted(set(numbers(None, 0, above=True)(text))))
    if any(value > 1 for value in values):
        raise ValueError("must be shares up to 1, such as 0.1,0.3,1")
    return values


def _prefixes(text: str) -> Tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, (word.strip() for word in text.split(",")))))


@dataclass(frozen=True)
class TimingSettings:
    """How long networks are timed."""

    rounds: int = option(100, "calls that are timed of each network and device", integer(1))
    largest_batch: int = option(
        64, "images a second are measured at batches of 1, 2, 4 and so on up to this", integer(1)
    )
    measure_again: bool = option(
        False, "time all networks anew, such as when the machine was busy; trains nothing anew"
    )


@dataclass(frozen=True)
class SubjectSettings:
    """What is compared, and where the report goes."""

    networks: str = option(
        "",
        "which to train and compare: names with commas between them, or a text file with a line "
        "for each, a name and flags of fit for it alone",
        metavar="LIST",
    )
    runs: Tuple[str, ...] = option(
        (),
        "instead of it, finished runs: their --model-prefix, with commas between them",
        _prefixes,
        metavar="PREFIX",
    )
    fractions: Tuple[float, ...] = option(
        (),
        "train each network on these shares of the training images, such as 0.1,0.3,1, and "
        "draw its accuracy over their number",
        _fractions,
        metavar="F",
    )
    output: str = option("comparison", "folder of the runs and the report", metavar="FOLDER")
    title: str = option("", "of the report; by default what is compared", metavar="TEXT")


@dataclass(frozen=True)
class ContestSettings(TimingSettings, SubjectSettings):
    """What `compare` takes beside the flags of the trainings."""


@dataclass(frozen=True)
class CompareSettings(FitSettings, ContestSettings):
    """Everything that `compare` takes: its own flags, and those that all trainings get."""


@dataclass(frozen=True)
class MeasureSettings(EvaluateSettings, TimingSettings):
    """What `compare` tells the process that measures a network."""
