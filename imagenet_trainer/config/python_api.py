"""Commands as functions: `from imagenet_trainer import fit`, then `fit(network="resnet", lr=0.1)`.

The names are those of the flags. The module of a command is itself the function, so that
`python -m imagenet_trainer.fit`, `fit.main([...])` and `fit(...)` are one thing under one name.
"""

import sys
from types import ModuleType
from typing import Any


class _Command(ModuleType):
    """A module that is called: its `call` gets the flags by name and returns plain results."""

    def __call__(self, **flags: Any) -> Any:
        return self.call(flags)


def callable_module(name: str) -> None:
    """Let the module of this name be called; it defines `call(flags)`."""
    sys.modules[name].__class__ = _Command
