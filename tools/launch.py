#!/usr/bin/env python3
"""Start a training's workers on one machine or several; see `--help` and docs/launch.md."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from imagenet_trainer.launch.main import main

if __name__ == "__main__":
    sys.exit(main())
