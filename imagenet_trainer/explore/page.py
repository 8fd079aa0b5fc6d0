"""The results of a survey in a folder: a table, plots, and one page that contains everything."""

import os
from collections import Counter
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import pandas
from PIL import Image

from imagenet_trainer.explore import figures
from imagenet_trainer.explore.channels import Channels
from imagenet_trainer.explore.sources import ImageSource
from imagenet_trainer.explore.survey import Survey
from imagenet_trainer.system.files import atomic_write, write_file
from imagenet_trainer.text import csv_cell, printable
from imagenet_trainer.viz.html import Tile, render

_EXTREMES = 10  # images of each kind on the contact sheet
_SIDE = 320  # largest width and height of its images, in pixels
_MOST_ROWS = 200  # of a table on the page; table.csv has all of them
_QUANTILES = (0.0, 0.01, 0.5, 0.99, 1.0)


class ShortTable(NamedTuple):
    """A table of the page; `more` rows are only in table.csv."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    more: int = 0


def write_page(
    folder: str,
    title: str,
    source: ImageSource,
    survey: Survey,
    colours: Optional[Channels],
    flags: str,
    decoded: int,
) -> str:
    """Write table.csv, the plots and index.html into a folder; return the path of the page.

    `flags` is the mean colour as flags of fit, `decoded` the number of images it is computed from.
    Raises InputError if the folder cannot be written.
    """
    write_table(os.path.join(folder, "table.csv"), survey)
    plots = _draw_plots(source, survey, colours)
    for name, data in plots.items():
        write_file(os.path.join(folder, f"{name}.png"), data)
    path = os.path.join(folder, "index.html")
    write_file(path, render(
        "explore.html", title=printable(title), plots=plots, flags=flags, decoded=decoded,
        **_page_values(survey),
    ))  # fmt: skip
    return path


def _draw_plots(
    source: ImageSource, survey: Survey, colours: Optional[Channels]
) -> Dict[str, bytes]:
    """PNG files by name."""
    good = survey.good
    widths, heights = survey.widths[good], survey.heights[good]
    kinds = Counter(kind for kind in survey.kinds if kind).most_common()
    plots = {
        "sizes": figures.draw_sizes(widths, heights, survey.sizes[good]),
        "cloud": figures.draw_cloud(widths, heights),
        "colours": figures.draw_colours(colours, kinds),
        "extremes": figures.draw_sheet(contact_sheet(source, survey)),
    }
    counts = class_counts(survey)
    if len(counts):
        names = [one.name.split(",")[0] for one in survey.classes]
        plots["classes"] = figures.draw_classes(counts, names)
    return plots


# --- numbers -----------------------------------------------------------------------------------


def class_counts(survey: Survey) -> np.ndarray:
    """Images per class, int64 (classes,); empty if the images have no classes."""
    labels = survey.labels[survey.labels >= 0]
    return np.bincount(labels, minlength=len(survey.classes)) if len(labels) else labels


def quantile_rows(survey: Survey) -> List[Tuple[str, List[str]]]:
    """Minimum, 1 %, median, 99 % and maximum of each size, as text."""
    good = survey.good
    widths, heights, sizes = survey.widths[good], survey.heights[good], survey.sizes[good]
    columns: Sequence[Tuple[str, np.ndarray, Callable[[float], str]]] = (
        ("width", widths, "{:,.0f}".format),
        ("height", heights, "{:,.0f}".format),
        ("width / height", widths / heights, "{:.3f}".format),
        ("kB", sizes / 1e3, "{:,.1f}".format),
    )
    return [
        (name, [form(value) for value in np.quantile(values, _QUANTILES, method="nearest")])
        for name, values, form in columns
    ]


def write_table(path: str, survey: Survey) -> None:
    """A row per image: path, label, class, size, format, and why it is unreadable."""
    good = survey.good
    known = {number: one.id for number, one in enumerate(survey.classes)}
    formats, _, modes = zip(*(kind.partition(" ") for kind in survey.kinds))
    table = pandas.DataFrame(
        {
            "picture": survey.names,
            "label": pandas.Series(survey.labels).where(survey.labels >= 0).astype("Int64"),
            "class": [known.get(label, "") for label in survey.labels.tolist()],
            "width": pandas.Series(survey.widths).where(good).astype("Int64"),
            "height": pandas.Series(survey.heights).where(good).astype("Int64"),
            "aspect": np.round(survey.widths / np.where(good, survey.heights, 1), 4),
            "bytes": pandas.Series(survey.sizes).where(good).astype("Int64"),
            "format": formats,
            "mode": modes,
            "problem": [survey.problems.get(number, "") for number in range(len(good))],
        }
    )
    table["aspect"] = table["aspect"].where(good)
    for name in ("picture", "class", "format", "mode", "problem"):
        table[name] = table[name].map(csv_cell)
    with atomic_write(path) as file:
        table.to_csv(file, index=False, encoding="utf-8", errors="backslashreplace")


# --- the contact sheet -------------------------------------------------------------------------


def contact_sheet(source: ImageSource, survey: Survey) -> List[Tuple[str, List[figures.Thumbnail]]]:
    """The ten most elongated, smallest and largest images."""
    rows = np.flatnonzero(survey.good)
    widths, heights = survey.widths[rows], survey.heights[rows]
    area = widths * heights
    ranks = {
        "Most elongated": -np.abs(np.log(widths / heights)),
        "Smallest": area,
        "Largest": -area,
    }
    chosen = {
        title: rows[np.argsort(rank, kind="stable")[:_EXTREMES]].tolist()
        for title, rank in ranks.items()
        if rank.min() < rank.max()
    } or {"All images have one size; the first": rows[:_EXTREMES].tolist()}
    return [
        (title, [_thumbnail(source, survey, number) for number in numbers])
        for title, numbers in chosen.items()
    ]


def _thumbnail(source: ImageSource, survey: Survey, number: int) -> figures.Thumbnail:
    name = os.path.basename(printable(survey.names[number]))
    name = name if len(name) <= 30 else f"{name[:14]}…{name[-15:]}"
    size = survey.sizes[number] / 1e3
    caption = f"{survey.widths[number]} × {survey.heights[number]}, {size:,.1f} kB\n{name}"
    return figures.Thumbnail(_read_small(source, number), caption)


def _read_small(source: ImageSource, number: int) -> Optional[np.ndarray]:
    """An image reduced for the sheet, uint8 (height, width, 3); None if it cannot be decoded."""
    try:
        image = Image.fromarray(source.pixels(source.read(number)))
    except ValueError:
        return None
    image.thumbnail((_SIDE, _SIDE))
    return np.asarray(image)


# --- the page ----------------------------------------------------------------------------------


def _page_values(survey: Survey) -> Dict[str, Any]:
    """The tiles, tables and texts of the template."""
    counts = class_counts(survey)
    tiles = [Tile(f"{survey.good.sum():,}", "images")]
    if len(counts):
        tiles.append(Tile(f"{np.count_nonzero(counts):,}", "classes"))
    tiles.append(Tile(_format_bytes(int(survey.sizes.sum())), "total size"))
    unreadable = len(survey.problems)
    tiles.append(Tile(f"{unreadable:,}", "unreadable files", warn=unreadable > 0))
    problems = [(printable(survey.names[n]), survey.problems[n]) for n in sorted(survey.problems)]
    return {
        "tiles": tiles,
        "sizes": ShortTable(
            ("", "min", "1 %", "median", "99 %", "max"),
            [(name, *values) for name, values in quantile_rows(survey)],
        ),
        "balance": _describe_balance(counts) if len(counts) else "",
        "classes": _class_table(survey, counts) if len(counts) > 1 else None,
        "problems": _cut(("file", "reason"), problems) if problems else None,
    }


def _cut(head: Sequence[str], rows: Sequence[Sequence[str]]) -> ShortTable:
    return ShortTable(head, rows[:_MOST_ROWS], max(0, len(rows) - _MOST_ROWS))


def _describe_balance(counts: np.ndarray) -> str:
    """How evenly the images are distributed over the classes."""
    filled = counts[counts > 0]
    text = (
        f"{filled.min():,} to {filled.max():,} images per class, median {np.median(filled):,.0f}: "
        f"the largest class has {filled.max() / filled.min():,.1f} times as many as the smallest."
    )
    if filled.min() == filled.max():
        text = f"Each class has {filled[0]:,} images."
    empty = len(counts) - len(filled)
    return text + (f" {empty:,} more {'has' if empty == 1 else 'have'} none." if empty else "")


def _class_table(survey: Survey, counts: np.ndarray) -> ShortTable:
    rows = [
        (f"{one.id} {one.name}" if one.id != one.name else one.id, str(label), f"{count:,}",
         f"{count / counts.sum():.2%}")
        for label, (one, count) in enumerate(zip(survey.classes, counts.tolist()))
    ]  # fmt: skip
    return _cut(("class", "label", "images", "share"), rows)


def _format_bytes(number: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6)):
        if number >= size:
            return f"{number / size:,.1f} {unit}"
    return f"{number / 1e3:,.1f} kB"
