"""Measure on this machine: python -m imagenet_trainer.benchmark KIND; --help lists the kinds.

Those that other tools can do too compare with what users have today, in one run, and print
ratios. `bottleneck`, with the
flags of a training behind it, says where its time goes and what to change.
"""

import sys
from typing import Optional, Sequence

from imagenet_trainer import config
from imagenet_trainer.config import flags
from imagenet_trainer.errors import InputError, run_command


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
        from imagenet_trainer.benchmarks import storage_reading as reading

        reading.run(settings.images or 8000, settings.rounds, settings.threads)
    elif settings.kind == "numbers":
        from imagenet_trainer.benchmarks import evaluation

        evaluation.numbers(settings.images or 50_000, settings.rounds)
    elif settings.kind == "evaluate":
        from imagenet_trainer.benchmarks import evaluation

        evaluation.forward(settings.images or 160, settings.rounds)
    elif settings.kind == "checkpoint":
        from imagenet_trainer.benchmarks import checkpoint

        checkpoint.run(settings.rounds)
    elif settings.kind == "bottleneck":
        raise InputError("bottleneck: stands before all flags, which are those of fit")
    elif settings.kind == "gpu":
        from imagenet_trainer.engines.choice import check_torch

        check_torch()
        from imagenet_trainer.benchmarks import torch_engine as gpu

        gpu.run(settings.tiny, settings.network, settings.batches)
    elif settings.kind == "parity":
        from imagenet_trainer.engines.choice import check_torch

        check_torch()
        from imagenet_trainer.benchmarks import parity

        parity.run(settings.network)
    else:
        from imagenet_trainer.benchmarks import drawing as image

        image.run(settings.keep or None)


def _bottleneck(words: Sequence[str]) -> int:
    """It takes the flags of fit, which the others would only confuse."""
    settings = flags.parse(
        config.BottleneckSettings, words, "benchmark bottleneck",
        "Say where the time of a training with these flags goes, and what to change.",
    )  # fmt: skip

    def body() -> None:
        from imagenet_trainer.benchmarks import bottleneck

        bottleneck.run(settings)

    return run_command("benchmark bottleneck", body)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """The command line."""
    words = sys.argv[1:] if argv is None else list(argv)
    if words[:1] == ["bottleneck"]:
        return _bottleneck(words[1:])
    settings = flags.parse(
        config.BenchmarkSettings, words, "benchmark", "Measure speed against other tools."
    )
    return run_command("benchmark", lambda: measure(settings))


if __name__ == "__main__":
    sys.exit(main())
