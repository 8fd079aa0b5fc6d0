"""Learning rates drawn: a schedule over the epochs, a range test over the rates."""

from typing import TYPE_CHECKING, Any, Optional, Sequence

from imagenet_trainer.viz.style import BLUE, FAINT, ORANGE, figure_of, png

if TYPE_CHECKING:
    from matplotlib.axis import Axis


def draw_schedule(epochs: Sequence[float], rates: Sequence[float], title: str) -> bytes:
    """The rate over the epochs, in plain and in logarithmic measure, as PNG."""
    with figure_of(10, 3.6) as drawn:
        plain, logarithmic = drawn.subplots(1, 2)
        for axes, scale in ((plain, "linear"), (logarithmic, "log")):
            axes.plot(epochs, rates, color=BLUE, linewidth=1.6)
            axes.set_yscale(scale)
            axes.set_xlabel("epoch")
            axes.grid(True)
        above = [rate for rate in rates if rate > 0]
        if above:
            # The very end of a curve that falls to nought would take up all of the image.
            logarithmic.set_ylim(max(min(above), max(above) * 1e-6) / 1.5, max(above) * 1.5)
        _in_plain_numbers(logarithmic.yaxis)
        plain.set_ylim(bottom=0)
        plain.set_title(title)
        logarithmic.set_title("the same, logarithmic")
        return png(drawn)


def draw_range(
    rates: Sequence[float],
    losses: Sequence[float],
    smoothed: Sequence[float],
    suggested: Optional[float],
    title: str,
) -> bytes:
    """The loss of a range test over its rates, raw and smoothed, as PNG."""
    with figure_of(7, 4.2) as drawn:
        axes = drawn.subplots()
        axes.plot(rates, losses, color=FAINT, linewidth=1, label="loss of each update")
        axes.plot(rates, smoothed, color=BLUE, linewidth=1.8, label="smoothed")
        if suggested is not None:
            axes.axvline(suggested, color=ORANGE, linewidth=1.2, label=f"--lr {suggested:.2g}")
        axes.set_xscale("log")
        _in_plain_numbers(axes.xaxis)
        # What it explodes to at the end would flatten everything before.
        low, high = min(smoothed), smoothed[0]
        axes.set_ylim(low - 0.3 * (high - low) - 0.02, high + 0.6 * (high - low) + 0.1)
        axes.set_xlabel("learning rate")
        axes.set_ylabel("cross-entropy")
        axes.grid(True)
        axes.legend(frameon=False)
        axes.set_title(title)
        return png(drawn)


def _in_plain_numbers(axis: "Axis") -> None:
    """0.001 instead of powers of ten in mathematical type, which the style leaves off."""
    from matplotlib.ticker import FuncFormatter

    def plain(value: float, _: Any) -> str:
        return f"{value:g}"

    axis.set_major_formatter(FuncFormatter(plain))
