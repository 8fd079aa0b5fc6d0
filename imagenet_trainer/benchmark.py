"""Measure on this machine: python -m imagenet_trainer.benchmark KIND; --help lists the kinds.

Each compares with what users have today, in one run, and prints ratios.
"""

import sys
from typing import Optional, Sequence

from imagenet_trainer import config, flags
from imagenet_trainer.errors import run_command


def measure(settings: config.BenchmarkSettings) -> None:
    """Run the benchmark asked for."""
    if settings.kind == "loader":
        from imagenet_trainer.benchmarks import loader

        loader.run(settings.images or 1000, settings.rounds, settings.threads)
    elif settings.kind == "train":
        from imagenet_trainer.benchmarks import train

        train.run(settings.images or 160, settings.rounds)
    elif settings.kind == "pack":
        from imagenet_trainer.benchmarks import pack

        pack.run(settings.images or 2000, settings.rounds, settings.threads)
    elif settings.kind == "reading":
        from imagenet_trainer.benchmarks import reading

        reading.run(settings.images or 8000, settings.rounds, settings.threads)
    elif settings.kind == "gpu":
        from imagenet_trainer.engines.choice import check_torch

        check_torch()
        from imagenet_trainer.benchmarks import gpu

        gpu.run(settings.tiny)
    else:
        from imagenet_trainer.benchmarks import picture

        picture.run(settings.keep or None)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """The command line."""
    settings = flags.parse(
        config.BenchmarkSettings, argv, "benchmark", "Measure speed against other tools."
    )
    return run_command("benchmark", lambda: measure(settings))


if __name__ == "__main__":
    sys.exit(main())
