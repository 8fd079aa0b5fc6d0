#!/usr/bin/env python3
# PYTHON_ARGCOMPLETE_OK
"""Pack images into RecordIO shards; see --help and docs/im2rec.md."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))

from imagenet_trainer.packing.im2rec import main

if __name__ == "__main__":
    sys.exit(main())
