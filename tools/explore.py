#!/usr/bin/env python3
# PYTHON_ARGCOMPLETE_OK
"""Explore a set of images before training on it; see --help and docs/explore.md."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))

from imagenet_trainer.explore.command import main

if __name__ == "__main__":
    sys.exit(main())
