"""What is left of a survey in a folder: a table, PNG files, and one page that holds everything."""

import io
import os
from collections import Counter
from html import escape
from typing import Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np

from imagenet_trainer.explore import figures
from imagenet_trainer.explore.channels import Channels
from imagenet_trainer.explore.sources import Source
from imagenet_trainer.explore.survey import Survey, printable
from imagenet_trainer.system.files import atomic_write
from imagenet_trainer.viz.html import data_uri, document, section, tile_row

_EXTREMES = 10  # images of each kind on the contact sheet
_SIDE = 320  # pixels of its images at most
_MOST_ROWS = 200  # of a table on the page; table.csv has them all
_QUANTILES = (0.0, 0.01, 0.5, 0.99, 1.0)


def write_page(
    folder: str,
    title: str,
    source: Source,
    found: Survey,
    colours: Optional[Channels],
    flags: str,
    decoded: int,
) -> str:
    """Write table.csv, the plots and index.html into a folder; return the page's path.

    `flags` is the line for fit, `decoded` how many images the colours are of. Raises InputError
    when the folder cannot be written.
    """
    write_table(os.path.join(folder, "table.csv"), found)
    good = found.good
    widths, heights = found.widths[good], found.heights[good]
    kinds = Counter(kind for kind in found.kinds if kind).most_common()
    images = {
        "sizes": figures.draw_sizes(widths, heights, found.sizes[good]),
        "cloud": figures.draw_cloud(widths, heights),
        "colours": figures.draw_colours(colours, kinds),
        "extremes": figures.draw_sheet(contact_sheet(source, found)),
    }
    counts = class_counts(found)
    if len(counts):
        names = [one.name.split(",")[0] for one in found.classes]
        images["classes"] = figures.draw_classes(counts, names)
    for name, data in images.items():
        with atomic_write(os.path.join(folder, f"{name}.png")) as file:
            file.write(data)
    path = os.path.join(folder, "index.html")
    with atomic_write(path, "w") as file:
        file.write(_page(title, found, counts, images, flags, decoded))
    return path


# --- numbers -----------------------------------------------------------------------------------


def class_counts(found: Survey) -> np.ndarray:
    """Images of each class, int64 (classes,); empty where images have no class."""
    labels = found.labels[found.labels >= 0]
    return np.bincount(labels, minlength=len(found.classes)) if len(labels) else labels


def quantile_rows(found: Survey) -> List[Tuple[str, List[str]]]:
    """Least, 1 %, median, 99 % and greatest of each size, as words."""
    good = found.good
    widths, heights, sizes = found.widths[good], found.heights[good], found.sizes[good]
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


def write_table(path: str, found: Survey) -> None:
    """A row an image: place, label, class, size, format, and what is odd about it."""
    import pandas

    good = found.good
    known = {number: one.id for number, one in enumerate(found.classes)}
    formats, _, modes = zip(*(kind.partition(" ") for kind in found.kinds))
    table = pandas.DataFrame(
        {
            "picture": found.names,
            "label": pandas.Series(found.labels).where(found.labels >= 0).astype("Int64"),
            "class": [known.get(label, "") for label in found.labels.tolist()],
            "width": pandas.Series(found.widths).where(good).astype("Int64"),
            "height": pandas.Series(found.heights).where(good).astype("Int64"),
            "aspect": np.round(found.widths / np.where(good, found.heights, 1), 4),
            "bytes": pandas.Series(found.sizes).where(good).astype("Int64"),
            "format": formats,
            "mode": modes,
            "problem": [found.problems.get(number, "") for number in range(len(good))],
        }
    )
    table["aspect"] = table["aspect"].where(good)
    with atomic_write(path) as file:
        table.to_csv(file, index=False, encoding="utf-8", errors="backslashreplace")


# --- the contact sheet -------------------------------------------------------------------------


def contact_sheet(source: Source, found: Survey) -> List[Tuple[str, List[figures.Thumbnail]]]:
    """The ten most skewed, smallest and largest images."""
    rows = np.flatnonzero(found.good)
    widths, heights = found.widths[rows], found.heights[rows]
    area = widths * heights
    ranks = {
        "Most skewed": -np.abs(np.log(widths / heights)),
        "Smallest": area,
        "Largest": -area,
    }
    chosen = {
        title: rows[np.argsort(rank, kind="stable")[:_EXTREMES]].tolist()
        for title, rank in ranks.items()
        if rank.min() < rank.max()
    } or {"All have one size; the first": rows[:_EXTREMES].tolist()}
    return [
        (title, [_thumbnail(source, found, number) for number in numbers])
        for title, numbers in chosen.items()
    ]


