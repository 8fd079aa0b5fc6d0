# PYTHON_ARGCOMPLETE_OK
"""Classify image files: python -m imagenet_trainer.predict cat.jpg photos/ 'more/*.png'"""

import imagenet_trainer.system.interruptible  # noqa: F401

# isort: split
import sys
from typing import Any, List, Mapping, Optional, Sequence, Tuple

from imagenet_trainer import config
from imagenet_trainer.config import flags
from imagenet_trainer.config.python_api import callable_module
from imagenet_trainer.errors import run_command


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command line; return the exit code."""
    about = "Print the most probable classes of images."
    settings = flags.parse(config.PredictSettings, argv, "predict", about)

    def body() -> None:
        from imagenet_trainer.eval.files import run_predict

        run_predict(settings)

    return run_command("predict", body)


def call(values: Mapping[str, Any]) -> List[List[Tuple[str, str, float]]]:
    """From Python: `predict(pictures=["cat.jpg"])` returns (id, name, probability) of each."""
    from imagenet_trainer.eval.files import predict

    return predict(flags.settings_of(config.PredictSettings, values))


callable_module(__name__)
if __name__ == "__main__":
    sys.exit(main())
