"""Commands as functions: `from imagenet_trainer import fit`, then `fit(network="resnet", lr=0.1)`.

Parameters have the names of the flags. The module of a command is callable itself, so
`python -m imagenet_trainer.fit`, `fit.main([...])` and `fit(...)` share one name.
"""

import sys
from types import ModuleType
from typing import Any


class _Command(ModuleType):
    """A callable module: its function `call` gets the flags by name and returns the results."""

    def __call__(self, **flags: Any) -> Any:
        return self.call(flags)


def callable_module(name: str) -> None:
    """Make the module of this name callable; it must define `call(flags)`."""
    sys.modules[name].__class__ = _Command
