#!/usr/bin/env python3
# PYTHON_ARGCOMPLETE_OK
"""Make train, val and test lists from ILSVRC2012 or any images; see --help and docs/imagenet.md."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))

from imagenet_trainer.packing.ilsvrc.command import main

if __name__ == "__main__":
    sys.exit(main())
