"""Exploring a set of images: survey it, write its page, print a summary."""

from imagenet_trainer.errors import InputError
from imagenet_trainer.explore.channels import Channels
from imagenet_trainer.explore.flags import ExploreSettings, check_output, check_root
from imagenet_trainer.explore.page import quantile_rows, write_page
from imagenet_trainer.explore.sources import Files, open_source
from imagenet_trainer.explore.survey import Survey, measure_channels, survey
from imagenet_trainer.packing.console import format_classes, format_images
from imagenet_trainer.system.block_cache import use_cache
from imagenet_trainer.system.files import make_folder
from imagenet_trainer.system.machine import processors
from imagenet_trainer.system.progress_bar import progress
from imagenet_trainer.text import printable

_MOST_LINES = 10


def explore(settings: ExploreSettings) -> int:
    """Write the page of a set of images and print its most important numbers; the exit code."""
    use_cache(settings.cache_dir, settings.cache_size)
    check_root(settings.source, settings.root)
    source = open_source(settings.source, settings.root, settings.label_index)
    if isinstance(source, Files):
        check_output(settings.source, settings.output)
    folder = make_folder(settings.output)
    threads = settings.threads or processors()
    with progress("headers", len(source)) as update:
        result = survey(source, threads, update)
    if not result.good.any():
        raise InputError(
            f"{settings.source}: none of its {len(source):,} files is an image, first "
            f"{printable(result.names[0])}: {result.problems[0]}; give a folder of images"
        )
    with progress("colours", min(settings.sample or len(source), len(source))) as update:
        colours, decoded = measure_channels(
            source, result, settings.sample, settings.seed, threads, update
        )
    if source.note:
        print(f"{settings.source}: {source.note}")
    _print_sizes(settings.source, result)
    flags = "" if colours is None else flag_line(colours)
    if flags:
        print(f"mean and standard deviation of {format_images(decoded)}:\n{flags}")
    page = write_page(str(folder), settings.source, source, result, colours, flags, decoded)
    _print_problems(result)
    print(f"{page}: all results")
    return 0


def flag_line(channels: Channels) -> str:
    """The mean colour as flags of fit, which divides by the standard deviation: at least 1."""
    mean = ",".join(f"{value:.3f}" for value in channels.mean)
    std = ",".join(f"{max(value, 1):.3f}" for value in channels.std)
    return f"--rgb-mean {mean} --rgb-std {std}"


def _print_sizes(source: str, result: Survey) -> None:
    classes = len(set(result.labels[result.good].tolist()) - {-1})
    print(
        f"{source}: {format_images(int(result.good.sum()))} of {format_classes(classes)}, "
        f"{result.sizes.sum() / 1e6:,.1f} MB"
    )
    print(f"{'':<14}{'min':>10}{'1 %':>10}{'median':>10}{'99 %':>10}{'max':>10}")
    for name, values in quantile_rows(result):
        print(f"{name:<14}" + "".join(f"{value:>10}" for value in values))


def _print_problems(result: Survey) -> None:
    for number in sorted(result.problems)[:_MOST_LINES]:
        print(f"unreadable: {printable(result.names[number])}: {result.problems[number]}")
    more = len(result.problems) - _MOST_LINES
    if more > 0:
        print(f"unreadable: {more:,} more, listed in the table and on the page")
