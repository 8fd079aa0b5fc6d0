# PYTHON_ARGCOMPLETE_OK
"""The command that makes lists: `python tools/imagenet.py`, from ILSVRC2012 or any images.

Slow modules are imported after the flags are parsed, so that --help returns at once.
"""

import imagenet_trainer.system.interruptible  # noqa: F401

# isort: split
from typing import Optional, Sequence

from imagenet_trainer.config.flags import parse
from imagenet_trainer.errors import run_command
from imagenet_trainer.packing.ilsvrc.flags import ImagenetSettings
from imagenet_trainer.system.machine import silence_opencv

_NAME = "imagenet"
_DESCRIPTION = (
    "Make train.lst, val.lst and test.lst from ILSVRC2012 as image-net.org or Kaggle distributes "
    "it, or from any folders of images. Tars are read without unpacking them. Exit codes: 0 done, "
    "1 done with warnings, 2 failed, 130 interrupted."
)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command line; the exit code is 0, 1 (with warnings), 2 or 130."""
    settings = parse(ImagenetSettings, argv, _NAME, _DESCRIPTION)
    return run_command(_NAME, lambda: _make(settings))


def _make(settings: ImagenetSettings) -> int:
    silence_opencv()
    from imagenet_trainer.packing.ilsvrc.make import make

    return make(settings)
