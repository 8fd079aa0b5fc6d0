#!/usr/bin/env python3
"""Make train, val and test lists from ILSVRC2012 or any images; see --help and docs/imagenet.md."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from imagenet_trainer.packing.ilsvrc.command import main

if __name__ == "__main__":
    sys.exit(main())
