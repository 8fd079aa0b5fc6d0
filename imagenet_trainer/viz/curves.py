"""The learning curves of a run as one picture: rows of history.csv in, PNG out."""

import math
from typing import Any, Dict, List, Mapping, Sequence, Tuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullFormatter, PercentFormatter, StrMethodFormatter

from imagenet_trainer.viz.style import BLUE, ORANGE, end_at, figure_of, png

_TRAIN, _VALIDATION, _RATE = BLUE, ORANGE, "#6a4c93"
_PRECISION = "val_mean_average_precision"  # of trainings with --multi-label only
_MOST_MARKERS = 25  # with more epochs, markers would hide the line


def draw(rows: Sequence[Mapping[str, Any]], title: str, rank5: bool = True) -> bytes:
    """Loss, rank-1 and rank-5, and learning rate by epoch, as a PNG of 1320 x 440 pixels.

    `rows` are those of history.csv, as numbers or text; empty and non-finite cells leave gaps.
    `rank5`: whether it is drawn.
    Raises ValueError without rows.
    """
    if not rows:
        raise ValueError("no epoch to draw")
    columns = _columns(rows)
    style = {"axes.grid": True, "lines.linewidth": 1.8, "legend.frameon": False}
    with figure_of(12, 4) as figure, matplotlib.rc_context(style):
        figure.suptitle(_headline(columns, title), x=0.01, ha="left", fontsize=11)
        loss, rank, rate = figure.subplots(1, 3)
        _lines(loss, columns, [("train_loss", _TRAIN, "-", "training"),
                               ("val_loss", _VALIDATION, "-", "validation")])  # fmt: skip
        loss.set_title("loss (nats)")
        lines = [("train_rank1", _TRAIN, "-", "training, rank-1"),
                 ("train_rank5", _TRAIN, ":", "training, rank-5"),
                 ("val_rank1", _VALIDATION, "-", "validation, rank-1"),
                 ("val_rank5", _VALIDATION, ":", "validation, rank-5")]  # fmt: skip
        lines = lines if rank5 else lines[::2]
        _lines(rank, columns, [*lines, (_PRECISION, "black", "-", "validation, mean precision")])
        rank.set_title("accuracy")
        rank.set_ylim(0, 1)
        end_at(rank, 1)
        rank.yaxis.set_major_formatter(PercentFormatter(1.0))
        _lines(rate, columns, [("learning_rate", _RATE, "-", "")])
        rate.set_title("learning rate at the epoch's end")
        if _spans_decade(columns["learning_rate"]):
            rate.set_yscale("log")
            rate.yaxis.set_minor_formatter(NullFormatter())
        else:
            rate.set_ylim(bottom=0)
        rate.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        for axes in (loss, rank, rate):
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        return png(figure)


def _lines(
    axes: Axes, columns: Mapping[str, List[float]], lines: Sequence[Tuple[str, str, str, str]]
) -> None:
    """Draw a line for each (column, colour, style, label) that has values."""
    marker = "o" if len(columns["epoch"]) <= _MOST_MARKERS else ""
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
    of_vectors = not all(map(math.isnan, columns.get(_PRECISION, ())))
    score = _PRECISION if of_vectors else "val_rank1"
    validated = [
        (value, epoch)
        for epoch, value in zip(columns["epoch"], columns[score])
        if not math.isnan(value)
    ]
    text = f"{title}, epoch {columns['epoch'][-1]:.0f}"
    if validated:
        best, epoch = max(validated, key=lambda pair: (pair[0], -pair[1]))
        name = "mean average precision" if of_vectors else "rank-1"
        text += f": validation {name} {100 * validated[-1][0]:.1f} %"
        text += f", best {100 * best:.1f} % after epoch {epoch:.0f}"
    return text


def _spans_decade(rates: Sequence[float]) -> bool:
    positive = [rate for rate in rates if rate > 0]
    return len(positive) > 1 and max(positive) >= 10 * min(positive)


def _columns(rows: Sequence[Mapping[str, Any]]) -> Dict[str, List[float]]:
    names = (
        "epoch", "train_loss", "train_rank1", "train_rank5", "val_loss", "val_rank1",
        "val_rank5", "learning_rate", _PRECISION,
    )  # fmt: skip
    return {name: [_number(row.get(name)) for row in rows] for name in names}


def _number(cell: Any) -> float:
    try:
        value = float(cell)
    except (TypeError, ValueError):
        return math.nan
    return value if math.isfinite(value) else math.nan
