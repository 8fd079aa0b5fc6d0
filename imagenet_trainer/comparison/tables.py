"""The tables of a comparison, the same for HTML, Markdown and CSV."""

import csv
import io
import math
from html import escape
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from imagenet_trainer.comparison.analysis import (
    Advice,
    Entry,
    Epoch,
    chance,
    epoch_times,
    most_accurate,
    overfitting,
)


class Grid(NamedTuple):
    """A table as text, its first column being words."""

    head: Tuple[str, ...]
    rows: Sequence[Tuple[str, ...]]
    words: Tuple[int, ...] = (0,)  # columns that are words


def recommendations(found: Sequence[Advice]) -> Grid:
    """Which network for which wish."""
    return Grid(("wish", "network", "why"), [tuple(one) for one in found], (0, 1, 2))


def scores(entries: Sequence[Entry]) -> Grid:
    """Accuracy with its interval, and whether the best one differs from chance."""
    best = most_accurate(entries)
    rows = []
    for one in entries:
        low, high = one.rank1_interval
        p = "" if one is best else f"{chance(best, one):.2g}"
        rows.append((
            one.name, f"{one.train_images:,}", str(one.judged), _percent(one.rank1),
            f"{100 * low:.1f} to {100 * high:.1f}", f"{one.loss:.4f}",
            p,
        ))  # fmt: skip
    return Grid(
        ("network", "training images", "judged epoch", "rank-1", "95 % interval", "loss",
         f"p against {best.name}"),
        rows,
    )  # fmt: skip


def sizes(entries: Sequence[Entry]) -> Grid:
    """Parameters, multiply-adds, files, memory; that of GPUs where one was watched."""
    head: Tuple[str, ...] = (
        "network", "input", "parameters", "multiply-adds an image", "parameter file",
        "peak memory of training",
    )  # fmt: skip
    rows: List[Tuple[str, ...]] = [
        (one.name, " x ".join(map(str, one.image_shape)), f"{one.parameters:,}",
         f"{one.multiply_adds / 1e6:,.1f} M", f"{one.file_bytes / 1e6:.2f} MB",
         _megabytes(one.peak_bytes))
        for one in entries
    ]  # fmt: skip
    if any(one.gpu_peak_bytes for one in entries):
        head += ("of its GPU",)
        rows = [(*row, _megabytes(one.gpu_peak_bytes)) for row, one in zip(rows, entries)]
    return Grid(head, rows)


def training(entries: Sequence[Entry]) -> Grid:
    """Seconds, the first epoch apart; where over-fitting begins."""
    rows = []
    for one in entries:
        times, over = epoch_times(one.epochs), overfitting(one.epochs)
        wall = "" if one.wall_seconds is None else f"{one.wall_seconds:,.0f}"
        begins = "" if over is None else (
            f"after epoch {over.epoch}: validation +{over.rise:.3f}, training -{over.fall:.3f}"
        )  # fmt: skip
        rows.append((one.name, str(len(one.epochs)), _seconds(times.first), _seconds(times.later),
                     _seconds(times.total), wall, begins))  # fmt: skip
    return Grid(
        ("network", "epochs", "first epoch, s", "others, median s", "all, s",
         "s with opening, validation, saving", "over-fitting (loss since then)"),
        rows,
        (0, 6),
    )  # fmt: skip


def speeds(entries: Sequence[Entry]) -> Grid:
    """Time of one image, and images a second in batches, on every device."""
    rows = [
        (one.name, timing.device, f"{timing.median:.2f}", f"{timing.high:.2f}",
         f"{timing.whole_median:.2f}", f"{timing.whole_high:.2f}",
         f"{timing.best.images_per_second:,.1f}", str(timing.best.size))
        for one in entries
        for timing in one.timings
    ]  # fmt: skip
    return Grid(
        ("network", "device", "one image, median ms", "99th %", "with decoding, median ms",
         "99th %", "images/s, best batch", "that batch"),
        rows,
        (0, 1),
    )  # fmt: skip


def class_errors(entries: Sequence[Entry]) -> Iterator[Tuple[str, Grid]]:
    """False negatives and positives of each class, a table a network, the worst class first."""
    for one in entries:
        ordered = sorted(one.classes, key=lambda row: (-row.missed - row.wrongly, row.name))
        rows = [(row.name, f"{row.images:,}", f"{row.missed:,}", f"{row.wrongly:,}")
                for row in ordered]  # fmt: skip
        yield one.name, Grid(("class", "pictures", "false negatives", "false positives"), rows)


_EPOCH_HEAD = ("epoch", "training loss", "training rank-1", "validation loss", "validation rank-1",
               "seconds")  # fmt: skip


