# PYTHON_ARGCOMPLETE_OK
"""Export a trained network: python -m imagenet_trainer.export --to onnx,mxnet,int8

Writes an ONNX file that is checked with onnxruntime on real images, a MXNet pair without label
input, the network in 8-bit integers with its accuracy before and after, and a card.
"""

import imagenet_trainer.system.interruptible  # noqa: F401

# isort: split
import sys
from typing import Any, Optional, Sequence

from imagenet_trainer import config
from imagenet_trainer.config import flags
from imagenet_trainer.config.python_api import command_function
from imagenet_trainer.config.python_values import settings_of
from imagenet_trainer.config.results import ExportResult
from imagenet_trainer.errors import run_command


def main(argv: Optional[Sequence[str]] = None) -> int:
    """The command line."""
    settings = flags.parse(
        config.ExportSettings, argv, "export", "Write a trained network for other programs."
    )

    def body() -> None:
        from imagenet_trainer.convert.export import export_network

        export_network(settings)

    return run_command("export", body)


@command_function(config.ExportSettings)
def call(**values: Any) -> ExportResult:
    """Write a trained network for other programs.

    Raises InputError for what the command line refuses.
    """
    from imagenet_trainer.convert.export import export_network

    return ExportResult(export_network(settings_of(config.ExportSettings, values)))


if __name__ == "__main__":
    sys.exit(main())
