"""Cells of the report's tables: what a cell shows, and the value by which it is sorted."""

import math
from typing import Collection, Mapping, NamedTuple, Optional, Sequence, Tuple

from imagenet_trainer.viz.html import percent as as_percent


class Column(NamedTuple):
    """A heading, and whether its cells are sorted as text."""

    title: str
    is_text: bool = False
    minor: bool = False  # hidden on narrow screens
    order: str = ""  # "ascending" or "descending" if the rows are sorted by it


class Cell(NamedTuple):
    """Text, a smaller text after it, and the number by which it is sorted."""

    text: str
    small: str = ""
    value: Optional[float] = None
    hover: str = ""  # a longer text
    opens: Optional[Mapping[str, object]] = None  # images: true, predicted, group, wrong, change


class Table(NamedTuple):
    """Columns, and rows with a cell for each."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    empty: Collection[int] = ()  # rows of classes without images, which are hidden at first


EMPTY = Cell("")


def number(value: float, digits: int = 0, opens: Optional[Mapping[str, object]] = None) -> Cell:
    """A number with separators of thousands."""
    return Cell(f"{value:,.{digits}f}" if digits else f"{value:,}", value=value, opens=opens)


def percent(share: Optional[float]) -> Cell:
    """A share in percent; empty for None and nan."""
    if share is None or math.isnan(share):
        return EMPTY
    return Cell(as_percent(share, 1), value=share)


def percent_with_interval(estimate: Tuple[float, float, float]) -> Cell:
    """A share with the bounds of its interval, in percent; empty for nan."""
    share, low, high = estimate
    return percent(share)._replace(
        small="" if math.isnan(share) else f"{100 * low:.0f}–{100 * high:.0f}"
    )
