"""Train a network: python -m imagenet_trainer.fit --network resnet --num-layers 18 --gpus 0,1

Run again, the same command continues where it was, to the last bit on one CPU.
"""

import sys
from typing import TYPE_CHECKING, Any, Dict, Mapping, Optional, Sequence

import imagenet_trainer.system.interruptible  # noqa: F401
from imagenet_trainer import config
from imagenet_trainer.config import flags, recipes
from imagenet_trainer.config.python_api import callable_module
from imagenet_trainer.errors import run_command
from imagenet_trainer.train.loop import (
    train,
)

if TYPE_CHECKING:
    pass


def main(argv: Optional[Sequence[str]] = None) -> int:
    """The command line."""
    about = "Train a network on packed images; run again to continue."

    def body() -> int:
        words = recipes.expanded(sys.argv[1:] if argv is None else argv)
        return train(flags.parse(config.FitSettings, words, "fit", about), words)

    return run_command("fit", body)


def call(values: Mapping[str, Any]) -> Dict[str, Any]:
    """From Python: `fit(network="resnet", lr=0.1)` returns the run's prefix and its history.

    Raises KeyboardInterrupt when a signal ended it; what was trained is saved.
    """
    from imagenet_trainer.train.setup import run_for

    settings = flags.settings_of(config.FitSettings, values, recipes.expanded)
    if train(settings):
        raise KeyboardInterrupt
    run = run_for(settings)
    rows = [
        {**{name: number_of(text) for name, text in row.items()}, "epoch": int(row["epoch"])}
        for row in run.read_history()
    ]
    return {"prefix": run.prefix, "history": rows}


def number_of(text: str) -> Optional[float]:
    """What a cell of history.csv says."""
    return float(text) if text else None


callable_module(__name__)
if __name__ == "__main__":
    sys.exit(main())
