"""The plots of a report: arrays in, SVG files out.

Lines differ in dashes and markers as well as in colour.
"""

from typing import Dict, List, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from imagenet_trainer.viz.style import FAINT, end_at, figure_of, svg

# Blue and vermilion of Okabe and Ito 2008, for readers with colour vision deficiency.
_BLUE, _VERMILION = "#0072b2", "#d55e00"
_LINES = (("train", _BLUE, "--", "o"), ("val", _VERMILION, "-", "s"))


def draw_curves(history: Sequence[Mapping[str, str]], rank5: bool = True) -> bytes:
    """Loss, rank-1, rank-5 and learning rate by epoch, from the rows of history.csv.

    `rank5`: whether it is drawn.
    """
    epochs = [int(row["epoch"]) for row in history]
    titles = {"loss": "loss, nats", "rank1": "rank-1, %", "rank5": "rank-5, %"}
    if not rank5:
        del titles["rank5"]
    with figure_of(11, 6 if rank5 else 3.4) as figure:
        *panels, rate = figure.subplots(2 if rank5 else 1, 2 if rank5 else 3).ravel()
        for axes, (name, title) in zip(panels, titles.items()):
            for prefix, colour, dashes, marker in _LINES:
                values = _column(history, f"{prefix}_{name}") * (1 if name == "loss" else 100)
                label = {"train": "training, augmented", "val": "validation"}[prefix]
                _line(
                    axes, epochs, values, colour=colour, dashes=dashes, marker=marker, label=label
                )
            axes.set_title(title)
            if name != "loss":
                end_at(axes, 100)
        panels[0].legend(frameon=False, fontsize=9)
        _line(rate, epochs, _column(history, "learning_rate"), colour="#1f2933", dashes="-",
              marker=".", label="")  # fmt: skip
        rate.set_title("learning rate")
        rate.set_ylim(bottom=0)
        for axes in (panels[-1], rate) if rank5 else (*panels, rate):
            axes.set_xlabel("epoch")
        return svg(figure)


def _line(
    axes: Axes,
    epochs: List[int],
    values: np.ndarray,
    *,
    colour: str,
    dashes: str,
    marker: str,
    label: str,
) -> None:
    # Markers at all of many epochs would hide the line.
    axes.plot(
        epochs, values, color=colour, linestyle=dashes, marker=marker, markersize=4,
        markevery=max(1, len(epochs) // 25), linewidth=1.6, label=label,
    )  # fmt: skip
    axes.grid(True)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _column(history: Sequence[Mapping[str, str]], name: str) -> np.ndarray:
    """A column as float64, nan for empty cells."""
    return np.array([float(row[name]) if row[name] else np.nan for row in history])


def draw_calibration(bins: Dict[str, np.ndarray]) -> bytes:
    """The reliability diagram of `evaluation.calibration`: accuracy and images by confidence."""
    images, count = bins["images"], len(bins["images"])
    edges = np.linspace(0, 100, count + 1)
    filled = images > 0
    with figure_of(6.4, 5) as figure:
        top, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        top.plot([0, 100], [0, 100], color=FAINT, linewidth=1.2, label="calibrated", zorder=1)
        top.bar(edges[:-1][filled], 100 * bins["accuracy"][filled], 100 / count, align="edge",
                color=_BLUE, edgecolor="white", linewidth=0.6, label="accuracy")  # fmt: skip
        top.plot(100 * bins["confidence"][filled], 100 * bins["confidence"][filled], "_",
                 color=_VERMILION, markersize=13, markeredgewidth=2,
                 label="mean probability")  # fmt: skip
        top.set(title="accuracy, %", ylim=(0, 100), xlim=(0, 100))
        top.legend(frameon=False, fontsize=9, loc="upper left")
        below.bar(edges[:-1], images, 100 / count, align="edge", color="#7b8794",
                  edgecolor="white", linewidth=0.6)  # fmt: skip
        below.set(title="images", xlabel="probability of the first prediction, %")
        return svg(figure)
