# PYTHON_ARGCOMPLETE_OK
"""Use a published checkpoint: python -m imagenet_trainer.published --name resnet-50

Makes a run of a checkpoint of MXNet or of GluonCV's model zoo: symbol, parameters and
preprocessing. `evaluate`, `predict` and `fit --load-epoch 0` accept it like any other run. Only
addresses given with --file are fetched.
"""

import imagenet_trainer.system.interruptible  # noqa: F401

# isort: split
import sys
from typing import Any, Optional, Sequence

from imagenet_trainer import config
from imagenet_trainer.config import flags
from imagenet_trainer.config.python_api import command_function
from imagenet_trainer.config.python_values import settings_of
from imagenet_trainer.config.results import PublishedResult
from imagenet_trainer.errors import InputError, run_command


def main(argv: Optional[Sequence[str]] = None) -> int:
    """The command line."""
    settings = flags.parse(
        config.PublishedSettings, argv, "published", "Make a run of a published checkpoint."
    )

    def body() -> None:
        from imagenet_trainer.convert.published import import_or_list

        import_or_list(settings)

    return run_command("published", body)


@command_function(config.PublishedSettings)
def call(**values: Any) -> PublishedResult:
    """Make a run of the checkpoint `name`, or of the one in `file`.

    Raises InputError without both, and for what the command line refuses.
    """
    from imagenet_trainer.convert.published import import_checkpoint

    settings = settings_of(config.PublishedSettings, values)
    if not settings.name and not settings.file:
        raise InputError("published: needs the name of a network, or a file of parameters")
    return PublishedResult(import_checkpoint(settings))


if __name__ == "__main__":
    sys.exit(main())
