#!/usr/bin/env python3
"""Explore a set of images before training on it; see --help and docs/explore.md."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from imagenet_trainer.explore.command import main

if __name__ == "__main__":
    sys.exit(main())
