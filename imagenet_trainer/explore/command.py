"""A look at a set of images: tables, plots, odd files, and the mean colour for training.

    python tools/explore.py FOLDER | LIST.lst --root FOLDER | SHARDS.rec

`survey` reads every header and decodes a sample, `explore_figures` draws, `explore_page` writes the
page. Heavy libraries are imported where they are used, so that --help answers at once.
"""

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable, Optional, Sequence

from imagenet_trainer.config.flags import option, parse
from imagenet_trainer.config.values import integer
from imagenet_trainer.errors import InputError, run_command
from imagenet_trainer.system.machine import processors, silence_opencv

if TYPE_CHECKING:
    from imagenet_trainer.explore.channels import Channels
    from imagenet_trainer.explore.survey import Survey

_NAME = "explore"


@dataclass(frozen=True)
class ExploreSettings:
    """Everything that `tools/explore.py` takes."""

    source: str = option(
        "", "a folder or tar of images, a list x.lst, or shards x.rec (a pattern in quotes, or "
        "several with commas)", positional="one",
    )  # fmt: skip
    root: str = option("", "the folder or tar that a list's paths begin in", metavar="PATH")
    output: str = option("explored", "folder for the page, the table and the plots", metavar="DIR")
    sample: int = option(
        4000, "images that are decoded for the mean colour; 0: all of them", integer(0)
    )
    seed: int = option(0, "of that sample", integer(0))
    threads: int = option(0, "reading and decoding threads; 0: one a processor", integer(0, 256))


# --- what is told ------------------------------------------------------------------------------


def flag_line(channels: "Channels") -> str:
    """The mean colour as flags of fit; a deviation of nought would divide by nought."""
    mean = ",".join(f"{value:.3f}" for value in channels.mean)
    std = ",".join(f"{max(value, 1):.3f}" for value in channels.std)
    return f"--rgb-mean {mean} --rgb-std {std}"


def explore(settings: ExploreSettings) -> int:
    """Look at a set, write its page, and print the most important of it."""
    silence_opencv()
    from imagenet_trainer.explore.page import quantile_rows, write_page
    from imagenet_trainer.explore.sources import open_source
    from imagenet_trainer.explore.survey import measure_channels, printable, survey
    from imagenet_trainer.system.files import make_folder

    source = open_source(settings.source, settings.root)
    folder = make_folder(settings.output)
    threads = settings.threads or processors()
    with _Bar(len(source), "headers") as bar:
        found = survey(source, threads, bar.update)
    if not found.good.any():
        raise InputError(
            f"{settings.source}: none of its {len(source):,} files is an image, first "
            f"{printable(found.names[0])}: {found.problems[0]}"
        )
    wanted = min(settings.sample or len(source), len(source))
    with _Bar(wanted, "colours") as bar:
        colours, decoded = measure_channels(
            source, found, settings.sample, settings.seed, threads, bar.update
        )
    good = int(found.good.sum())
    print(
        f"{settings.source}: {_count(good, 'image')} of {_count(_classes(found), 'class')}, "
        f"{found.sizes.sum() / 1e6:,.1f} MB"
    )
    print(f"{'':<14}{'min':>10}{'1 %':>10}{'median':>10}{'99 %':>10}{'max':>10}")
    for name, values in quantile_rows(found):
        print(f"{name:<14}" + "".join(f"{value:>10}" for value in values))
    line = "" if colours is None else flag_line(colours)
    if line:
        print(f"mean and deviation of {_count(decoded, 'image')}:\n{line}")
    page = write_page(str(folder), settings.source, source, found, colours, line, decoded)
    _print_problems(found)
    print(f"{page} shows the rest")
    return 0


def _print_problems(found: "Survey", most: int = 10) -> None:
    from imagenet_trainer.explore.survey import printable

    for number in sorted(found.problems)[:most]:
        print(f"odd: {printable(found.names[number])}: {found.problems[number]}")
    if len(found.problems) > most:
        print(f"odd: {len(found.problems) - most:,} more, all of them in the table and the page")


def _classes(found: "Survey") -> int:
    return len(set(found.labels[found.good].tolist()) - {-1})


def _count(number: int, thing: str) -> str:
    plural = thing + ("es" if thing.endswith("s") else "s")
    return f"{number:,} {thing if number == 1 else plural}"


class _Bar:
    """A progress bar on a terminal, nothing elsewhere."""

    def __init__(self, total: int, what: str):
        from tqdm import tqdm

        quiet = not sys.stderr.isatty()
        self._bar = tqdm(total=total, desc=what, unit=" images", leave=False, disable=quiet)
        self.update: Callable[[int], None] = self._bar.update  # type: ignore[assignment]

    def __enter__(self) -> "_Bar":
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.close()


def main(argv: Optional[Sequence[str]] = None) -> int:
    """The command line."""
    settings = parse(
        ExploreSettings, argv, _NAME, "Sizes, classes, colours and odd files of a set of images."
    )
    return run_command(_NAME, lambda: explore(settings))


if __name__ == "__main__":
    sys.exit(main())
