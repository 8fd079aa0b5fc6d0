"""The style of all plots: matplotlib figures without the global state of pyplot."""

import io
import warnings
from contextlib import contextmanager
from typing import Iterator

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, FAINT, BLUE, ORANGE = "#1f2933", "#d5dbe1", "#2a6f97", "#d1495b"
STYLE = {
    "font.size": 10,
    "font.family": "DejaVu Sans",  # comes with matplotlib and covers most alphabets
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": "#edf0f3",
    "figure.dpi": 110,
    "text.parse_math": False,  # names of files and runs may contain dollar signs
}


def end_at(axes: Axes, whole: float) -> None:
    """End the axis of shares at the whole, 1 or 100; markers on it are drawn completely."""
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, 0), min(high, whole))
    for artist in (*axes.lines, *axes.collections):
        artist.set_clip_on(False)


@contextmanager
def figure_of(
    width: float, height: float, constrained: bool = True, dpi: int = 110
) -> Iterator[Figure]:
    """A figure in this style, width x height inches; `constrained`: a layout places the axes."""
    with matplotlib.rc_context({**STYLE, "figure.dpi": dpi}), warnings.catch_warnings():
        # Letters that the font lacks are drawn as boxes; pages show them as text.
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        yield Figure(figsize=(width, height), layout="constrained" if constrained else None)


def png(figure: Figure) -> bytes:
    """A figure as a PNG file; with one version of matplotlib, equal figures give equal bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def svg(figure: Figure) -> bytes:
    """A figure as an SVG file, text as outlines; equal figures give equal bytes."""
    return vector_file(figure, "svg")


def vector_file(figure: Figure, kind: str) -> bytes:
    """A figure as an svg or pdf file; equal figures give equal bytes."""
    buffer = io.BytesIO()
    dated = {"Date": None} if kind == "svg" else {"CreationDate": None, "Producer": None}
    with matplotlib.rc_context({"svg.hashsalt": "imagenet_trainer", "pdf.fonttype": 42}):
        figure.savefig(buffer, format=kind, metadata={**dated, "Creator": None})
    return buffer.getvalue()
