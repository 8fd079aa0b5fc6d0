# PYTHON_ARGCOMPLETE_OK
"""Evaluate trained networks: python -m imagenet_trainer.evaluate --epochs all --gif

Standard metrics of a classifier with 95 % confidence intervals, the top-5 confusion matrix as
counts, as an image per epoch and as a GIF, and comparisons of two networks.
"""

import imagenet_trainer.system.interruptible  # noqa: F401

# isort: split
import sys
from typing import Any, Dict, Mapping, Optional, Sequence

from imagenet_trainer import config
from imagenet_trainer.config import flags
from imagenet_trainer.config.python_api import callable_module
from imagenet_trainer.errors import run_command


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command line; return the exit code."""
    about = "Evaluate trained networks on validation images."
    settings = flags.parse(config.EvaluateSettings, argv, "evaluate", about)

    def body() -> None:
        if settings.audit:
            from imagenet_trainer.eval.audit import audit

            audit(settings)
            return
        from imagenet_trainer.eval import epochs

        (epochs.compare if settings.compare else epochs.evaluate)(settings)

    return run_command("evaluate", body)


def call(values: Mapping[str, Any]) -> Dict[int, Dict[str, Any]]:
    """From Python: `evaluate(epochs="all")` returns the metrics of each epoch by its number."""
    from imagenet_trainer.eval.epochs import evaluate

    return evaluate(flags.settings_of(config.EvaluateSettings, values))


callable_module(__name__)
if __name__ == "__main__":
    sys.exit(main())
