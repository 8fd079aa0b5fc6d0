# PYTHON_ARGCOMPLETE_OK
"""Classify image files: python -m imagenet_trainer.predict cat.jpg photos/ 'more/*.png'"""

import imagenet_trainer.system.interruptible  # noqa: F401

# isort: split
import sys
from typing import Any, Optional, Sequence

from imagenet_trainer import config
from imagenet_trainer.config import flags
from imagenet_trainer.config.python_api import command_function
from imagenet_trainer.config.python_values import settings_of
from imagenet_trainer.config.results import PredictResult
from imagenet_trainer.errors import run_command


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command line; return the exit code."""
    about = "Print the most probable classes of images."
    settings = flags.parse(config.PredictSettings, argv, "predict", about)

    def body() -> None:
        from imagenet_trainer.eval.files import run_predict

        run_predict(settings)

    return run_command("predict", body)


@command_function(config.PredictSettings)
def call(**values: Any) -> PredictResult:
    """Classify image files; write the files of `csv` and `submission`, if they are given.

    Raises InputError for the first file that is not an image, for `latency`, which only the
    command line measures, and for what the command line refuses.
    """
    from imagenet_trainer.eval.files import predict

    return predict(settings_of(config.PredictSettings, values))


if __name__ == "__main__":
    sys.exit(main())
