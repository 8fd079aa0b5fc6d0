"""The command that draws augmented images.

    python -m imagenet_trainer.explore.augmentation FOLDER --show

Slow modules are imported after the flags are parsed, so that --help returns at once.
"""

import imagenet_trainer.system.interruptible  # noqa: F401

# isort: split
import sys
from typing import Optional, Sequence

from imagenet_trainer.config.flags import parse
from imagenet_trainer.errors import run_command
from imagenet_trainer.explore.flags import SheetSettings

_NAME = "augment"
_DESCRIPTION = (
    "Draw a contact sheet of augmented images: a row per image, as evaluation sees it and as "
    "training sees it in each epoch."
)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command line; the exit code."""
    settings = parse(SheetSettings, argv, _NAME, _DESCRIPTION)
    return run_command(_NAME, lambda: _draw(settings))


def _draw(settings: SheetSettings) -> int:
    from imagenet_trainer.explore.sheet import write_sheet

    return write_sheet(settings)


if __name__ == "__main__":
    sys.exit(main())