def epochs(entries: Sequence[Entry]) -> Iterator[Tuple[str, Grid]]:
    """A table a network."""
    for one in entries:
        rows = [
            (str(row.epoch), _number(row.train_loss), _percent(row.train_rank1),
             _number(row.val_loss), _percent(row.val_rank1), _seconds(row.seconds))
            for row in one.epochs
        ]  # fmt: skip
        yield one.name, Grid(_EPOCH_HEAD, rows)


# --- as files ----------------------------------------------------------------------------------


def html(grid: Grid, caption: str) -> str:
    """A table that scrolls; text is escaped."""

    def cells(kind: str, row: Sequence[str]) -> str:
        return "".join(
            f"<{kind}{' class=word' if place in grid.words else ''}>{escape(text)}</{kind}>"
            for place, text in enumerate(row)
        )

    body = "\n".join(f"<tr>{cells('td', row)}</tr>" for row in grid.rows)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}"><table>'
        f"<thead><tr>{cells('th', grid.head)}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def markdown(grid: Grid) -> str:
    """A table of GitHub's Markdown."""

    def line(row: Sequence[str]) -> str:
        return "| " + " | ".join(plain(text) for text in row) + " |"

    below = ["---" if place in grid.words else "---:" for place in range(len(grid.head))]
    return "\n".join([line(grid.head), "|" + "|".join(below) + "|", *map(line, grid.rows)])


def plain(text: str) -> str:
    """Text that Markdown takes as it is."""
    for letter in "\\`*_{}[]<>|":
        text = text.replace(letter, f"\\{letter}")
    return " ".join(text.split())


def as_row(one: Entry) -> Dict[str, Any]:
    """A row of compare.csv: plain numbers in the units of their names, None for what is unknown."""
    times, over, timing = epoch_times(one.epochs), overfitting(one.epochs), one.timings[0]
    row: Dict[str, Any] = {
        "network": one.name, "flags": one.flags, "train_images": one.train_images,
        "epochs": len(one.epochs), "judged_epoch": one.judged, "rank1": one.rank1,
        "rank1_low": one.rank1_interval[0], "rank1_high": one.rank1_interval[1],
        "rank5": one.rank5, "loss": one.loss,
        "overfitting_after_epoch": over.epoch if over else None,
        "parameters": one.parameters, "multiply_adds": one.multiply_adds,
        "file_bytes": one.file_bytes, "peak_bytes": one.peak_bytes,
        "gpu_peak_bytes": one.gpu_peak_bytes,
        "first_epoch_seconds": times.first, "later_epoch_seconds": times.later,
        "epochs_seconds": times.total, "wall_seconds": one.wall_seconds,
    }  # fmt: skip
    for number, timing in enumerate(one.timings):
        kind = "cpu" if number == 0 else "gpu"
        row.update({
            f"{kind}_median_ms": timing.median, f"{kind}_99th_ms": timing.high,
            f"{kind}_with_decoding_median_ms": timing.whole_median,
            f"{kind}_with_decoding_99th_ms": timing.whole_high,
            f"{kind}_images_per_second": timing.best.images_per_second,
            f"{kind}_best_batch": timing.best.size,
        })  # fmt: skip
    row["false_negatives"] = sum(one.missed for one in one.classes)
    return {name: _known(value) for name, value in row.items()}


def compare_csv(entries: Sequence[Entry]) -> str:
    """A row a network."""
    return _csv([as_row(one) for one in entries])


def epochs_csv(entries: Sequence[Entry]) -> str:
    """A row for each epoch of each network."""
    return _csv([
        {"network": one.name, **{name: _known(value) for name, value in row._asdict().items()}}
        for one in entries
        for row in one.epochs
    ] or [dict.fromkeys(("network", *Epoch._fields))])  # fmt: skip


def classes_csv(entries: Sequence[Entry]) -> str:
    """A row for each class of each network."""
    return _csv([
        {"network": one.name, "class": row.name, "images": row.images,
         "false_negatives": row.missed, "false_positives": row.wrongly}
        for one in entries
        for row in one.classes
    ])  # fmt: skip


def _csv(rows: Sequence[Dict[str, Any]]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def _known(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _percent(share: Optional[float]) -> str:
    return "" if share is None or math.isnan(share) else f"{100 * share:.1f} %"


def _megabytes(count: Optional[int]) -> str:
    return "" if count is None else f"{count / 1e6:,.0f} MB"


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.4f}"


def _seconds(value: float) -> str:
    return "" if math.isnan(value) else f"{value:,.1f}"
