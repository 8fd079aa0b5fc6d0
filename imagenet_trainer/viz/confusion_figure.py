"""A confusion matrix with its axes: classes or their groups named, a legend, a title.

The matrix itself is the image that `confusion` draws, pixel for pixel, in one of the orders of
`class_order`; this module draws what stands around it.
"""

import io
from typing import TYPE_CHECKING, Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from imagenet_trainer.metrics.taxonomy import DOMAINS, Taxonomy
from imagenet_trainer.system.files import AnyPath
from imagenet_trainer.viz.class_order import Span, spans
from imagenet_trainer.viz.confusion import DARK_TO_BRIGHT, SIDE, Scale, draw
from imagenet_trainer.viz.style import FAINT, INK, figure_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DPI = 100
# Pixels around the matrix; on the left and below stand names.
_LEFT, _RIGHT, _TOP, _BOTTOM = 205, 95, 80, 205
_NAMED = 110  # classes whose names can be read beside 1,000 pixels
_LABEL = 13  # pixels that a group's name needs
_LONGEST = 22  # letters of a class name
_MARK = 5  # pixels from the matrix to a group's line
_OUTER = 152  # pixels from the matrix to a domain's line


_NOTE = "answers"


class Sides(NamedTuple):
    """What stands along both sides: names of the classes by label, their order, their groups."""

    names: Sequence[str]
    order: np.ndarray  # the class at each position, int64 (classes,)
    taxonomy: Optional[Taxonomy] = None


def draw_figure(
    matrix: np.ndarray, sides: Sides, title: str, subtitle: str, note: str = ""
) -> bytes:
    """A matrix of counts, int64 (classes, classes) by label, with all around it: a PNG file.

    Rows are true classes. 1,000 x 1,000 of its pixels are those that `confusion.draw` gives for
    the matrix in this order. `note` is kept in the file, for `note_in`.
    """
    ordered = matrix[np.ix_(sides.order, sides.order)]
    scale = Scale.of(ordered)
    width, height = _LEFT + SIDE + _RIGHT, _TOP + SIDE + _BOTTOM
    with figure_of(width / _DPI, height / _DPI, False, _DPI) as figure:
        axes = _place(figure, _LEFT, _BOTTOM, SIDE, SIDE)
        axes.set(xlim=(0, len(matrix)), ylim=(len(matrix), 0), xticks=[], yticks=[])
        axes.patch.set_visible(False)
        _name_sides(axes, sides)
        _legend(figure, scale)
        top = height - _TOP
        figure.text(_LEFT / width, (top + 44) / height, title, fontsize=14, weight="bold")
        figure.text(_LEFT / width, (top + 20) / height, subtitle, fontsize=11)
        centre: Dict[str, Any] = {"fontsize": 11, "ha": "center", "va": "center"}
        numbered = len(sides.order) > _NAMED and sides.taxonomy is None
        edge, more = (_LEFT - 60, ", by place") if numbered else (14, "")
        middle = SIDE / 2
        figure.text(
            edge / width, (_BOTTOM + middle) / height, "true class" + more, rotation=90, **centre
        )
        figure.text((_LEFT + middle) / width, edge / height, "predicted class" + more, **centre)
        return _with_pixels(figure, draw(ordered), note)


def note_in(path: AnyPath) -> str:
    """The note with which a figure was drawn; "" where there is no such figure."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return str(image.info.get(_NOTE, ""))
    except (OSError, ValueError, SyntaxError):  # as Pillow says that it is not there, or damaged
        return ""


def _place(figure: "Figure", left: float, bottom: float, width: float, height: float) -> "Axes":
    """Axes at a place in pixels from the lower left corner."""
    whole = figure.get_size_inches() * _DPI
    return figure.add_axes(
        (left / whole[0], bottom / whole[1], width / whole[0], height / whole[1])
    )


def _with_pixels(figure: "Figure", image: Any, note: str) -> bytes:
    """The drawn figure with the matrix put in untouched, as a PNG file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    whole = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    whole.paste(image, (_LEFT, _TOP))
    buffer = io.BytesIO()
    about = PngInfo()
    about.add_text(_NOTE, note)
    whole.save(buffer, "PNG", pnginfo=about)
    return buffer.getvalue()


