"""The learning curves of a run as one image: rows of history.csv in, PNG out."""

import io
import math
import warnings
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Sequence, Tuple

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INK, _FAINT = "#1f2933", "#d5dbe1"
_TRAIN, _VALIDATION, _RATE = "#2a6f97", "#d1495b", "#6a4c93"
_STYLE = {
    "font.size": 10,
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "axes.edgecolor": _FAINT,
    "axes.labelcolor": _INK,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#edf0f3",
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "text.parse_math": False,  # a run's name may hold dollars
}
_FEW = 25  # epochs up to which each has a dot


def draw(rows: Sequence[Mapping[str, Any]], title: str) -> bytes:
    """Loss, rank-1 and rank-5, learning rate over the epochs, as a PNG of 1320 x 440 pixels.

    `rows` are those of history.csv, numbers or their text; cells that are empty or not finite
    leave gaps. Raises ValueError without rows.
    """
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, NullFormatter, PercentFormatter, StrMethodFormatter

    if not rows:
        raise ValueError("no epoch to draw")
    columns = _numbers(rows)
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # boxes in a run's name
        figure = Figure(figsize=(12, 4), dpi=110, layout="constrained")
        figure.suptitle(_headline(columns, title), x=0.01, ha="left", fontsize=11)
        loss, rank, rate = figure.subplots(1, 3)
        _lines(loss, columns, [("train_loss", _TRAIN, "-", "training"),
                               ("val_loss", _VALIDATION, "-", "validation")])  # fmt: skip
        loss.set_title("loss (nats)")
        _lines(rank, columns, [("train_rank1", _TRAIN, "-", "training, rank-1"),
                               ("train_rank5", _TRAIN, ":", "training, rank-5"),
                               ("val_rank1", _VALIDATION, "-", "validation, rank-1"),
                               ("val_rank5", _VALIDATION, ":", "validation, rank-5")])  # fmt: skip
        rank.set_title("images right")
        rank.set_ylim(0, 1.02)
        rank.yaxis.set_major_formatter(PercentFormatter(1.0))
        _lines(rate, columns, [("learning_rate", _RATE, "-", "")])
        rate.set_title("learning rate at the epoch's end")
        if _spans_decades(columns["learning_rate"]):
            rate.set_yscale("log")
            rate.yaxis.set_minor_formatter(NullFormatter())
        else:
            rate.set_ylim(bottom=0)
        rate.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        for axes in (loss, rank, rate):
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def _lines(
    axes: "Axes", columns: Mapping[str, List[float]], lines: Sequence[Tuple[str, str, str, str]]
) -> None:
    """One line for each (column, colour, style, label)."""
    marker = "o" if len(columns["epoch"]) <= _FEW else ""
    for column, colour, style, label in lines:
        if not all(map(math.isnan, columns[column])):
            axes.plot(
                columns["epoch"], columns[column], style, color=colour, label=label or None,
                marker=marker, markersize=3.5,
            )  # fmt: skip
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=9)


def _headline(columns: Mapping[str, List[float]], title: str) -> str:
    """The run, its last epoch and its best one."""
    known = [
        (rank1, epoch)
        for epoch, rank1 in zip(columns["epoch"], columns["val_rank1"])
        if not math.isnan(rank1)
    ]
    words = f"{title}, epoch {columns['epoch'][-1]:.0f}"
    if known:
        best, epoch = max(known, key=lambda pair: (pair[0], -pair[1]))
        words += f": validation rank-1 {100 * known[-1][0]:.1f} %"
        words += f", best {100 * best:.1f} % after epoch {epoch:.0f}"
    return words


def _spans_decades(rates: Sequence[float]) -> bool:
    known = [rate for rate in rates if rate > 0]
    return len(known) > 1 and max(known) >= 10 * min(known)


def _numbers(rows: Sequence[Mapping[str, Any]]) -> Dict[str, List[float]]:
    names = (
        "epoch", "train_loss", "train_rank1", "train_rank5", "val_loss", "val_rank1",
        "val_rank5", "learning_rate",
    )  # fmt: skip
    return {name: [_number(row.get(name)) for row in rows] for name in names}


def _number(cell: Any) -> float:
    try:
        value = float(cell)
    except (TypeError, ValueError):
        return math.nan
    return value if math.isfinite(value) else math.nan
