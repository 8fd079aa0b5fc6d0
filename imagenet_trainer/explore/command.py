# PYTHON_ARGCOMPLETE_OK
"""The command that explores a set of images: `python tools/explore.py`.

Slow modules are imported after the flags are parsed, so that --help returns at once.
"""

import imagenet_trainer.system.interruptible  # noqa: F401

# isort: split
import sys
from typing import Optional, Sequence

from imagenet_trainer.config.flags import parse
from imagenet_trainer.errors import run_command
from imagenet_trainer.explore.flags import ExploreSettings
from imagenet_trainer.system.machine import silence_opencv

_NAME = "explore"
_DESCRIPTION = (
    "Explore a set of images: sizes, classes, colours and unreadable files, as a page, a table "
    "and plots."
)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command line; the exit code."""
    settings = parse(ExploreSettings, argv, _NAME, _DESCRIPTION)
    return run_command(_NAME, lambda: _explore(settings))


def _explore(settings: ExploreSettings) -> int:
    silence_opencv()
    from imagenet_trainer.explore.summary import explore

    return explore(settings)


if __name__ == "__main__":
    sys.exit(main())
