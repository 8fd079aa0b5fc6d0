#!/usr/bin/env python3
"""Look at a set of images before training on it; `--help` says how, docs/explore.md in full."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from imagenet_trainer.explore.command import main

if __name__ == "__main__":
    sys.exit(main())