# --- what stands along the sides ---------------------------------------------------------------


def _name_sides(axes: "Axes", sides: Sides) -> None:
    if len(sides.order) <= _NAMED:
        _name_classes(axes, sides)
    elif sides.taxonomy is None:
        _number(axes, len(sides.order))
    else:
        _name_groups(axes, _readable_spans(sides.order, sides.taxonomy))
        _name_domains(axes, _domains(sides.order, sides.taxonomy))


def _name_classes(axes: "Axes", sides: Sides) -> None:
    names = [_short(sides.names[label]) for label in sides.order]
    room = SIDE / len(names)  # pixels
    size = min(10.0, 0.62 * room)
    middle = np.arange(len(names)) + 0.5
    axes.set_xticks(middle, names, rotation=90, fontsize=size)
    axes.set_yticks(middle, names, fontsize=size)
    axes.tick_params(length=3, pad=2)


def _number(axes: "Axes", classes: int) -> None:
    """Positions, where classes are too many to be named and have no groups."""
    from matplotlib.ticker import MaxNLocator

    places = [place for place in MaxNLocator(10).tick_values(0, classes) if place < classes]
    words = [f"{place:.0f}" for place in places]
    axes.set_xticks(np.array(places) + 0.5, words)
    axes.set_yticks(np.array(places) + 0.5, words)


def _readable_spans(order: np.ndarray, taxonomy: Taxonomy) -> List[Span]:
    """Groups along a side: the smallest too, unless their names would not have room."""
    found: List[Span] = []
    for least in (3, 4, 6, 9, 13, 20, 30):
        found = spans(order, taxonomy, least)
        if len(found) * _LABEL <= 0.6 * SIDE:
            break
    return found


def _name_groups(axes: "Axes", found: Sequence[Span]) -> None:
    """A line along each group and a leader to its name, which stands clear of the others."""
    unit = _classes_of(axes) / SIDE  # classes in a pixel
    middles = [(span.first + span.end) / 2 / unit for span in found]
    text: Dict[str, Any] = {"fontsize": 8.5, "clip_on": False}
    lines, leaders = [], []
    for span, middle, place in zip(found, middles, _spread(middles, _LABEL, SIDE)):
        place *= unit
        lines.append(((_MARK * unit, span.first + unit), (_MARK * unit, span.end - unit)))
        leaders.append(((_MARK * unit, middle * unit), (3 * _MARK * unit, place)))
        beside = (3 * _MARK + 3) * unit
        axes.text(-beside, place, span.name, ha="right", va="center_baseline", **text)
        axes.text(place, _classes_of(axes) + beside, span.name, ha="center", va="top",
                  rotation=90, **text)  # fmt: skip
    _draw_lines(axes, lines, 1.4)
    _draw_lines(axes, leaders, 0.6)


def _name_domains(axes: "Axes", found: Sequence[Span]) -> None:
    """Outer lines along animals and objects, their names along these."""
    unit = _classes_of(axes) / SIDE
    out = _OUTER * unit
    text: Dict[str, Any] = {"fontsize": 9.5, "weight": "bold", "clip_on": False}
    for span in found:
        middle, beside = (span.first + span.end) / 2, out + 5 * unit
        axes.text(-beside, middle, span.name, ha="right", va="center", rotation=90, **text)
        axes.text(middle, _classes_of(axes) + beside, span.name, ha="center", va="top", **text)
    _draw_lines(axes, [((out, s.first + unit), (out, s.end - unit)) for s in found], 1.4)


