"""The plots of a survey: arrays in, PNG files out."""

from typing import List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import xarray
from datashader.transfer_functions import shade
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullLocator

from imagenet_trainer.explore.channels import Channels
from imagenet_trainer.viz.style import BLUE as _BLUE
from imagenet_trainer.viz.style import ORANGE as _ORANGE
from imagenet_trainer.viz.style import figure_of, png

_RGB = ("#d62828", "#2b9348", "#1d6fd1")
_CLOUD = 10_000  # from this number of images on, single points would hide each other
_NAMED_CLASSES = 40  # with more classes, named bars are too small
_ASPECTS = ((1, 4), (1, 2), (3, 4), (1, 1), (4, 3), (2, 1), (4, 1))


class Thumbnail(NamedTuple):
    """An image of the contact sheet: pixels uint8 (height, width, 3), or None if undecodable."""

    pixels: Optional[np.ndarray]
    caption: str


# --- sizes -------------------------------------------------------------------------------------


def draw_sizes(widths: np.ndarray, heights: np.ndarray, sizes: np.ndarray) -> bytes:
    """Histograms of widths, heights, aspect ratios and file sizes, as PNG."""
    with figure_of(10, 6.4) as figure:
        axes = figure.subplots(2, 2).ravel()
        aspects, kilobytes = widths / heights, sizes / 1e3
        _histogram(axes[0], widths, "width", "pixels", _size_ticks(widths))
        _histogram(axes[1], heights, "height", "pixels", _size_ticks(heights))
        _histogram(axes[2], aspects, "aspect ratio", "width : height", _aspect_ticks(aspects))
        _histogram(axes[3], kilobytes, "file size", "kB", _kilobyte_ticks(kilobytes))
        return png(figure)


Ticks = List[Tuple[float, str]]


def _histogram(axes: Axes, values: np.ndarray, title: str, unit: str, ticks: Ticks) -> None:
    """A histogram over the logarithm of a value, which shows small and large images alike."""
    low, high = values.min(), values.max()
    count = int(np.clip(2 * np.sqrt(len(values)), 10, 60)) if high > low else 1
    # A single value gets one bar in the middle.
    bins = np.geomspace(low, high, count + 1) if high > low else np.array([low / 1.03, low * 1.03])
    axes.hist(values, bins.tolist(), color=_BLUE)
    axes.set_xscale("log")
    reach = 1.3 if high > low else 2
    _set_ticks(axes, [tick for tick in ticks if low / reach <= tick[0] <= high * reach])
    axes.set_xlim(low / reach, high * reach)
    middle = float(np.quantile(values, 0.5, method="nearest"))  # as in the table
    axes.axvline(middle, color=_ORANGE, linewidth=1.5)
    axes.annotate(
        f"median {_short(middle)}", (middle, 1.0), (4, -2), color=_ORANGE, ha="left", va="top",
        xycoords=axes.get_xaxis_transform(), textcoords="offset points",
    )  # fmt: skip
    axes.set(title=title, xlabel=unit, ylabel="images")
    axes.set_ylim(0, axes.get_ylim()[1] * 1.1)  # space for the annotation
    axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.grid(axis="y")


def _set_ticks(axes: Axes, ticks: Ticks) -> None:
    axes.set_xticks([at for at, _ in ticks], [name for _, name in ticks])
    axes.xaxis.set_minor_locator(NullLocator())


def _size_ticks(values: np.ndarray) -> Ticks:
    """Powers of two: every other one for wide ranges, with steps between for narrow ones."""
    first, last = np.floor(np.log2([values.min() / 1.3, values.max() * 1.3])).astype(int)
    steps = (1, 1.5) if last - first <= 3 else (1,)
    powers = range(max(first, 0), last + 1, 2 if last - first > 6 else 1)
    values_at = [step * 2.0**power for power in powers for step in steps]
    return [(at, f"{at:,g}") for at in values_at]


def _kilobyte_ticks(values: np.ndarray) -> Ticks:
    first, last = np.floor(np.log10([values.min() / 1.3, values.max() * 1.3])).astype(int)
    steps = (1, 2, 5) if last - first < 3 else (1,)
    values_at = [step * 10.0**power for power in range(first, last + 1) for step in steps]
    return [(at, f"{at:,.10g}") for at in values_at]


def _aspect_ticks(values: np.ndarray) -> Ticks:
    low, high = values.min() / 2, values.max() * 2
    narrow = values.max() / values.min() < 30
    ticks = [(a / b, f"{a}:{b}") for a, b in _ASPECTS if narrow or max(a, b) != 4 or min(a, b) != 3]
    # For panoramas, further powers of two, as many as fit next to each other.
    step = int(np.ceil(np.log2(high / low) / 8))
    if step > 1:
        ticks = [(1.0, "1:1")]
    powers = range(step if step > 1 else 3, 17, max(step, 1))
    ticks += [(2.0**n, f"{2**n}:1") for n in powers if 2.0**n <= high]
    ticks += [(0.5**n, f"1:{2**n}") for n in powers if 0.5**n >= low]
    return sorted(ticks)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


