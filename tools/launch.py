#!/usr/bin/env python3
# PYTHON_ARGCOMPLETE_OK
"""Start a training's workers on one machine or several; see `--help` and docs/launch.md."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))

from imagenet_trainer.launch.main import main

if __name__ == "__main__":
    sys.exit(main())
