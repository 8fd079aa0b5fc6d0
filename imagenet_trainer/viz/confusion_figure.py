"""A confusion matrix with axes: names of classes or groups, a legend, a title.

The matrix itself is the picture that `confusion` draws, pixel for pixel, in an order of
`class_order`; this module draws what is around it, and up to 30 classes the counts in the cells.
"""

import io
from functools import cache, partial
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from imagenet_trainer.metrics.confusion import as_counts, reordered
from imagenet_trainer.metrics.taxonomy import DOMAINS, Taxonomy
from imagenet_trainer.system.files import AnyPath
from imagenet_trainer.viz.class_order import Span, spans
from imagenet_trainer.viz.confusion import (
    SIDE,
    Surroundings,
    caption,
    grid_of,
    picture_of,
    scale_of,
)
from imagenet_trainer.viz.matrix_legend import draw_legend
from imagenet_trainer.viz.matrix_style import PLAIN, Scale, Style, colours_of, formatted
from imagenet_trainer.viz.style import INK, figure_of, vector_file

_DPI = 100
# Pixels around the matrix; names are on the left and below.
_LEFT, _RIGHT, _TOP, _BOTTOM = 205, 95, 80, 205
_MOST_NUMBERED = 30  # classes whose counts are legible in the cells
_MOST_NAMED = 110  # classes whose names are legible beside 1,000 pixels
_LABEL = 13  # pixels for the name of a group
_LONGEST = 22  # letters of a class name at 10 points
_SMALLEST = 8.0  # points of a title
_SIDE_TITLE = 14  # pixels from the edge of the figure to the middle of the title of a side
_EDGE = 12  # pixels that stay free to the right of a title
_MARK = 5  # pixels from the matrix to the line of a group
_BAR = 14  # pixels from the matrix to the bar of colours
_CURVE = 235  # pixels for the curve below an animated matrix; videos need an even height
_OUTER = 152  # pixels from the matrix to the line of a domain
_WHITE = 255  # its index in the palette of an animation
_NOTE = "answers"  # the key of the note in the PNG file


class Sides(NamedTuple):
    """The labels of both sides: names of the classes by label, their order, their groups."""

    names: Sequence[str]
    order: np.ndarray  # the class at each position, int64 (classes,)
    taxonomy: Optional[Taxonomy] = None


def draw_figure(
    matrix: Any,
    sides: Sides,
    title: str,
    subtitle: str,
    *,
    note: str = "",
    kind: str = "png",
    style: Style = PLAIN,
    images: Optional[np.ndarray] = None,
) -> bytes:
    """Draw a matrix of counts by label, or the difference of two, with axes: a file.

    Parameters
    ----------
    matrix
        as `confusion.draw` takes it; rows are true classes. The 1,000 x 1,000 pixels of the matrix
        are those of `confusion.draw` for the matrix in the order of `sides`, below the counts of up
        to 30 classes.
    sides, title, subtitle
        the texts; `sides` has the classes that are shown.
    note
        is stored in a PNG file, for `note_in`.
    kind
        png, or svg or pdf, in which everything but the pixels is vector graphics.
    style, images
        as `confusion.draw` takes them, `images` by label.

    """
    ordered = reordered(as_counts(matrix), sides.order)
    images = None if images is None else images[sides.order]
    grid = grid_of(ordered, SIDE, style, images)
    signed, classes, height = bool((grid < 0).any()), len(sides.order), _TOP + SIDE + _BOTTOM
    with figure_of((_LEFT + SIDE + _RIGHT) / _DPI, height / _DPI, False, _DPI) as figure:
        scale = scale_of(grid, style)
        axes = _surround(figure, sides, scale, style, signed=signed)
        _write_titles(figure, title, subtitle)
        picture = picture_of(grid, scale, style)
        texts = {}
        if classes <= _MOST_NUMBERED:
            values = grid_of(ordered, classes, style, images)
            texts = {
                (row, column): formatted(values[row, column], style, signed)
                for row, column in zip(*map(np.ndarray.tolist, values.nonzero()))
            }
        if kind == "png":
            _write_counts(picture, texts, classes)
            return _with_pixels(figure, picture, note)
        axes.imshow(picture, extent=(0, classes, classes, 0), interpolation="none", aspect="auto")
        _write_vector_counts(axes, picture, texts, classes)
        return vector_file(figure, kind)