def _thumbnail(source: Source, found: Survey, number: int) -> figures.Thumbnail:
    name = os.path.basename(printable(found.names[number]))
    name = name if len(name) <= 30 else f"{name[:14]}…{name[-15:]}"
    size = found.sizes[number] / 1e3
    caption = f"{found.widths[number]} × {found.heights[number]}, {size:,.1f} kB\n{name}"
    return figures.Thumbnail(_small(source, number), caption)


def _small(source: Source, number: int) -> Optional[np.ndarray]:
    """An image that fits into the sheet, uint8 (height, width, 3); None if it is damaged."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(source.read(number))) as file:
            file.draft("RGB", (_SIDE, _SIDE))  # large JPEGs are decoded small
            # 16 bits would be cut off at 255.
            deep = file.mode.startswith("I")
            image = file.point(lambda value: value / 256).convert("L") if deep else file
            image.thumbnail((_SIDE, _SIDE))
            return np.asarray(image.convert("RGB"))
    except Exception:  # Pillow's readers of odd formats raise whatever they meet
        return None


# --- the page ----------------------------------------------------------------------------------


def _page(
    title: str,
    found: Survey,
    counts: np.ndarray,
    images: Dict[str, bytes],
    flags: str,
    decoded: int,
) -> str:
    good, odd = int(found.good.sum()), len(found.problems)
    tiles = [(f"{good:,}", "images", "")]
    if len(counts):
        tiles.append((f"{np.count_nonzero(counts):,}", "classes", ""))
    tiles.append((_bytes(int(found.sizes.sum())), "together", ""))
    tiles.append((f"{odd:,}", "odd files", "warn" if odd else ""))
    parts = [tile_row(tiles)]
    sizes = _table(("", "least", "1 %", "median", "99 %", "greatest"), [
        (name, *values) for name, values in quantile_rows(found)
    ])  # fmt: skip
    parts.append(section("Sizes", sizes + _image("sizes", images)))
    parts.append(section("Width and height", _image("cloud", images)))
    if len(counts):
        parts.append(section("Classes", _balance(counts) + _image("classes", images)
                              + _class_table(found, counts)))  # fmt: skip
    line = f"<pre>{escape(flags)}</pre>" if flags else ""
    of = f"<p>Of {decoded:,} decoded images, each with the same weight.</p>" if flags else ""
    parts.append(section("Colours", line + of + _image("colours", images)))
    parts.append(section("Extremes", _image("extremes", images)))
    if odd:
        rows = [(printable(found.names[n]), found.problems[n]) for n in sorted(found.problems)]
        parts.append(section("Odd files", _table(("file", "reason"), rows, "words")))
    return document(printable(title), "\n".join(parts))


def _image(name: str, images: Dict[str, bytes]) -> str:
    return f'<img alt="{name}" src="{data_uri(images[name], "image/png")}">'


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "numbers") -> str:
    """Words to an HTML table that scrolls, cut at _MOST_ROWS with a note."""
    top = "".join(f"<th>{escape(word)}</th>" for word in head)
    body = "\n".join(
        "<tr>" + "".join(f"<td>{escape(word)}</td>" for word in row) + "</tr>"
        for row in rows[:_MOST_ROWS]
    )
    more = len(rows) - _MOST_ROWS
    note = f"<p>{more:,} more in table.csv.</p>" if more > 0 else ""
    return (
        f'<div class="scroll"><table class="{kind}"><thead><tr>{top}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>{note}"
    )


def _balance(counts: np.ndarray) -> str:
    there = counts[counts > 0]
    words = (
        f"From {there.min():,} to {there.max():,} images a class, median "
        f"{np.median(there):,.0f}: the largest class has {there.max() / there.min():,.1f} times as "
        "many as the smallest."
    )
    if there.min() == there.max():
        words = f"Each class has {there[0]:,}."
    empty = len(counts) - len(there)
    without = f" {empty:,} more {'has' if empty == 1 else 'have'} none." if empty else ""
    return f"<p>{words}{without}</p>"


def _class_table(found: Survey, counts: np.ndarray) -> str:
    if len(counts) <= 1:
        return ""
    rows = [
        (f"{one.id} {one.name}" if one.id != one.name else one.id, str(label), f"{count:,}",
         f"{count / counts.sum():.2%}")
        for label, (one, count) in enumerate(zip(found.classes, counts.tolist()))
    ]  # fmt: skip
    return _table(("class", "label", "images", "share"), rows)


def _bytes(number: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6)):
        if number >= size:
            return f"{number / size:,.1f} {unit}"
    return f"{number / 1e3:,.1f} kB"
