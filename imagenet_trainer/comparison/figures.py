"""The plots of a comparison: results in, SVG files out.

Lines differ in dashes and markers as well as in colour.
"""

import math
from itertools import accumulate
from typing import Callable, List, Sequence, Tuple

from matplotlib.axes import Axes
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    MaxNLocator,
    NullFormatter,
    NullLocator,
    StrMethodFormatter,
)

from imagenet_trainer.comparison.analysis import Result, epoch_times, pareto_front
from imagenet_trainer.viz.style import INK, end_at, figure_of, svg

# The palette of Okabe and Ito 2008, which people with colour vision deficiency can distinguish.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#1f2933")
_DASHES = ("-", "--", "-.", ":")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


def _style(index: int) -> dict:
    return {
        "color": _COLOURS[index % len(_COLOURS)],
        "linestyle": _DASHES[index // 2 % len(_DASHES)],
        "marker": _MARKERS[index % len(_MARKERS)],
        "markersize": 4,
        "linewidth": 1.5,
    }


def draw_curves(results: Sequence[Result]) -> bytes:
    """Training and validation loss and rank-1 by epoch, a line for each network."""
    with figure_of(11, 7 + 0.2 * (len(results) // 4)) as figure:
        panels = figure.subplots(2, 2, sharex=True)
        for row, (what, factor, unit) in enumerate((("loss", 1, "nats"), ("rank1", 100, "%"))):
            axes_of_row = panels[row]
            for axes, side, title in zip(axes_of_row, ("train", "val"), ("training", "validation")):
                for index, one in enumerate(results):
                    axes.plot(
                        [epoch.epoch for epoch in one.epochs],
                        [factor * getattr(epoch, f"{side}_{what}") for epoch in one.epochs],
                        label=one.name, **_style(index),
                    )  # fmt: skip
                if what == "loss":
                    _scale_losses(axes, [getattr(epoch, f"{side}_loss") for one in results
                                         for epoch in one.epochs])  # fmt: skip
                if what == "rank1":
                    end_at(axes, 100)
                axes.set_title(f"{title} {what.replace('rank1', 'rank-1')}, {unit}")
                axes.grid(True)
                axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        for axes in panels[1]:
            axes.set_xlabel("epoch")
        handles, labels = panels[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
        return svg(figure)


def draw_times(results: Sequence[Result]) -> bytes:
    """Validation rank-1 over the seconds of training, a line for each network."""
    with figure_of(11, 4.4 + 0.2 * (len(results) // 4)) as figure:
        axes = figure.subplots()
        for index, one in enumerate(results):
            ends = list(accumulate(epoch.seconds for epoch in one.epochs))
            axes.plot(ends, [100 * epoch.val_rank1 for epoch in one.epochs], label=one.name,
                      **_style(index))  # fmt: skip
        end_at(axes, 100)
        axes.set_title("validation rank-1, %")
        axes.set_xlabel("seconds of training")
        axes.set_xlim(left=0)
        axes.grid(True)
        figure.legend(loc="outside lower center", ncols=4, frameon=False)
        return svg(figure)


_COSTS: Tuple[Tuple[str, Callable[[Result], float]], ...] = (
    ("median latency of one image on the CPU, ms", lambda one: one.timings[0].median),
    ("parameters", lambda one: float(one.parameters)),
    ("seconds of training", lambda one: epoch_times(one.epochs).total or math.nan),
)  # fmt: skip


def draw_fronts(results: Sequence[Result]) -> bytes:
    """Accuracy over latency, parameters and training time, with the Pareto fronts.

    A cost that is not known yet of any network has no panel.
    """
    costs = [(title, [cost(one) for one in results]) for title, cost in _COSTS]
    costs = [(title, values) for title, values in costs if not all(map(math.isnan, values))]
    with figure_of(11, 4.6 + 0.2 * (len(results) // 4)) as figure:
        panels = figure.subplots(1, len(costs), sharey=True, squeeze=False)[0]
        for axes, (title, values) in zip(panels, costs):
            _draw_front(axes, results, values)
            axes.set_xlabel(title)
        panels[0].set_ylabel("validation rank-1, %")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
        return svg(figure)


def _draw_front(axes: Axes, results: Sequence[Result], costs: List[float]) -> None:
    gains = [100 * one.rank1 for one in results]
    indexs = pareto_front(costs, gains)
    axes.step([costs[p] for p in indexs], [gains[p] for p in indexs], where="post", color=INK,
              linewidth=1, alpha=0.5, zorder=1)  # fmt: skip
    for index, one in enumerate(results):
        style = _style(index)
        low, high = (100 * bound for bound in one.rank1_interval)
        axes.errorbar(
            costs[index], gains[index],
            [[max(gains[index] - low, 0)], [max(high - gains[index], 0)]],
            color=style["color"], marker=style["marker"], linestyle="", elinewidth=0.8,
            markersize=8 if index in indexs else 5, label=one.name,
            markerfacecolor=style["color"] if index in indexs else "white",
        )  # fmt: skip
    _scale(axes, costs)
    end_at(axes, 100)
    axes.grid(True)


def _scale_losses(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic y axis if one bad epoch would flatten the lines of all others."""
    known = sorted(value for value in values if math.isfinite(value))
    if known and known[0] > 0 and known[-1] > 20 * known[len(known) // 2]:
        _scale(axes, known, "y")


def _scale(axes: Axes, values: Sequence[float], which: str = "x") -> None:
    """A logarithmic axis with plain numbers, if there are positive values."""
    shown = [value for value in values if value > 0]  # not nan
    if not shown:
        return
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = min(shown) / 1.3, max(shown) * 1.3
    axes.set(**{f"{which}scale": "log", f"{which}lim": (low, high)})
    axis.set_major_locator(FixedLocator(ticks(low, high)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))


def ticks(low: float, high: float) -> List[float]:
    """A few round numbers between two positive ones."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    values: List[float] = []
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)):
        values = [s * 10.0**k for k in decades for s in steps if low <= s * 10.0**k <= high]
        if len(values) >= 3:
            break
    return values


def short(value: float) -> str:
    """A number with a letter for thousands, millions or billions."""
    for letter, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:g} {letter}"
    return f"{value:g}"


def learning_curves(results: Sequence[Result]) -> List[Tuple[str, List[Result]]]:
    """Networks trained on several numbers of images, each with its results by that number."""
    series: dict = {}
    for one in results:
        series.setdefault(one.series, []).append(one)
    return [
        (name, sorted(members, key=lambda one: one.train_images))
        for name, members in series.items()
        if len({one.train_images for one in members}) > 1
    ]


def draw_learning_curves(series: Sequence[Tuple[str, Sequence[Result]]]) -> bytes:
    """Accuracy with its intervals, and loss, over the number of training images."""
    with figure_of(11, 4.4) as figure:
        rank, loss = figure.subplots(1, 2)
        counts = sorted({one.train_images for _, members in series for one in members})
        for index, (name, members) in enumerate(series):
            images = [one.train_images for one in members]
            gains = [100 * one.rank1 for one in members]
            lows = [g - 100 * one.rank1_interval[0] for g, one in zip(gains, members)]
            highs = [100 * one.rank1_interval[1] - g for g, one in zip(gains, members)]
            style = _style(index)
            rank.errorbar(images, gains, [[max(v, 0) for v in lows], [max(v, 0) for v in highs]],
                          label=name, capsize=3, elinewidth=0.8, **style)  # fmt: skip
            loss.plot(images, [one.loss for one in members], label=name, **style)
        end_at(rank, 100)
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
