# PYTHON_ARGCOMPLETE_OK
"""Report what is installed, the devices, and the engine: python -m imagenet_trainer.doctor"""

import imagenet_trainer.system.interruptible  # noqa: F401

# isort: split
import sys
from dataclasses import dataclass, replace
from typing import Any, Optional, Sequence, Tuple

from imagenet_trainer.config import flags
from imagenet_trainer.config.measured import DoctorResult
from imagenet_trainer.config.python_api import command_function
from imagenet_trainer.config.python_values import settings_of
from imagenet_trainer.config.values import image_shape, integer, integers, strings
from imagenet_trainer.errors import InputError, run_command


@dataclass(frozen=True)
class DoctorSettings:
    """Everything that `doctor` takes."""

    measure: Tuple[str, ...] = flags.option(
        (),
        "also train these networks (without a value: resnet-18) for a few seconds with each engine "
        "on this CPU, recommend one, and keep the figures for fit --engine auto",
        strings,
        const="resnet-18",
        metavar="NAME,NAME",
    )
    plan: str = flags.option(
        "", "instead print the hours, disk, memory and money of a training of this network on "
        "ImageNet, from published rates and those of --measure", metavar="NAME",
    )  # fmt: skip
    gpus: Tuple[int, ...] = flags.option(
        (1, 4, 8), "with --plan: numbers of GPUs", integers(1, least=1), metavar="N,N"
    )
    num_epochs: int = flags.option(90, "with --plan: epochs", integer(1))
    prices: str = flags.option(
        "", "with --plan: prices of machines, a CSV file like assets/prices.csv", metavar="FILE"
    )
    image_shape: Optional[Tuple[int, ...]] = flags.option(
        None,
        "with --measure or --plan: size of the images; by default that of the network's "
        "publication",
        image_shape,
        metavar="3,H,W",
    )


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command line; return the exit code."""
    about = "Print what is installed, which devices there are, and what to install."
    settings = flags.parse(DoctorSettings, argv, "doctor", about)
    return run_command("doctor", lambda: 1 if _report(settings).to_do else 0)


@command_function(DoctorSettings)
def call(**values: Any) -> DoctorResult:
    """Report what is installed, which devices there are, and what to install; also print it.

    Raises InputError for what the command line refuses.
    """
    return _report(settings_of(DoctorSettings, values))


def _check_flags(settings: DoctorSettings) -> None:
    """Raise InputError for a flag that would have no effect."""
    if settings.plan and settings.measure:
        raise InputError("--measure: does not go with --plan; run it first, and --plan alone after")
    if settings.plan:
        return
    wanted = dict.fromkeys(("gpus", "num_epochs", "prices"), "--plan")
    if not settings.measure:
        wanted["image_shape"] = "--measure or --plan"
    for name, others in wanted.items():
        if flags.is_set(settings, name):
            raise InputError(f"{flags.flag_of(name)}: is for {others}; add it, or omit this flag")


def _report(settings: DoctorSettings) -> DoctorResult:
    _check_flags(settings)
    if settings.plan:
        from imagenet_trainer.benchmarks.plan import print_plan

        return DoctorResult(plans=print_plan(
            settings.plan, settings.image_shape, settings.gpus, settings.num_epochs, settings.prices
        ))  # fmt: skip
    from imagenet_trainer.benchmarks.packages import missing, print_packages

    packages, to_do = print_packages(), missing()
    print("".join(f"to do: {one}\n" for one in to_do), end="", flush=True)
    try:
        from imagenet_trainer.benchmarks.environment import print_environment
    except ImportError as error:  # of a package that is missing, or damaged
        if not to_do:
            to_do = [f"a package cannot be imported: {error}; install it again"]
            print(f"to do: {to_do[0]}")
        return DoctorResult(packages=packages, to_do=to_do)
    found = print_environment()
    found = replace(found, packages=packages, to_do=[*to_do, *found.to_do])
    if settings.measure and not found.to_do:
        from imagenet_trainer.benchmarks.engine_speed import measure

        found = replace(found, speeds=measure(settings.measure, settings.image_shape))
    return found


if __name__ == "__main__":
    sys.exit(main())