def _draw_lines(
    axes: "Axes",
    lines: Sequence[Tuple[Tuple[float, float], Tuple[float, float]]],
    width: float,
) -> None:
    """Lines from one (away from the matrix, along its side) to another, left and below alike."""
    from matplotlib.collections import LineCollection

    end = _classes_of(axes)
    left = [[(-away, along) for away, along in line] for line in lines]
    below = [[(along, end + away) for away, along in line] for line in lines]
    axes.add_collection(
        LineCollection([*left, *below], colors=INK, linewidths=width, clip_on=False,
                       capstyle="butt"), autolim=False
    )  # fmt: skip


def _spread(places: Sequence[float], room: float, side: float) -> List[float]:
    """Ascending places moved as little as possible so that they are `room` apart.

    Least squares with an order is isotonic regression, here of the places less the room that
    those before need; neighbours that would meet are pooled.
    """
    pools: List[List[float]] = []  # of each its mean and its size
    for number, place in enumerate(places):
        pools.append([place - number * room, 1])
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            mean, size = pools.pop()
            before, others = pools[-1]
            pools[-1] = [(before * others + mean * size) / (others + size), others + size]
    free = [mean for mean, size in pools for _ in range(int(size))]
    last = side - room / 2 - (len(places) - 1) * room
    return [min(max(value, room / 2), last) + room * n for n, value in enumerate(free)]


def _classes_of(axes: "Axes") -> float:
    """Classes along a side."""
    return float(axes.get_xlim()[1])


def _domains(order: np.ndarray, taxonomy: Taxonomy) -> List[Span]:
    """Animals and objects, where each of them stands together."""
    domain = taxonomy.domain[order]
    edges = np.flatnonzero(np.diff(domain)) + 1
    if len(edges) != 1:
        return []
    edge = int(edges[0])
    return [
        Span(0, edge, DOMAINS[int(domain[0])]),
        Span(edge, len(order), DOMAINS[int(domain[-1])]),
    ]


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1].rstrip() + "…"


# --- the legend --------------------------------------------------------------------------------


def _legend(figure: "Figure", scale: Scale) -> None:
    """Counts beside a bar of their colours."""
    from matplotlib.colors import LinearSegmentedColormap

    height, bottom = SIDE // 2, _BOTTOM + SIDE // 4
    axes = _place(figure, _LEFT + SIDE + 28, bottom, 18, height)
    colours = LinearSegmentedColormap.from_list("counts", DARK_TO_BRIGHT)
    axes.imshow(
        np.linspace(0, 1, 256)[:, None], cmap=colours, aspect="auto", origin="lower",
        extent=(0, 1, 0, 1),
    )  # fmt: skip
    ticks = _legend_ticks(scale, height)
    axes.set(xticks=[], ylim=(0, 1))
    axes.set_yticks([level for _, level in ticks], [f"{count:,}" for count, _ in ticks], fontsize=9)
    axes.yaxis.tick_right()
    axes.tick_params(length=3)
    axes.set_title("count", fontsize=10, weight="regular", pad=8)
    nought = _place(figure, _LEFT + SIDE + 28, bottom - 34, 18, 18)
    nought.set(xticks=[], ylim=(0, 1), facecolor="black")
    nought.set_yticks([0.5], ["0"], fontsize=9)
    nought.yaxis.tick_right()
    nought.tick_params(length=3)
    for part in (axes, nought):
        part.spines[:].set_visible(True)
        part.spines[:].set_color(FAINT)


def _legend_ticks(scale: Scale, height: int) -> List[Tuple[int, float]]:
    """Counts and levels that do not stand too close: the greatest, the least, and between them."""
    pairs = list(zip(scale.counts.tolist(), scale.levels.tolist()))
    chosen: List[Tuple[int, float]] = []
    for count, level in [*pairs[-1:], *pairs]:
        if all(abs(level - other) * height >= 16 for _, other in chosen):
            chosen.append((count, level))
    return sorted(chosen)
