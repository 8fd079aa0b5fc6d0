"""Which preview the flags request, if any. Imports nothing heavy."""

from imagenet_trainer.config import FitSettings, flags
from imagenet_trainer.errors import InputError

RECIPES = "recipe"
_PREVIEWS = ("find_lr", "find_batch", "show_schedule", "summary", "test_io", "benchmark")


def requested_preview(settings: FitSettings) -> str:
    """The field of the flag that requests a preview; RECIPES for `--recipe list`, "" for none.

    Raises InputError for more than one.
    """
    requested = {name: flags.flag_of(name) for name in _PREVIEWS if getattr(settings, name)}
    if settings.recipe == "list":
        requested = {RECIPES: "--recipe list", **requested}
    if len(requested) > 1:
        raise InputError(
            f"{' and '.join(requested.values())}: each replaces the training; use one at a time"
        )
    return next(iter(requested), "")
