# PYTHON_ARGCOMPLETE_OK
"""Report what is installed, the devices, and the engine: python -m imagenet_trainer.doctor"""

import imagenet_trainer.system.interruptible  # noqa: F401

# isort: split
import sys
from dataclasses import dataclass
from typing import Optional, Sequence, Tuple

from imagenet_trainer.config import flags
from imagenet_trainer.config.values import image_shape, strings
from imagenet_trainer.errors import run_command


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
    image_shape: Optional[Tuple[int, ...]] = flags.option(
        None,
        "with --measure: size of the images; by default that of the network's publication",
        image_shape,
        metavar="3,H,W",
    )


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command line; return the exit code."""
    about = "Print what is installed, which devices there are, and what to install."
    settings = flags.parse(DoctorSettings, argv, "doctor", about)

    def body() -> int:
        from imagenet_trainer.benchmarks.environment import print_environment

        code = print_environment()
        if code == 0 and settings.measure:
            from imagenet_trainer.benchmarks.engine_speed import measure

            measure(settings.measure, settings.image_shape)
        return code

    return run_command("doctor", body)


if __name__ == "__main__":
    sys.exit(main())
