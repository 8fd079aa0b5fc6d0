"""Plots of learning rates: a schedule by epoch, a range test by rate."""

from typing import Any, Optional, Sequence

from matplotlib.axis import Axis
from matplotlib.ticker import FuncFormatter

from imagenet_trainer.viz.style import BLUE, FAINT, ORANGE, figure_of, png


def draw_schedule(epochs: Sequence[float], rates: Sequence[float], title: str) -> bytes:
    """The learning rate by epoch, on a linear and on a logarithmic scale, as PNG."""
    with figure_of(10, 3.6) as figure:
        linear, logarithmic = figure.subplots(1, 2)
        for axes, scale in ((linear, "linear"), (logarithmic, "log")):
            axes.plot(epochs, rates, color=BLUE, linewidth=1.6)
            axes.set_yscale(scale)
            axes.set_xlabel("epoch")
            axes.grid(True)
        positive = [rate for rate in rates if rate > 0]
        if positive:
            # The last rates of a schedule that falls to zero would take up most of the axis.
            least = max(min(positive), max(positive) * 1e-6)
            logarithmic.set_ylim(least / 1.5, max(positive) * 1.5)
        _use_plain_numbers(logarithmic.yaxis)
        linear.set_ylim(bottom=0)
        linear.set_title(title)
        logarithmic.set_title("the same, logarithmic")
        return png(figure)


def draw_range(
    rates: Sequence[float],
    losses: Sequence[float],
    smoothed: Sequence[float],
    suggested: Optional[float],
    title: str,
) -> bytes:
    """The loss of a range test by learning rate, raw and smoothed, as PNG."""
    with figure_of(7, 4.2) as figure:
        axes = figure.subplots()
        axes.plot(rates, losses, color=FAINT, linewidth=1, label="loss of each update")
        axes.plot(rates, smoothed, color=BLUE, linewidth=1.8, label="smoothed")
        if suggested is not None:
            axes.axvline(suggested, color=ORANGE, linewidth=1.2, label=f"--lr {suggested:.2g}")
        axes.set_xscale("log")
        _use_plain_numbers(axes.xaxis)
        # The diverging end would flatten the rest of the line.
        low, high = min(smoothed), smoothed[0]
        axes.set_ylim(low - 0.3 * (high - low) - 0.02, high + 0.6 * (high - low) + 0.1)
        axes.set_xlabel("learning rate")
        axes.set_ylabel("cross-entropy")
        axes.grid(True)
        axes.legend(frameon=False)
        axes.set_title(title)
        return png(figure)


def _use_plain_numbers(axis: Axis) -> None:
    """0.001 instead of powers of ten, which are math text and not rendered in this style."""

    def plain(value: float, _: Any) -> str:
        return f"{value:g}"

    axis.set_major_formatter(FuncFormatter(plain))
