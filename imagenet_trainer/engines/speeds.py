"""How fast each engine trains on this CPU, as `doctor --measure` measured it.

No rule predicts the faster engine from a network (docs/engines.md has the measurements), so
`--engine auto` follows figures of this very CPU, number of threads and versions. They are kept in
the user's cache folder.
"""

import contextlib
import json
import os
import platform
from datetime import date
from pathlib import Path
from typing import Any, Dict, Mapping, NamedTuple, Optional, Tuple

from imagenet_trainer.engines.choice import TITLES, version_of
from imagenet_trainer.errors import InputError
from imagenet_trainer.system.files import make_folder, write_file

WORTH = 1.05  # ratio of speeds; a smaller one is noise
_ENGINES = ("mxnet", "torch")

Kind = Tuple[str, str]  # engine, dtype


class Measured(NamedTuple):
    """What was measured about a network."""

    date: str  # ISO 8601
    updates_per_second: Dict[Kind, float]

    def advantage(self, dtype: str) -> float:
        """PyTorch's speed divided by MXNet's; 0 if one of them was not measured."""
        mxnet, torch = (self.updates_per_second.get((name, dtype), 0.0) for name in _ENGINES)
        return torch / mxnet if mxnet else 0.0


def speeds_path() -> Optional[Path]:
    """The file with the measurements; None for a user without a home."""
    with contextlib.suppress(RuntimeError):
        folder = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return Path(folder) / "imagenet-trainer" / "engine-speeds.json"
    return None


def keep(network: str, image_shape: Tuple[int, ...], speeds: Mapping[Kind, float]) -> str:
    """Store a network's speeds in updates per second; return a sentence that says where.

    Older figures of the same network and image size are replaced.
    """
    path = speeds_path()
    if path is None:
        return "not kept: this user has no home folder; set XDG_CACHE_HOME"
    stored = _stored(path)
    stored.setdefault(_machine(), {})[_key(network, image_shape)] = {
        "date": date.today().isoformat(),
        "updates_per_second": {" ".join(kind): speed for kind, speed in speeds.items()},
    }
    try:
        make_folder(path.parent)
        write_file(path, json.dumps(stored, indent=1, sort_keys=True))
    except InputError as error:
        return f"not kept: {error}"
    return f"kept for --engine auto in {path}; remove the file to undo this"


def measured(network: str, image_shape: Tuple[int, ...]) -> Optional[Measured]:
    """A network's speeds on this CPU, with as many threads and the same versions of engines."""
    path = speeds_path()
    found = _stored(path).get(_machine(), {}) if path else {}
    with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError):
        entry = found[_key(network, image_shape)]
        speeds: Dict[Kind, float] = {}
        for words, speed in entry["updates_per_second"].items():
            engine, dtype = words.split()
            speeds[engine, dtype] = float(speed)
        return Measured(str(entry["date"]), speeds)
    return None


def _key(network: str, image_shape: Tuple[int, ...]) -> str:
    return f"{network} {','.join(map(str, image_shape))}"


def _machine() -> str:
    """What the speeds depend on, in words."""
    threads = os.environ.get("OMP_NUM_THREADS", "")
    versions = [f"{TITLES[engine]} {version_of(engine)}" for engine in _ENGINES]
    return ", ".join([_processor(), f"{threads} threads", *versions])


def _processor() -> str:
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _stored(path: Path) -> Dict[str, Any]:
    """The content of the file; empty if there is none or it is damaged."""
    with contextlib.suppress(OSError, ValueError):
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict) and all(isinstance(one, dict) for one in content.values()):
            return content
    return {}
