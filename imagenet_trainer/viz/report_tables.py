"""Tables that a page's script can sort and filter: cells are HTML, values stand beside them."""

import math
from typing import Any, NamedTuple, Sequence


class Column(NamedTuple):
    """A heading (text of ours), and whether its cells are words."""

    title: str
    words: bool = False


class Cell(str):
    """HTML of a cell that is sorted by a number instead of its text."""

    value: float

    def __new__(cls, text: str, value: float) -> "Cell":
        """The HTML and the number."""
        cell = super().__new__(cls, text)
        cell.value = value
        return cell


def number(value: float, digits: int = 0) -> Cell:
    """A number with separators of thousands."""
    return Cell(f"{value:,.{digits}f}" if digits else f"{value:,}", value)


def percent(share: Any) -> str:
    """A share in percent; nothing for None and nan."""
    return "" if share is None or math.isnan(share) else Cell(f"{100 * share:.1f}\u00a0%", share)


def percent_with(share: float, low: float, high: float) -> str:
    """A share with its interval, in percent."""
    if math.isnan(share):
        return ""
    return Cell(f"{100 * share:.1f}\u00a0% <small>{100 * low:.0f}–{100 * high:.0f}</small>", share)


def table(
    caption: str, columns: Sequence[Column], rows: Sequence[Sequence[str]], searched: bool = False
) -> str:
    """An HTML table that scrolls; `searched` asks the script for a field that filters its rows."""
    head = "".join(
        f'<th scope="col"{_kind(column)}><button type="button">{column.title}</button></th>'
        for column in columns
    )
    body = "\n".join("<tr>" + "".join(map(_cell, columns, row)) + "</tr>" for row in rows)
    search = ' data-searched="1"' if searched else ""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{caption}">'
        f'<table class="sortable"{search}><caption>{caption}</caption><thead><tr>{head}</tr>'
        f"</thead><tbody>{body}</tbody></table></div>"
    )


def _cell(column: Column, text: str) -> str:
    value = f' data-value="{text.value:.10g}"' if isinstance(text, Cell) else ""
    return f"<td{_kind(column)}{value}>{text}</td>"


def _kind(column: Column) -> str:
    return ' class="word"' if column.words else ""
