"""The style of all plots, and figures without pyplot's global state."""

import io
from contextlib import contextmanager
from typing import TYPE_CHECKING, Iterator

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, FAINT, BLUE, ORANGE = "#1f2933", "#d5dbe1", "#2a6f97", "#d1495b"
_STYLE = {
    "font.size": 10,
    "font.family": "DejaVu Sans",  # comes with matplotlib, and has most alphabets
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
    "text.parse_math": False,  # a file's name may hold dollars
}


@contextmanager
def figure(width: float, height: float) -> Iterator["Figure"]:
    """A figure in our style, without the global state of pyplot."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        yield Figure(figsize=(width, height), layout="constrained")


def png(figure: "Figure") -> bytes:
    """A figure as a PNG file; the same figure gives the same bytes with one matplotlib."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor="white", metadata={"Software": None})
    return buffer.getvalue()
