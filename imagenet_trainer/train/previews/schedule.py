"""`fit --show-schedule`: print and plot the learning rates of a run without training."""

from typing import List, NamedTuple, Sequence

from imagenet_trainer.config import FitSettings
from imagenet_trainer.data.order import share_of, updates_before
from imagenet_trainer.errors import InputError
from imagenet_trainer.system.files import make_folder, write_file
from imagenet_trainer.train.datasets import open_training_set, parts_of
from imagenet_trainer.train.schedule import Schedule
from imagenet_trainer.train.schedule_flags import schedule_of
from imagenet_trainer.train.setup import training_setup
from imagenet_trainer.viz.lr_figures import draw_schedule

# Updates that are plotted: more than the plot has pixels.
_POINTS = 2000


class Row(NamedTuple):
    """One epoch of the table; epochs count from 0, as in log lines."""

    epoch: int
    first_update: int
    first_rate: float
    last_rate: float


def print_schedule(settings: FitSettings) -> int:
    """Print the table; draw the plot into the run's folder."""
    setup = training_setup(settings)
    images = _images(settings)
    if settings.batch_size > images:
        raise InputError(
            f"--batch-size {settings.batch_size}: there are only {images} images; use a smaller one"
        )
    schedule = schedule_of(settings, images)
    for line in table(schedule, images, settings.batch_size, settings.num_epochs):
        print(line)
    total = updates_before(settings.num_epochs, images, settings.batch_size)
    shown = sorted({total * point // _POINTS for point in range(_POINTS)} | {total - 1})
    plot = draw_schedule(
        [(update + 0.5) * settings.batch_size / images for update in shown],
        [schedule.rate(update) for update in shown],
        f"{setup.name}: learning rate",
    )
    make_folder(setup.run.folder)
    path = setup.run.rates_path("schedule.png")
    write_file(path, plot)
    print(f"\nPlot: {path}")
    return 0


def rows(schedule: Schedule, images: int, batch: int, epochs: int) -> List[Row]:
    """The first and the last rate of each epoch."""
    begins = [updates_before(epoch, images, batch) for epoch in range(epochs + 1)]
    return [
        Row(epoch, first, schedule.rate(first), schedule.rate(following - 1))
        for epoch, (first, following) in enumerate(zip(begins, begins[1:]))
    ]


def table(schedule: Schedule, images: int, batch: int, epochs: int) -> Sequence[str]:
    """The lines to print."""
    lines = [
        f"{images} images in batches of {batch}: {updates_before(epochs, images, batch)} updates",
        "",
        f"{'epoch':>5} {'first update':>13} {'first rate':>12} {'last rate':>12}",
    ]
    lines += [
        f"{row.epoch:>5} {row.first_update:>13} {row.first_rate:>12.6g} {row.last_rate:>12.6g}"
        for row in rows(schedule, images, batch, epochs)
    ]
    return lines


def _images(settings: FitSettings) -> int:
    """The number of images that are trained on; which are held back depends on their classes."""
    is_whole = not parts_of(settings)
    if is_whole and settings.num_examples is not None:
        return share_of(settings.train_fraction, settings.num_examples)
    try:
        train = open_training_set(settings)
    except InputError as error:
        hint = "; or give the number of images with --num-examples" if is_whole else ""
        raise InputError(f"{error}{hint}") from None
    train.shards.close()
    return len(train)
