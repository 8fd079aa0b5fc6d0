#!/usr/bin/env python3
"""Pack images into RecordIO shards; see --help and docs/im2rec.md."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from imagenet_trainer.packing.im2rec import main

if __name__ == "__main__":
    sys.exit(main())
