"""Plug-ins: networks, augmentations, observers and engines of other installed packages.

A package offers them by entry points, see docs/plugins.md. They are looked up only when a name is
unknown here, or when they are listed; a plug-in is imported only when it is used.
"""

import os
import re
import sys
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Container, Dict, List, NamedTuple, Optional, Tuple

from imagenet_trainer.errors import ArgumentError
from imagenet_trainer.text import printable

if TYPE_CHECKING:
    from importlib import metadata

_PREFIX = "imagenet_trainer."
_SECTION = f"[{_PREFIX}"  # in entry_points.txt
# The groups of entry points, without the prefix, and the arguments that name plug-ins.
ARGUMENTS = {
    "networks": "network",
    "augmentations": "auto_augment",
    "observers": "observers",
    "engines": "engine",
}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # such names are names of folders, too


class Plugin(NamedTuple):
    """An entry point, and the package that has it."""

    kind: str  # a key of ARGUMENTS
    name: str
    package: str
    version: str
    entry_point: "metadata.EntryPoint"

    @property
    def description(self) -> str:
        """The entry point and its package, as `describe` says it."""
        return describe(self.name, self.entry_point.value, self.package, self.version)

    def load(self) -> Any:
        """Import it. Raises ArgumentError if that fails, or if it is not callable."""
        try:
            found = self.entry_point.load()
        except (Exception, SystemExit) as error:  # whatever a module of others does at its import
            raise self.error(
                f"cannot be imported: {one_line(error)}; install or remove the package"
            ) from error
        if not callable(found):
            raise self.error("is not callable; name a function or class")
        _LOADED[self.package] = self.version
        return found

    def error(self, reason: str) -> "PluginError":
        """An error that names the flag, the entry point and the package."""
        return PluginError(self, reason)


class PluginError(ArgumentError):
    """A plug-in that cannot be used; `reason` is the message without the flag and the plug-in."""

    def __init__(self, plugin: Plugin, reason: str) -> None:
        super().__init__(ARGUMENTS[plugin.kind], plugin.name, f"{plugin.description} {reason}")
        self.reason = reason


def describe(name: str, value: str, package: str, version: str) -> str:
    """`the entry point NAME = MODULE:OBJECT of PACKAGE VERSION`."""
    return f"the entry point {name} = {value} of {package} {version}"


_LOADED: Dict[str, str] = {}


def loaded() -> Dict[str, str]:
    """The versions of the packages whose plug-ins this process has imported."""
    return dict(sorted(_LOADED.items()))


def installed(kind: str) -> List[Plugin]:
    """All plug-ins of a kind, by name and package."""
    return [one for one in _all(tuple(sys.path)) if one.kind == kind]


def names(kind: str) -> List[str]:
    """The names of the plug-ins of a kind, sorted."""
    return list(dict.fromkeys(one.name for one in installed(kind)))


def find(kind: str, name: str) -> Optional[Plugin]:
    """The plug-in of a name; None without one. Raises ArgumentError if two packages have it."""
    found = [one for one in installed(kind) if one.name == name]
    if len(found) > 1:
        raise found[0].error(_same_name(found[1]))
    return found[0] if found else None


def _same_name(other: Plugin) -> str:
    return f"has the same name as {other.description}; remove one package"


def load(kind: str, name: str) -> Tuple[Plugin, Any]:
    """A plug-in and its object; raises ArgumentError if there is none, and as `Plugin.load`."""
    found = find(kind, name)
    if found is None:
        known = ", ".join(names(kind)) or "none"
        raise ArgumentError(
            ARGUMENTS[kind], name, f"no such plug-in; installed plug-ins of this kind: {known}"
        )
    return found, found.load()


def problem_of(plugin: Plugin, own: Container[str]) -> Optional[str]:
    """Why a plug-in cannot be used, where `own` are names that are not plug-ins; None if it can.

    Imports the plug-in.
    """
    if plugin.name in own:
        return "cannot be used: this program has that name; the package must choose another"
    if not _NAME.fullmatch(plugin.name):
        return "cannot be used: its name may have letters, digits, dots, dashes and underscores"
    for other in installed(plugin.kind):
        if other.name == plugin.name and other != plugin:
            return _same_name(other)
    try:
        plugin.load()
    except PluginError as error:
        return error.reason
    return None


def one_line(error: BaseException) -> str:
    """Class and message of an exception of somebody else's code."""
    return printable(f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(": "))


@lru_cache(maxsize=2)
def _all(path: Tuple[str, ...]) -> List[Plugin]:
    """The plug-ins that packages on the path offer; of packages of one name the first counts."""
    found: List[Plugin] = []
    if not any(map(_may_offer, path)):
        return found
    from importlib import metadata  # 20 ms

    seen = set()
    for package in metadata.distributions():
        if _SECTION not in (package.read_text("entry_points.txt") or ""):
            continue  # reading the metadata of every package takes long
        name = package.metadata["Name"]
        if name.lower().replace("_", "-") in seen:
            continue
        seen.add(name.lower().replace("_", "-"))
        for point in package.entry_points:
            kind = point.group[len(_PREFIX) :]
            if point.group.startswith(_PREFIX) and kind in ARGUMENTS:
                found.append(Plugin(kind, point.name, name, package.version, point))
    return sorted(found, key=lambda one: (one.name, one.package))


def _may_offer(entry: str) -> bool:
    """Whether packages in a folder of the path may have plug-ins: one names their groups."""
    folder = Path(entry or os.curdir)
    if folder.is_file():
        return True  # an archive
    for points in (*folder.glob("*.dist-info/entry_points.txt"),
                   *folder.glob("*.egg-info/entry_points.txt")):  # fmt: skip
        try:
            if _SECTION.encode() in points.read_bytes():
                return True
        except OSError:
            continue
    return False
