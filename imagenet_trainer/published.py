# PYTHON_ARGCOMPLETE_OK
"""Use a published checkpoint: python -m imagenet_trainer.published --name resnet-50

Makes a run of a checkpoint of MXNet or of GluonCV's model zoo: symbol, parameters and
preprocessing. `evaluate`, `predict` and `fit --load-epoch 0` accept it like any other run. Files
are read from one folder and never downloaded.
"""

import imagenet_trainer.system.interruptible  # noqa: F401

# isort: split
import sys
from typing import Optional, Sequence

from imagenet_trainer import config
from imagenet_trainer.config import flags
from imagenet_trainer.errors import run_command


def main(argv: Optional[Sequence[str]] = None) -> int:
    """The command line."""
    settings = flags.parse(
        config.PublishedSettings, argv, "published", "Make a run of a published checkpoint."
    )

    def body() -> None:
        from imagenet_trainer.convert.published import import_or_list

        import_or_list(settings)

    return run_command("published", body)


if __name__ == "__main__":
    sys.exit(main())
