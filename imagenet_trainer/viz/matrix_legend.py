"""The legend of a confusion matrix: which colour is which value."""

from typing import Any, Callable, List, Sequence, Tuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap

from imagenet_trainer.viz.matrix_style import FEWER, MORE, Scale, Style, colours_of, formatted
from imagenet_trainer.viz.style import FAINT

_WIDTH = 18  # pixels of the bar of colours, and of the square for zero
_ROOM = 16  # pixels between two ticks

Place = Callable[[float, float, float, float], Axes]
"""Adds axes at a position in pixels: left, bottom, width, height."""


def draw_legend(
    place: Place, left: float, middle: float, height: int, scale: Scale, style: Style, signed: bool
) -> None:
    """Bars of colours with their values, `height` pixels high around `middle`, and that of zero.

    `signed`: the legend of a difference, with a bar for more and one for fewer.
    """
    title = "share" if style.shares else "count"
    if not signed:
        bottom = middle - height / 2
        bar = _bar(place(left, bottom, _WIDTH, height), colours_of(style.colours), False)
        _write_ticks(bar, legend_ticks(scale, height), style)
        bar.set_title(title, fontsize=10, weight="regular", pad=8)
        _zero(place(left, bottom - 34, _WIDTH, _WIDTH))
        return
    half = (height - 3 * _WIDTH) // 2
    for colours, bottom, inverted in (
        (MORE, middle + 1.5 * _WIDTH, False), (FEWER, middle - 1.5 * _WIDTH - half, True),
    ):  # fmt: skip
        bar = _bar(place(left, bottom, _WIDTH, half), colours, inverted)
        _write_ticks(bar, legend_ticks(scale, half), style, -1 if inverted else 1)
        if not inverted:
            bar.set_title(title, fontsize=10, weight="regular", pad=8)
    _zero(place(left, middle - _WIDTH / 2, _WIDTH, _WIDTH))


def legend_ticks(scale: Scale, height: int) -> List[Tuple[float, float]]:
    """Values and levels that are not too close: the greatest, the least, and some in between."""
    pairs = scale.ticks()
    chosen: List[Tuple[float, float]] = []
    for value, level in [*pairs[-1:], *pairs]:
        if all(abs(level - other) * height >= _ROOM for _, other in chosen):
            chosen.append((value, level))
    return sorted(chosen)


def _bar(axes: Axes, colours: Sequence[str], inverted: bool) -> Axes:
    """A bar of colours; `inverted`: the greatest level is at the bottom."""
    axes.imshow(
        np.linspace(0, 1, 256)[:, None], cmap=LinearSegmentedColormap.from_list("", colours),
        aspect="auto", origin="lower", extent=(0, 1, 0, 1),
    )  # fmt: skip
    axes.set(xticks=[], ylim=(1, 0) if inverted else (0, 1))
    return _framed(axes)


def _write_ticks(
    axes: Axes, ticks: Sequence[Tuple[float, float]], style: Style, sign: int = 0
) -> None:
    texts = [formatted((sign or 1) * value, style, signed=sign > 0) for value, _ in ticks]
    axes.set_yticks([level for _, level in ticks], texts, fontsize=9)


def _zero(axes: Axes) -> None:
    axes.set(xticks=[], ylim=(0, 1), facecolor="black")
    axes.set_yticks([0.5], ["0"], fontsize=9)
    _framed(axes)


def _framed(axes: Axes) -> Any:
    axes.yaxis.tick_right()
    axes.tick_params(length=3)
    axes.spines[:].set_visible(True)
    axes.spines[:].set_color(FAINT)
    return axes