def surroundings(sides: Sides, title: str, style: Style = PLAIN) -> Surroundings:
    """Axes, names, legend and the curve of the accuracy around the pictures of an animation.

    The matrices of the frames must be in the order of `sides` and are drawn in the same style.
    """

    def draw_around(
        scale: Scale, epochs: Sequence[Tuple[int, Optional[float]]]
    ) -> Callable[[int, Image.Image], Image.Image]:
        width, height = _LEFT + SIDE + _RIGHT, _TOP + SIDE + _BOTTOM + _CURVE
        known = [(epoch, 100 * rank1) for epoch, rank1 in epochs if rank1 is not None]
        with figure_of(width / _DPI, height / _DPI, False, _DPI) as figure:
            _surround(figure, sides, scale, style, below=_CURVE)
            _write_titles(figure, title, "")
            curve = _add_axes(figure, _LEFT, 50, SIDE, _CURVE - 90)
            curve.plot(*zip(*known) if known else ([], []), color=INK, linewidth=1.4)
            curve.set_title("rank-1, %", fontsize=11)
            curve.set_xlabel("epoch")
            curve.grid(True)
            curve.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            base = _raster(figure)
            points = {epoch: curve.transData.transform((epoch, share)) for epoch, share in known}

        def place(number: int, picture: Image.Image) -> Image.Image:
            epoch, frame = epochs[number][0], base.copy()
            frame.paste(picture, (_LEFT, _TOP))
            pen = ImageDraw.Draw(frame)
            pen.text((_LEFT, _TOP - 34), caption(*epochs[number]), "black", _font(20))
            if epoch in points:
                x, y = points[epoch]
                pen.ellipse(
                    (x - 7, height - y - 7, x + 7, height - y + 7),
                    colours_of(style.colours)[-1],
                    "black",
                    2,
                )
            indexed = frame.quantize(palette=_palette(style.colours), dither=Image.Dither.NONE)
            # `quantize` looks colours up in steps of four, so white would become a light grey.
            white = (np.asarray(frame) == 255).all(axis=2)
            indexed.paste(_WHITE, mask=Image.fromarray(white))
            return indexed

        return place

    return draw_around


@cache
def _palette(colours: str) -> Image.Image:
    """192 colours of the cells and 64 greys, of which _WHITE is the last, for `quantize`."""
    palette = Image.new("P", (1, 1))
    scale = LinearSegmentedColormap.from_list("", colours_of(colours))
    cells = (255 * scale(np.linspace(0, 1, 192))[:, :3]).round().astype(int)
    greys = np.linspace(0, 255, 64).round().astype(int)[:, None].repeat(3, axis=1)
    palette.putpalette(np.vstack([cells, greys]).ravel().tolist())
    return palette


