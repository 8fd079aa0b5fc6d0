"""What training and evaluation read: datasets, the order of images, augmentation, the loader.

Nothing here depends on the command line, an engine or a run. `RecordDataset`, `Loader` and
`EvaluationLoader` are for training loops of others; docs/api.md has examples.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imagenet_trainer.data.standalone import EvaluationLoader, Loader, RecordDataset

__all__ = ["EvaluationLoader", "Loader", "RecordDataset"]


def __getattr__(name: str) -> Any:
    # Imported when used: most modules of this room do not need them.
    if name in __all__:
        return getattr(importlib.import_module("imagenet_trainer.data.standalone"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
