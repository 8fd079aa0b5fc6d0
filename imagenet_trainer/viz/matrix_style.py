"""How a confusion matrix becomes colours: what its cells show, on which scale, in which colours."""

from typing import List, NamedTuple, Sequence, Tuple

import numpy as np

# Only green changes from dark to bright: so the green channel of a picture is also its index into a
# palette of 256 colours, and the GIF is lossless.
DARK_TO_BRIGHT = ["#003c00", "#00ff00"]
"""Colours of the least and of the greatest count."""

SCALES = ("equalised", "linear", "log")
COLOURS = ("green", "cividis", "viridis", "grey")
OMITTED = ("diagonal", "empty")

MORE = ["#5c2e00", "#e69f00", "#ffe9b8"]
FEWER = ["#00304f", "#2b8cd6", "#cfe8ff"]
"""Colours of a difference; orange and blue suit colour vision deficiency."""

_STEPS = 16  # colours of a palette, between which drawing interpolates
# Matplotlib's names, and where the palette begins: darker colours are too close to black, of zero.
_MAPS = {"cividis": ("cividis", 0.2), "viridis": ("viridis", 0.25), "grey": ("gray", 0.25)}


class Style(NamedTuple):
    """What a figure of a confusion matrix shows; the default is that of the bare picture."""

    scale: str = "equalised"  # of SCALES
    colours: str = "green"  # of COLOURS; a difference has its own
    shares: bool = False  # counts are divided by the images of the true class
    without: Tuple[str, ...] = ()  # of OMITTED; empty: classes without images

    def words(self) -> List[str]:
        """The differences from the default, for names of files."""
        default = Style()
        words = ["shares"] if self.shares else []
        words += [self.scale] if self.scale != default.scale else []
        words += [self.colours] if self.colours != default.colours else []
        return words + [f"no-{one}" for one in OMITTED if one in self.without]

    def description(self, classes: int, shown: int) -> str:
        """The differences that are not obvious in a figure of `shown` of so many classes."""
        parts = ["shares of the images of the true class"] if self.shares else []
        parts += [f"{self.scale} scale"] if self.scale != "equalised" else []
        parts += ["without the diagonal"] if "diagonal" in self.without else []
        parts += [f"{shown:,} of {classes:,} classes"] if shown < classes else []
        return ", ".join(parts)

    def order(self, order: np.ndarray, images: np.ndarray) -> np.ndarray:
        """The classes of an order, int64 (n,), that are shown; `images` of each: int64 (n,)."""
        shown = order[images[order] > 0]
        return shown if "empty" in self.without and len(shown) else order


PLAIN = Style()


def colours_of(name: str) -> List[str]:
    """The palette of COLOURS as #rrggbb, from the least to the greatest value; zero is black."""
    if name == "green":
        return DARK_TO_BRIGHT
    # Imported here: every fit and worker would wait for it.
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    title, low = _MAPS[name]
    return [to_hex(colormaps[title](value)) for value in np.linspace(low, 1, _STEPS)]


class Scale:
    """From values to levels between 0 and 1, over one or more grids.

    - `equalised`: the share of the non-zero cells with at most that value, stretched so that the
      least value has level 0 and the greatest 1, as in `datashader.transfer_functions.eq_hist`,
      which takes one image only;
    - `linear`: in proportion to the value, the greatest has 1;
    - `log`: in proportion to log(1 + value / least value).

    Parameters
    ----------
    kind
        of SCALES.
    counts
        for each grid the sizes of its non-zero values, ascending, and the number of cells with
        each: (m,) and (m,). The size of a value is without its sign.

    """

    def __init__(
        self, counts: Sequence[Tuple[np.ndarray, np.ndarray]], kind: str = "equalised"
    ) -> None:
        values = np.concatenate([values for values, _ in counts])
        self._kind = kind
        self.values, index = np.unique(values, return_inverse=True)
        if kind == "equalised":
            cells = np.bincount(index, np.concatenate([number for _, number in counts]))
            share = cells.cumsum() / max(cells.sum(), 1)
            if len(share) > 1:
                share = (share - share[0]) / (1 - share[0])
            self.levels = share
        else:
            self.levels = self._continuous(self.values)

    def _continuous(self, sizes: np.ndarray) -> np.ndarray:
        """The levels of sizes (m,) on the scales other than the equalised one."""
        if not len(self.values):
            return np.zeros(len(sizes))
        if self._kind == "linear":
            return sizes / self.values[-1]
        least = self.values[0]
        return np.log1p(sizes / least) / np.log1p(self.values[-1] / least)

    def __call__(self, grid: np.ndarray) -> np.ndarray:
        """Levels of a grid, float64; nan where the value is zero."""
        if not len(self.values):
            return np.full(grid.shape, np.nan)
        return np.where(grid != 0, np.interp(np.abs(grid), self.values, self.levels), np.nan)

    def ticks(self) -> List[Tuple[float, float]]:
        """Values and levels for a legend, ascending: all values, or the ends and round ones."""
        if self._kind == "equalised" or not len(self.values):
            return list(zip(self.values.tolist(), self.levels.tolist()))
        least, most = self.values[0], self.values[-1]
        steps = [one * 10.0**power for power in range(-6, 10) for one in (1, 2, 5)]
        round_ = [one for one in steps if max(most / 5000, least) < one < most]
        sizes = np.unique([least, *round_, most])
        return list(zip(sizes.tolist(), self._continuous(sizes).tolist()))


def formatted(value: float, style: Style = PLAIN, signed: bool = False) -> str:
    """A value of a cell as text: `1,200`, `12 %`, `+3`."""
    sign = "+" if signed and value > 0 else "-" if value < 0 else ""
    if style.shares:
        return f"{sign}{float(f'{100 * abs(value):.2g}'):g} %"
    return f"{sign}{abs(value):,.0f}"
