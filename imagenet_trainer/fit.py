# PYTHON_ARGCOMPLETE_OK
"""Train a network: python -m imagenet_trainer.fit --network resnet --num-layers 18 --gpus 0,1

Run the same command again to continue an interrupted run, bit for bit on one CPU.
"""

import imagenet_trainer.system.interruptible  # noqa: F401

# isort: split
import sys
from typing import Any, Dict, Mapping, Optional, Sequence

from imagenet_trainer.config import FitSettings, flags, recipes
from imagenet_trainer.config.python_api import callable_module
from imagenet_trainer.errors import run_command
from imagenet_trainer.train.previews.choose import NETWORKS, RECIPES, requested_preview


def main(argv: Optional[Sequence[str]] = None) -> int:
    """The command line."""

    def body() -> int:
        words = recipes.expanded(sys.argv[1:] if argv is None else argv)
        about = "Train a network on packed images; run again to continue."
        return _run(flags.parse(FitSettings, words, "fit", about), words)

    return run_command("fit", body)


def call(values: Mapping[str, Any]) -> Dict[str, Any]:
    """From Python: `fit(network="resnet", lr=0.1)` returns the run's prefix and its history.

    With `seeds` it returns the content of seeds.json instead of a history.

    Raises KeyboardInterrupt after a signal; the run is saved.
    """
    settings = flags.settings_of(FitSettings, values, recipes.expanded)
    if _run(settings):
        raise KeyboardInterrupt
    if requested_preview(settings) == NETWORKS:
        return {}  # no run has this network
    from imagenet_trainer.train.setup import run_for

    run = run_for(settings)
    if settings.seeds > 1:
        return {"prefix": run.prefix, **run.read_json(run.folder / "seeds.json")}
    rows = [
        {**{name: float(text) if text else None for name, text in row.items()},
         "epoch": int(row["epoch"])}
        for row in run.read_history()
    ]  # fmt: skip
    return {"prefix": run.prefix, "history": rows}


def _run(settings: FitSettings, argv: Optional[Sequence[str]] = None) -> int:
    """Train, or run the preview that a flag selects; return the exit code."""
    preview = requested_preview(settings)
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
    from imagenet_trainer.train.loop import train

    return train(settings, argv)


callable_module(__name__)
if __name__ == "__main__":
    sys.exit(main())
