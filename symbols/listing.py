"""All names of networks, for `--network list`."""

from typing import List

from imagenet_trainer.config import plugins
from imagenet_trainer.symbols.families import ALIASES, FAMILIES, GLUONCV


def listing() -> str:
    """A line for each family with its depths, for each other name, and for each plug-in."""
    lines: List[str] = []
    for name, family in FAMILIES.items():
        depths = family.depths_in_words or ", ".join(map(str, family.depths))
        lines.append(f"{name:24}{depths}".rstrip())
    lines += [f"{other:24}{name}" for other, name in ALIASES.items()]
    lines.append(f"{GLUONCV + 'NAME':24}GluonCV's network of that name")
    lines += [f"{'FILE.py, FILE.json':24}a network of your own"]
    lines += [
        f"{one.name:24}plug-in of {one.package} {one.version}"
        for one in plugins.installed("networks")
    ]
    return "\n".join(lines)