def _surround(
    figure: Figure, sides: Sides, scale: Scale, style: Style, below: int = 0, signed: bool = False
) -> Axes:
    """Empty axes for the matrix, with the names of both sides and the legend.

    `below`: pixels that stay free at the bottom; `signed`: the matrix is a difference.
    """
    classes, bottom = len(sides.order), _BOTTOM + below
    width, height = figure.get_size_inches() * _DPI
    axes = _add_axes(figure, _LEFT, bottom, SIDE, SIDE)
    axes.set(xlim=(0, classes), ylim=(classes, 0), xticks=[], yticks=[])
    axes.patch.set_visible(False)
    _name_sides(axes, sides)
    left, middle = _LEFT + SIDE + _BAR, bottom + SIDE / 2
    draw_legend(partial(_add_axes, figure), left, middle, SIDE // 2, scale, style, signed)
    centre: Dict[str, Any] = {"fontsize": 11, "ha": "center", "va": "center"}
    suffix = ", by position" if classes > _MOST_NAMED and sides.taxonomy is None else ""
    edge = _LEFT - _room_of_names(figure, axes)
    true, predicted = "true class" + suffix, "predicted class" + suffix
    figure.text(edge / width, middle / height, true, rotation=90, **centre)
    figure.text((_LEFT + SIDE / 2) / width, (edge + below) / height, predicted, **centre)
    return axes


def _room_of_names(figure: Figure, axes: Axes) -> float:
    """Pixels from the matrix to the middle of the title of a side, beyond the names or numbers."""
    names = axes.get_yticklabels()
    if not names:  # groups, whose lines and domains take all the room
        return _LEFT - _SIDE_TITLE
    renderer = FigureCanvasAgg(figure).get_renderer()
    widest = max(one.get_window_extent(renderer).width for one in names)
    return min(widest + 2 * _SIDE_TITLE, _LEFT - _SIDE_TITLE)


def _write_titles(figure: Figure, title: str, subtitle: str) -> None:
    """The texts above the matrix, smaller or cut if they are longer than the figure is wide."""
    width, height = figure.get_size_inches() * _DPI
    renderer, room = FigureCanvasAgg(figure).get_renderer(), width - _LEFT - _EDGE
    for above, text, size, weight in ((44, title, 14.0, "bold"), (20, subtitle, 11.0, "normal")):
        place = _LEFT / width, (height - _TOP + above) / height
        one = figure.text(*place, text, fontsize=size, weight=weight)
        # Widths of letters are whole pixels, so that they are not in proportion to the size.
        while (wide := one.get_window_extent(renderer).width) > room:
            if size > _SMALLEST:
                size = max(_SMALLEST, min(size - 0.5, size * room / wide))
                one.set_fontsize(size)
            else:
                text = _short(text, min(len(text) - 1, int(len(text) * room / wide)))
                one.set_text(text)


def note_in(path: AnyPath) -> str:
    """The note of a figure; "" if the file is missing or is not such a figure."""
    try:
        with Image.open(path) as image:
            return str(image.info.get(_NOTE, ""))
    except (OSError, ValueError, SyntaxError):  # Pillow's errors for missing and damaged files
        return ""


def _add_axes(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes at a position in pixels from the lower left corner."""
    size = figure.get_size_inches() * _DPI
    return figure.add_axes((left / size[0], bottom / size[1], width / size[0], height / size[1]))


def _with_pixels(figure: Figure, picture: Image.Image, note: str) -> bytes:
    """The figure as a PNG file, with the picture of the matrix pasted unchanged."""
    image = _raster(figure)
    image.paste(picture, (_LEFT, _TOP))
    buffer = io.BytesIO()
    info = PngInfo()
    info.add_text(_NOTE, note)
    image.save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def _raster(figure: Figure) -> Image.Image:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def _write_vector_counts(
    axes: Axes, picture: Image.Image, texts: Mapping[Tuple[int, int], str], classes: int
) -> None:
    """Texts in their cells."""
    side = SIDE / classes
    longest = max(map(len, texts.values()), default=1)
    size = min(20.0, 0.3 * side, 1.2 * side / longest)  # points
    for (row, column), text in texts.items():
        colour = _legible_on(picture, (column + 0.5) * side, (row + 0.5) * side)
        axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", fontsize=size,
                  color=colour)  # fmt: skip


def _write_counts(picture: Image.Image, texts: Mapping[Tuple[int, int], str], classes: int) -> None:
    """Write texts into their cells."""
    side = SIDE / classes
    size = int(min(28, 0.5 * side))
    while size > 6 and any(_font(size).getlength(one) > side - 4 for one in {*texts.values()}):
        size -= 1
    pen = ImageDraw.Draw(picture)
    for (row, column), text in texts.items():
        place = ((column + 0.5) * side, (row + 0.5) * side)
        pen.text(place, text, _legible_on(picture, *place), _font(size), anchor="mm")


def _legible_on(picture: Image.Image, x: float, y: float) -> str:
    """The colour of text that is legible on a pixel."""
    red, green, blue = picture.getpixel((int(x), int(y)))  # type: ignore[misc]
    return "black" if 0.21 * red + 0.72 * green + 0.07 * blue > 100.8 else "white"


@cache
def _font(size: int) -> Any:
    return ImageFont.load_default(size)


# --- names along the sides ---------------------------------------------------------------------


def _name_sides(axes: Axes, sides: Sides) -> None:
    if len(sides.order) <= _MOST_NAMED:
        _name_classes(axes, sides)
    elif sides.taxonomy is None:
        _number(axes, len(sides.order))
    else:
        _name_groups(axes, _readable_spans(sides.order, sides.taxonomy))
        _name_domains(axes, _domains(sides.order, sides.taxonomy))


def _name_classes(axes: Axes, sides: Sides) -> None:
    size = min(10.0, 0.62 * SIDE / len(sides.order))  # points
    letters = round(_LONGEST * 10 / size)
    names = [_short(sides.names[label], letters) for label in sides.order]
    middle = np.arange(len(names)) + 0.5
    axes.set_xticks(middle, names, rotation=90, fontsize=size)
    axes.set_yticks(middle, names, fontsize=size)
    axes.tick_params(length=3, pad=2)


def _number(axes: Axes, classes: int) -> None:
    """Positions, if there are too many classes to name them and they have no groups."""
    positions = [tick for tick in MaxNLocator(10).tick_values(0, classes) if tick < classes]
    texts = [f"{position:.0f}" for position in positions]
    axes.set_xticks(np.array(positions) + 0.5, texts)
    axes.set_yticks(np.array(positions) + 0.5, texts)


def _readable_spans(order: np.ndarray, taxonomy: Taxonomy) -> List[Span]:
    """Groups along a side, without the smallest ones if there is no room for their names."""
    groups: List[Span] = []
    for least in (3, 4, 6, 9, 13, 20, 30):
        groups = spans(order, taxonomy, least)
        if len(groups) * _LABEL <= 0.6 * SIDE:
            break
    return groups


def _name_groups(axes: Axes, groups: Sequence[Span]) -> None:
    """A line along each group and a leader to its name; names do not overlap."""
    unit = _classes_of(axes) / SIDE  # classes in a pixel
    middles = [(span.first + span.end) / 2 / unit for span in groups]
    text: Dict[str, Any] = {"fontsize": 8.5, "clip_on": False}
    lines, leaders = [], []
    for span, middle, name_at in zip(groups, middles, _spread(middles, _LABEL, SIDE)):
        name_at *= unit
        lines.append(((_MARK * unit, span.first + unit), (_MARK * unit, span.end - unit)))
        leaders.append(((_MARK * unit, middle * unit), (3 * _MARK * unit, name_at)))
        beside = (3 * _MARK + 3) * unit
        axes.text(-beside, name_at, span.name, ha="right", va="center_baseline", **text)
        axes.text(name_at, _classes_of(axes) + beside, span.name, ha="center", va="top",
                  rotation=90, **text)  # fmt: skip
    _draw_lines(axes, lines, 1.4)
    _draw_lines(axes, leaders, 0.6)


def _name_domains(axes: Axes, domains: Sequence[Span]) -> None:
    """Outer lines along animals and objects, and their names."""
    unit = _classes_of(axes) / SIDE
    out = _OUTER * unit
    text: Dict[str, Any] = {"fontsize": 9.5, "weight": "bold", "clip_on": False}
    for span in domains:
        middle, beside = (span.first + span.end) / 2, out + 5 * unit
        axes.text(-beside, middle, span.name, ha="right", va="center", rotation=90, **text)
        axes.text(middle, _classes_of(axes) + beside, span.name, ha="center", va="top", **text)
    _draw_lines(axes, [((out, s.first + unit), (out, s.end - unit)) for s in domains], 1.4)


def _draw_lines(
    axes: Axes, lines: Sequence[Tuple[Tuple[float, float], Tuple[float, float]]], width: float
) -> None:
    """Draw lines on the left and below. Ends are (distance from the matrix, position along it)."""
    end = _classes_of(axes)
    left = [[(-away, along) for away, along in line] for line in lines]
    below = [[(along, end + away) for away, along in line] for line in lines]
    axes.add_collection(
        LineCollection([*left, *below], colors=INK, linewidths=width, clip_on=False,
                       capstyle="butt"), autolim=False
    )  # fmt: skip


def _spread(positions: Sequence[float], room: float, side: float) -> List[float]:
    """Ascending positions, moved as little as possible so that they are `room` apart.

    Least squares under an order is isotonic regression, here of the positions minus the room of
    those before; neighbours that would overlap are pooled.
    """
    pools: List[List[float]] = []  # mean and size of each
    for number, position in enumerate(positions):
        pools.append([position - number * room, 1])
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            mean, size = pools.pop()
            before, others = pools[-1]
            pools[-1] = [(before * others + mean * size) / (others + size), others + size]
    free = [mean for mean, size in pools for _ in range(int(size))]
    last = side - room / 2 - (len(positions) - 1) * room
    return [min(max(value, room / 2), last) + room * n for n, value in enumerate(free)]


def _classes_of(axes: Axes) -> float:
    """The number of classes along a side."""
    return float(axes.get_xlim()[1])


def _domains(order: np.ndarray, taxonomy: Taxonomy) -> List[Span]:
    """Animals and objects, if the classes of each are contiguous."""
    domain = taxonomy.domain[order]
    edges = np.flatnonzero(np.diff(domain)) + 1
    if len(edges) != 1:
        return []
    edge = int(edges[0])
    return [
        Span(0, edge, DOMAINS[int(domain[0])]),
        Span(edge, len(order), DOMAINS[int(domain[-1])]),
    ]


def _short(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1].rstrip() + "…"
