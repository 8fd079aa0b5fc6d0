"""Automatic names of operators, and attributes of all nodes made in a scope, as in MXNet."""

import threading
from typing import Any, Dict, List, Mapping, Optional


class _Scopes(threading.local):
    """The active scopes of one kind in this thread, innermost last."""

    def __init__(self) -> None:
        self.stack: List[Any] = []


class NameManager:
    """Names operators `convolution0`, `convolution1`, ...: a counter for each operator.

    As a context manager it starts the counters at zero.
    """

    def __init__(self) -> None:
        self._counts: Dict[str, int] = {}

    def get(self, name: Optional[str], hint: str) -> str:
        """`name`, or if it is empty the next name that begins with `hint`."""
        if name:
            return name
        count = self._counts.get(hint, 0)
        self._counts[hint] = count + 1
        return f"{hint}{count}"

    def __enter__(self) -> "NameManager":
        """Use this manager in the block."""
        _managers.stack.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        """Return to the manager outside the block."""
        _managers.stack.pop()


class Prefix(NameManager):
    """Puts a prefix before all names, automatic or not."""

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self._prefix = prefix

    def get(self, name: Optional[str], hint: str) -> str:
        """The prefixed name."""
        return self._prefix + super().get(name, hint)


class AttrScope:
    """Gives attributes, which are strings, to all nodes made in the block.

    Names get MXNet's marks of hidden attributes: `ctx_group` becomes `__ctx_group__`. An inner
    scope has the attributes of the outer one, unless it sets them itself.
    """

    def __init__(self, **attributes: str) -> None:
        for name, value in attributes.items():
            if not isinstance(value, str):
                raise ValueError(f"AttrScope({name}={value!r}): attributes are strings")
        self._own = {hidden(name): value for name, value in attributes.items()}
        self._all = dict(self._own)

    def __enter__(self) -> "AttrScope":
        """Use the attributes in the block."""
        self._all = {**scope_attributes(), **self._own}
        _scopes.stack.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        """Return to the scope outside the block."""
        _scopes.stack.pop()


def hidden(name: str) -> str:
    """The name of an attribute that is about the node and not an argument of its operator."""
    return name if name.startswith("__") and name.endswith("__") else f"__{name}__"


def name_of(name: Optional[str], hint: str) -> str:
    """The name of a new node, from the innermost NameManager."""
    return (_managers.stack[-1] if _managers.stack else _default).get(name, hint)


def scope_attributes(attributes: Optional[Mapping[str, str]] = None) -> Dict[str, str]:
    """Attributes of a new node: those of the scope, then its own."""
    around = _scopes.stack[-1]._all if _scopes.stack else {}
    for name, value in (attributes or {}).items():
        if not isinstance(value, str):
            raise ValueError(f"attr: {name}={value!r}: attributes are strings")
    return {**around, **(attributes or {})}


_managers, _scopes, _default = _Scopes(), _Scopes(), NameManager()