# --- width and height --------------------------------------------------------------------------


def draw_cloud(widths: np.ndarray, heights: np.ndarray) -> bytes:
    """A scatter plot of width and height, as PNG; large sets are shaded by density."""
    x, y = np.log2(widths), np.log2(heights)
    both = np.concatenate([widths, heights])
    low, high = np.log2(both.min()) - 0.5, np.log2(both.max()) + 0.5
    with figure_of(7.4, 7) as figure:
        axes = figure.subplots()
        for wide, tall in _ASPECTS[1:-1]:
            _draw_aspect(axes, np.log2(wide / tall), f"{wide}:{tall}", low, high)
        if len(x) < _CLOUD:
            axes.scatter(x, y, s=26, color=_BLUE, alpha=0.45, linewidths=0, zorder=2)
        else:
            axes.imshow(
                _shaded(x, y, (low, high)), extent=(low, high, low, high), origin="lower",
                interpolation="nearest", zorder=2,
            )  # fmt: skip
        ticks = [(float(np.log2(at)), name) for at, name in _size_ticks(both)]
        ticks = [tick for tick in ticks if low <= tick[0] <= high]
        _set_ticks(axes, ticks)
        axes.set_yticks(axes.get_xticks(), [name for _, name in ticks])
        axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
        darker = ", darker where there are more" if len(x) >= _CLOUD else ""
        axes.set_title(f"{len(x):,} images{darker}", pad=20)
        axes.set(xlabel="width, pixels", ylabel="height, pixels")
        axes.grid()
        axes.text(
            0.98, 0.02, _common_sizes(widths, heights), transform=axes.transAxes, ha="right",
            va="bottom", fontsize=9, linespacing=1.5, zorder=3,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 3},
        )  # fmt: skip
        return png(figure)


def _common_sizes(widths: np.ndarray, heights: np.ndarray) -> str:
    """The most frequent sizes, each one point of the plot, with their shares."""
    both, counts = np.unique(widths << 32 | heights, return_counts=True)
    most = np.argsort(-counts, kind="stable")[:5]
    lines = [
        f"{size >> 32:,} × {size & 0xFFFFFFFF:,}: {count / len(widths):.1%}"
        for size, count in zip(both[most].tolist(), counts[most].tolist())
    ]
    return "\n".join(["most frequent", *lines])


def _draw_aspect(axes: Axes, slope: float, name: str, low: float, high: float) -> None:
    """A line of one aspect ratio, with its name where it leaves the plot (if it crosses it)."""
    if abs(slope) > 0.95 * (high - low):
        return
    axes.plot([low, high], [low - slope, high - slope], color="#b9c2cc", linewidth=1, zorder=1)
    aside = slope >= 0
    axes.annotate(
        name, (high, high - slope) if aside else (high + slope, high), (4, 0) if aside else (0, 4),
        textcoords="offset points", color="#7b8794", fontsize=9, annotation_clip=False,
        ha="left" if aside else "center", va="center" if aside else "bottom",
    )  # fmt: skip


def _shaded(x: np.ndarray, y: np.ndarray, span: Tuple[float, float]) -> np.ndarray:
    """Shaded density of points: uint8 (220, 220, 4), transparent where empty, row 0 lowest."""
    # NumPy counts at once; datashader's canvas first compiles with numba for half a minute.
    counts = np.histogram2d(y, x, bins=220, range=(span, span))[0]
    grid = xarray.DataArray(counts.astype(np.uint32), dims=("height", "width"))
    image = shade(grid, cmap=["#a9cfe4", _BLUE, "#0b2545"], how="log")
    return np.asarray(image.to_pil(origin="upper"))


# --- classes, colours --------------------------------------------------------------------------


