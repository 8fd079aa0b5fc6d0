# PYTHON_ARGCOMPLETE_OK
"""Evaluate trained networks: python -m imagenet_trainer.evaluate --epochs all --gif

Standard metrics of a classifier with 95 % confidence intervals, the top-5 confusion matrix as
counts, as an image per epoch and as a GIF, and comparisons of two networks.
"""

import imagenet_trainer.system.interruptible  # noqa: F401

# isort: split
import sys
from typing import Any, Optional, Sequence

from imagenet_trainer import config
from imagenet_trainer.config import flags
from imagenet_trainer.config.evaluated import EvaluateResult
from imagenet_trainer.config.python_api import command_function
from imagenet_trainer.config.python_values import settings_of
from imagenet_trainer.errors import run_command


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command line; return the exit code."""
    about = "Evaluate trained networks on validation images."
    settings = flags.parse(config.EvaluateSettings, argv, "evaluate", about)

    def body() -> None:
        from imagenet_trainer.eval.modes import run_mode

        run_mode(settings)

    return run_command("evaluate", body)


@command_function(config.EvaluateSettings)
def call(**values: Any) -> EvaluateResult:
    """Evaluate trained networks on validation images, and print the results.

    Raises InputError for what the command line refuses.
    """
    from imagenet_trainer.eval.modes import run_mode

    return run_mode(settings_of(config.EvaluateSettings, values))


if __name__ == "__main__":
    sys.exit(main())
