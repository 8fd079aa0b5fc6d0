"""Carved out of imagenet_trainer/fit.py."""

from typing import TYPE_CHECKING, Optional, Sequence

from imagenet_trainer import config
from imagenet_trainer.config import flags, recipes
from imagenet_trainer.errors import InputError

if TYPE_CHECKING:
    pass


# Flags that ask for something else than a training.
INSTEAD = ("find_lr", "find_batch", "show_schedule", "summary", "test_io", "benchmark")


def look(settings: config.FitSettings, argv: Optional[Sequence[str]]) -> Optional[int]:
    """Do what a flag asks for instead of training, and return the exit code; None without one.

    `argv` as in `train`.
    """
    asked = ["--recipe list"] * (settings.recipe == "list")
    asked += [flags.flag_of(name) for name in INSTEAD if getattr(settings, name)]
    if len(asked) > 1:
        raise InputError(
            f"{' and '.join(asked)}: each is done instead of training; ask for one at a time"
        )
    if settings.recipe == "list":
        print(recipes.listing())
        return 0
    if settings.show_schedule:
        from imagenet_trainer.train.previews import schedule as schedule_view

        return schedule_view.show(settings)
    if settings.find_lr:
        from imagenet_trainer.train.previews import learning_rate as lr_range

        return lr_range.find(settings)
    if settings.find_batch:
        from imagenet_trainer.train.previews.batch_size import tell_largest

        return tell_largest(settings)
    if settings.summary:
        return print_summary(settings)
    if settings.test_io:
        from imagenet_trainer.train.previews.throughput import read_only

        return read_only(settings)
    if settings.benchmark:
        from imagenet_trainer.train.previews.throughput import synthetic
        from imagenet_trainer.train.processes import processes_of, start_each

        processes = processes_of(settings)
        return start_each(processes, argv) if processes > 1 else synthetic(settings)
    return None


def print_summary(settings: config.FitSettings) -> int:
    """`--summary`: the network as a table, for the classes of the shard if it is there."""
    from imagenet_trainer.train.datasets import number_of_classes
    from imagenet_trainer.train.setup import start_of
    from symbols.summary import summarise, table

    start = start_of(settings)
    classes, image_shape = number_of_classes(settings), start.settings.image_shape
    symbol = start.symbol(classes)
    print(f"{start.name}: {classes} classes, images of {' x '.join(map(str, image_shape))}\n")
    print(table(summarise(symbol, image_shape), settings.batch_size))
    return 0
