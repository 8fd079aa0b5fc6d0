# PYTHON_ARGCOMPLETE_OK
"""Train a network: python -m imagenet_trainer.fit --network resnet --num-layers 18 --gpus 0,1

Run the same command again to continue an interrupted run, bit for bit on one CPU.
"""

import imagenet_trainer.system.interruptible  # noqa: F401

# isort: split
import sys
from typing import Any, Optional, Sequence

from imagenet_trainer.config import FitSettings, flags, layers, recipes
from imagenet_trainer.config.python_api import command_function
from imagenet_trainer.config.python_values import arguments_of, settings_of
from imagenet_trainer.config.results import FitResult
from imagenet_trainer.errors import run_command
from imagenet_trainer.train.previews.choose import CONFIG, NETWORKS, RECIPES, requested_preview


def main(argv: Optional[Sequence[str]] = None) -> int:
    """The command line."""

    def body() -> int:
        own = sys.argv[1:] if argv is None else argv
        words = layers.expanded(own)
        about = "Train a network on packed images; run again to continue."
        return _run(flags.parse(FitSettings, words, "fit", about), own, words)

    return run_command("fit", body)


@command_function(FitSettings)
def call(**values: Any) -> FitResult:
    """Train a network on packed images; called again, continue the run.

    Raises InputError for what the command line refuses, and KeyboardInterrupt after a signal,
    when the run is saved.
    """
    settings = settings_of(FitSettings, values, layers.expanded)
    if _run(settings, arguments_of(FitSettings, values)):
        raise KeyboardInterrupt
    if requested_preview(settings) == NETWORKS:
        return FitResult("")  # no run has this network
    from imagenet_trainer.train.early_stopping import best_of
    from imagenet_trainer.train.setup import run_for

    run = run_for(settings)
    if settings.seeds > 1:
        return FitResult(run.prefix, seeds=run.read_json(run.folder / "seeds.json"))
    history = run.read_history()
    rows = [
        {**{name: float(text) if text else None for name, text in row.items()},
         "epoch": int(row["epoch"])}
        for row in history
    ]  # fmt: skip
    return FitResult(run.prefix, rows, best_of(history)[0])


def _run(settings: FitSettings, own: Sequence[str], argv: Optional[Sequence[str]] = None) -> int:
    """Train, or run the preview that a flag selects; return the exit code.

    `own` is the command line, `argv` the same with the flags that are given elsewhere.
    """
    preview = requested_preview(settings)
    if preview == CONFIG:
        print(layers.listing(own))
        return 0
    if preview == RECIPES:
        print(recipes.listing())
        return 0
    if preview == NETWORKS:
        from imagenet_trainer.symbols import listing

        print(listing())
        return 0
    if settings.seeds > 1 and not preview:
        from imagenet_trainer.train.seeds import train_seeds

        return train_seeds(settings, argv)
    if preview:
        from imagenet_trainer.train.previews.run import run_preview

        return run_preview(preview, settings, argv)
    from imagenet_trainer.train.loop import train

    return train(settings, argv)


if __name__ == "__main__":
    sys.exit(main())