def draw_classes(counts: np.ndarray, names: Sequence[str]) -> bytes:
    """Images per class, int64 (classes,), as PNG: named bars, or a curve for many classes."""
    if len(counts) <= _NAMED_CLASSES:
        with figure_of(10, 1.2 + 0.26 * len(counts)) as figure:
            axes = figure.subplots()
            _bars(axes, [_cut(name, 44) for name in names], counts)
            axes.set(title="images of each class")
            return png(figure)
    order = np.argsort(-counts, kind="stable")
    with figure_of(10, 4.2) as figure:
        axes = figure.subplots()
        ranked = counts[order]
        axes.fill_between(np.arange(len(counts)), ranked, color=_BLUE, step="mid", linewidth=0)
        middle = np.median(counts[counts > 0])  # empty classes are reported separately
        axes.axhline(middle, color=_ORANGE, linewidth=1.5)
        axes.set(xlim=(0, len(counts) - 1), ylim=(0, ranked[0] * 1.08))
        axes.set(title="images of each class, largest first", ylabel="images")
        axes.yaxis.set_major_formatter("{x:,.0f}")
        empty = int((counts == 0).sum())
        without = f", {empty:,} empty" if empty else ""
        axes.set(xlabel=f"{len(counts):,} classes{without}, median {middle:,.0f} images")
        axes.grid(axis="y")
        ends = [(0, order[0], "left"), (len(counts) - 1, order[-1], "right")]
        for place, label, side in ends:
            axes.annotate(
                f"{_cut(names[label], 40)}: {counts[label]:,}", (place, counts[label]),
                (6 if side == "left" else -6, 6), textcoords="offset points", ha=side, va="bottom",
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1},
            )  # fmt: skip
        return png(figure)


def draw_colours(colours: Optional[Channels], kinds: Sequence[Tuple[str, int]]) -> bytes:
    """The histograms of red, green and blue, and the formats and colour modes, as PNG."""
    with figure_of(10, max(3.4, 1.2 + 0.3 * len(kinds))) as figure:
        left, right = figure.subplots(1, 2)
        if colours is None:
            left.text(0.5, 0.5, "none could be decoded", transform=left.transAxes, ha="center")
        else:
            levels = np.arange(256)
            for shares, mean, colour, name in zip(
                colours.histogram, colours.mean, _RGB, ("red", "green", "blue")
            ):
                left.plot(
                    levels, 100 * shares, color=colour, linewidth=1.4, label=f"{name} {mean:.0f}"
                )
                left.fill_between(levels, 100 * shares, color=colour, alpha=0.08, linewidth=0)
                left.axvline(mean, color=colour, linewidth=1, linestyle=(0, (4, 3)))
            # White or black backgrounds are far more frequent; they are clipped to show the rest.
            usual = np.quantile(colours.histogram, 0.96)
            left.set_ylim(0, 105 * min(colours.histogram.max(), max(1.5 * usual, 0.004)))
            left.legend(
                frameon=False, ncols=3, loc="lower right", bbox_to_anchor=(1.03, 0.98),
                handlelength=1.2, columnspacing=1.2, handletextpad=0.4,
            )  # fmt: skip
        left.set(title="colours", xlabel="level", ylabel="% of pixels", xlim=(0, 255))
        left.grid(axis="y")
        names, counts = zip(*kinds)
        _bars(right, list(names), np.array(counts))
        right.set(title="formats and colour modes")
        return png(figure)


def _bars(axes: Axes, names: Sequence[str], counts: np.ndarray) -> None:
    """Horizontal bars with their numbers, the first on top."""
    positions = np.arange(len(counts))
    axes.barh(positions, counts, color=_BLUE, height=0.7)
    axes.set_yticks(positions, names)
    axes.tick_params(axis="y", length=0)
    axes.set(
        ylim=(max(6, len(counts)) - 0.4, -0.6), xlim=(0, max(1, counts.max()) * 1.14), xticks=[]
    )
    for spine in ("bottom", "left"):
        axes.spines[spine].set_visible(False)
    for position, count in zip(positions, counts):
        axes.annotate(
            f"{count:,}", (count, position), (4, 0), textcoords="offset points", va="center"
        )


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


# --- the contact sheet -------------------------------------------------------------------------


def draw_sheet(rows: Sequence[Tuple[str, Sequence[Thumbnail]]]) -> bytes:
    """Images with captions in rows of five, in titled parts, as PNG."""
    columns = 5
    lines = [-(-len(images) // columns) for _, images in rows]
    with figure_of(11, 2.45 * sum(lines) + 0.35 * len(rows)) as figure:
        ratios = [line + 0.15 for line in lines]
        parts = figure.subfigures(len(rows), 1, squeeze=False, height_ratios=ratios)
        for part, (title, images), line in zip(parts.ravel(), rows, lines):
            part.suptitle(title, x=0.008, ha="left", fontsize=13, fontweight="bold")
            for axes in part.subplots(line, columns).ravel():
                axes.axis("off")
            for axes, one in zip(part.axes, images):
                _thumbnail(axes, one)
        return png(figure)


def _thumbnail(axes: Axes, one: Thumbnail) -> None:
    axes.axis("on")
    axes.set(xticks=[], yticks=[], anchor="N")  # captions of a row are aligned
    axes.spines[:].set(visible=True)
    if one.pixels is None:
        axes.text(0.5, 0.5, "cannot be\ndecoded", ha="center", va="center", color="#8895a3")
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    else:
        axes.imshow(one.pixels, interpolation="nearest" if len(one.pixels) < 64 else "antialiased")
    axes.set_title(one.caption, fontsize=8, fontweight="normal", loc="center", pad=3)
