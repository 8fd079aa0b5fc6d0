"""The plots of a comparison: numbers in, SVG files out. Lines differ in dashes and marks too."""

import math
from itertools import accumulate
from typing import TYPE_CHECKING, Callable, List, Sequence, Tuple

from imagenet_trainer.comparison.analysis import Entry, epoch_times, front
from imagenet_trainer.viz.style import INK, figure_of, svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito 2008, which all kinds of colour vision tell apart.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#1f2933")
_DASHES = ("-", "--", "-.", ":")
_MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")


def _style(place: int) -> dict:
    return {
        "color": _COLOURS[place % len(_COLOURS)],
        "linestyle": _DASHES[place // 2 % len(_DASHES)],
        "marker": _MARKS[place % len(_MARKS)],
        "markersize": 4,
        "linewidth": 1.5,
    }


def draw_curves(entries: Sequence[Entry]) -> bytes:
    """Training and validation, loss and rank-1, a line a network."""
    from matplotlib.ticker import MaxNLocator

    with figure_of(11, 7 + 0.2 * (len(entries) // 4)) as figure:
        panels = figure.subplots(2, 2, sharex=True)
        for row, (what, factor, unit) in enumerate((("loss", 1, "nats"), ("rank1", 100, "%"))):
            axes_of_row = panels[row]
            for axes, side, title in zip(axes_of_row, ("train", "val"), ("training", "validation")):
                for place, one in enumerate(entries):
                    axes.plot(
                        [epoch.epoch for epoch in one.epochs],
                        [factor * getattr(epoch, f"{side}_{what}") for epoch in one.epochs],
                        label=one.name, **_style(place),
                    )  # fmt: skip
                if what == "loss":
                    _scale_losses(axes, [getattr(epoch, f"{side}_loss") for one in entries
                                         for epoch in one.epochs])  # fmt: skip
                axes.set_title(f"{title} {what.replace('rank1', 'rank-1')}, {unit}")
                axes.grid(True)
                axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        for axes in panels[1]:
            axes.set_xlabel("epoch")
        handles, labels = panels[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
        return svg(figure)


def draw_times(entries: Sequence[Entry]) -> bytes:
    """Validation rank-1 over the seconds of training that it took, a line a network."""
    with figure_of(11, 4.4 + 0.2 * (len(entries) // 4)) as figure:
        axes = figure.subplots()
        for place, one in enumerate(entries):
            ends = list(accumulate(epoch.seconds for epoch in one.epochs))
            axes.plot(ends, [100 * epoch.val_rank1 for epoch in one.epochs], label=one.name,
                      **_style(place))  # fmt: skip
        axes.set_title("validation rank-1, %")
        axes.set_xlabel("seconds of training")
        axes.set_xlim(left=0)
        axes.grid(True)
        figure.legend(loc="outside lower center", ncols=4, frameon=False)
        return svg(figure)


_COSTS: Tuple[Tuple[str, Callable[[Entry], float]], ...] = (
    ("ms for one image, median", lambda one: one.timings[0].median),
    ("parameters", lambda one: float(one.parameters)),
    ("seconds of training", lambda one: epoch_times(one.epochs).total or math.nan),
)  # fmt: skip


def draw_fronts(entries: Sequence[Entry]) -> bytes:
    """Accuracy over what it costs, with the Pareto fronts: left and up is better."""
    with figure_of(11, 4.6 + 0.2 * (len(entries) // 4)) as figure:
        panels = figure.subplots(1, len(_COSTS), sharey=True)
        for axes, (title, cost) in zip(panels, _COSTS):
            _draw_front(axes, entries, [cost(one) for one in entries])
            axes.set_xlabel(title)
        panels[0].set_ylabel("validation rank-1, %")
        panels[0].set_title(f"on {entries[0].timings[0].device}", fontsize=9, fontweight="normal")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
        return svg(figure)


def _draw_front(axes: "Axes", entries: Sequence[Entry], costs: List[float]) -> None:
    gains = [100 * one.rank1 for one in entries]
    places = front(costs, gains)
    axes.step([costs[p] for p in places], [gains[p] for p in places], where="post", color=INK,
              linewidth=1, alpha=0.5, zorder=1)  # fmt: skip
    for place, one in enumerate(entries):
        style = _style(place)
        low, high = (100 * bound for bound in one.rank1_interval)
        axes.errorbar(
            costs[place], gains[place],
            [[max(gains[place] - low, 0)], [max(high - gains[place], 0)]],
            color=style["color"], marker=style["marker"], linestyle="", elinewidth=0.8,
            markersize=8 if place in places else 5, label=one.name,
            markerfacecolor=style["color"] if place in places else "white",
        )  # fmt: skip
    _scale(axes, costs)
    axes.grid(True)


def _scale_losses(axes: "Axes", values: Sequence[float]) -> None:
    """A logarithmic y axis where one bad epoch would press all others onto the ground."""
    known = sorted(value for value in values if math.isfinite(value))
    if known and known[0] > 0 and known[-1] > 20 * known[len(known) // 2]:
        _scale(axes, known, "y")


def _scale(axes: "Axes", values: Sequence[float], which: str = "x") -> None:
    """A logarithmic axis with plain numbers, where there is something positive to show."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    shown = [value for value in values if value > 0]  # not nan
    if not shown:
        return
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = min(shown) / 1.3, max(shown) * 1.3
    axes.set(**{f"{which}scale": "log", f"{which}lim": (low, high)})
    axis.set_major_locator(FixedLocator(ticks(low, high)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, place: short(value)))


def ticks(low: float, high: float) -> List[float]:
    """Round numbers between two positive ones: a few for any range."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found: List[float] = []
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)):
        found = [step * 10.0**k for k in decades for step in steps if low <= step * 10.0**k <= high]
        if len(found) >= 3:
            break
    return found


def short(value: float) -> str:
    """A number with its thousands or millions as a letter."""
    for letter, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:g} {letter}"
    return f"{value:g}"


def learning_curves(entries: Sequence[Entry]) -> List[Tuple[str, List[Entry]]]:
    """Networks that were trained on several numbers of images, each with its entries by them."""
    series: dict = {}
    for one in entries:
        series.setdefault(one.series, []).append(one)
    return [
        (name, sorted(members, key=lambda one: one.train_images))
        for name, members in series.items()
        if len({one.train_images for one in members}) > 1
    ]


def draw_learning_curves(series: Sequence[Tuple[str, Sequence[Entry]]]) -> bytes:
    """Accuracy and loss over the number of training images, with the intervals of accuracy."""
    from matplotlib.ticker import NullFormatter, StrMethodFormatter

    with figure_of(11, 4.4) as figure:
        rank, loss = figure.subplots(1, 2)
        counts = sorted({one.train_images for _, members in series for one in members})
        for place, (name, members) in enumerate(series):
            images = [one.train_images for one in members]
            gains = [100 * one.rank1 for one in members]
            lows = [g - 100 * one.rank1_interval[0] for g, one in zip(gains, members)]
            highs = [100 * one.rank1_interval[1] - g for g, one in zip(gains, members)]
            style = _style(place)
            rank.errorbar(images, gains, [[max(v, 0) for v in lows], [max(v, 0) for v in highs]],
                          label=name, capsize=3, elinewidth=0.8, **style)  # fmt: skip
            loss.plot(images, [one.loss for one in members], label=name, **style)
        rank.set_title("validation rank-1, %, with 95 % intervals")
        loss.set_title("validation loss, nats")
        for axes in (rank, loss):
            axes.set_xscale("log")
            axes.set_xticks(counts)
            axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.set_xlabel("training images")
            axes.grid(True)
        rank.legend(frameon=False)
        return svg(figure)
