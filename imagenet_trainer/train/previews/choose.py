"""Which preview the flags request, if any. Imports nothing heavy."""

from imagenet_trainer.config import FitSettings, flags
from imagenet_trainer.errors import InputError

RECIPES, NETWORKS = "recipe", "network"  # of which `list` prints all
CONFIG = "show_config"
_PREVIEWS = (
    CONFIG, "find_lr", "find_batch", "show_schedule", "summary", "test_io", "benchmark",
)  # fmt: skip


def requested_preview(settings: FitSettings) -> str:
    """The field of the flag that requests a preview; "" for none.

    It is that of `--recipe list` and `--network list` too. Raises InputError for more than one.
    """
    requested = {name: flags.flag_of(name) for name in _PREVIEWS if getattr(settings, name)}
    lists = (name for name in (RECIPES, NETWORKS) if getattr(settings, name) == "list")
    requested = {**{name: f"--{name} list" for name in lists}, **requested}
    if len(requested) > 1:
        raise InputError(
            f"{' and '.join(requested.values())}: each replaces the training; use one at a time"
        )
    if settings.json is True and requested:
        preview = next(iter(requested.values()))
        raise InputError(f"--json: {preview} has no events; omit one of the two")
    return next(iter(requested), "")
