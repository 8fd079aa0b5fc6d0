"""The tables of a comparison, the same for HTML, Markdown and CSV."""

import io
import math
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from imagenet_trainer.comparison.analysis import (
    Epoch,
    Recommendation,
    Result,
    epoch_times,
    most_accurate,
    overfitting,
    p_value,
)
from imagenet_trainer.text import CsvWriter, printable


class Grid(NamedTuple):
    """A table of text."""

    head: Tuple[str, ...]
    rows: Sequence[Tuple[str, ...]]
    text_columns: Tuple[int, ...] = (0,)  # aligned left; the others are numbers


def recommendations(recommended: Sequence[Recommendation]) -> Grid:
    """The network to use for each purpose."""
    return Grid(("purpose", "network", "reason"), [tuple(one) for one in recommended], (0, 1, 2))


def accuracy(results: Sequence[Result]) -> Grid:
    """Accuracy with its interval, and the p-value of the difference to the most accurate."""
    best = most_accurate(results)
    rows = []
    for one in results:
        low, high = one.rank1_interval
        p = "" if one is best else f"{p_value(best, one):.2g}"
        rows.append((
            one.name, f"{one.train_images:,}", str(one.best_epoch), _percent(one.rank1),
            f"{100 * low:.1f} to {100 * high:.1f}", f"{one.loss:.4f}",
            p,
        ))  # fmt: skip
    return Grid(
        ("network", "training images", "best epoch", "rank-1", "95 % confidence interval",
         "loss", f"p against {best.name}"),
        rows,
    )  # fmt: skip


def sizes(results: Sequence[Result]) -> Grid:
    """Parameters, multiply-adds, files, memory; GPU memory if it was measured."""
    head: Tuple[str, ...] = (
        "network", "input", "parameters", "multiply-adds per image", "parameter file",
        "peak memory of training",
    )  # fmt: skip
    rows: List[Tuple[str, ...]] = [
        (one.name, " x ".join(map(str, one.image_shape)), f"{one.parameters:,}",
         f"{one.multiply_adds / 1e6:,.1f} M", f"{one.file_bytes / 1e6:.2f} MB",
         _megabytes(one.peak_bytes))
        for one in results
    ]  # fmt: skip
    if any(one.gpu_peak_bytes for one in results):
        head += ("peak GPU memory",)
        rows = [(*row, _megabytes(one.gpu_peak_bytes)) for row, one in zip(rows, results)]
    return Grid(head, rows)


def training(results: Sequence[Result]) -> Grid:
    """Seconds of the first and the other epochs; where overfitting starts."""
    rows = []
    for one in results:
        times, over = epoch_times(one.epochs), overfitting(one.epochs)
        wall = "" if one.wall_seconds is None else f"{one.wall_seconds:,.0f}"
        starts = "" if over is None else (
            f"after epoch {over.epoch}: validation +{over.rise:.3f}, training -{over.fall:.3f}"
        )  # fmt: skip
        seconds = [_number(value, ",.1f") for value in (times.first, times.later, times.total)]
        rows.append((one.name, str(len(one.epochs)), *seconds, wall, starts))
    return Grid(
        ("network", "epochs", "first epoch, s", "others, median s", "total, s",
         "total with start, validation, saving, s", "overfitting (change of the loss)"),
        rows,
        (0, 6),
    )  # fmt: skip


def speeds(results: Sequence[Result]) -> Grid:
    """Latency of one image, and throughput in batches, on every device."""
    rows = [
        (one.name, timing.device, _number(timing.median, ".2f"), _interval(timing.interval),
         _number(timing.high, ".2f"), _number(timing.whole_median, ".2f"),
         _number(timing.whole_high, ".2f"),
         f"{timing.best.images_per_second:,.1f}", str(timing.best.size))
        for one in results
        for timing in one.timings
    ]  # fmt: skip
    return Grid(
        ("network", "device", "one image, median ms", "95 % confidence interval", "99th %",
         "with decoding, median ms", "99th %", "images/s", "batch size"),
        rows,
        (0, 1),
    )  # fmt: skip


def class_errors(results: Sequence[Result]) -> Iterator[Tuple[str, Grid]]:
    """Errors of each class, the worst class first; a table for each network."""
    for one in results:
        ordered = sorted(
            one.classes, key=lambda row: (-row.false_negatives - row.false_positives, row.name)
        )
        rows = [
            (row.name, f"{row.images:,}", f"{row.false_negatives:,}", f"{row.false_positives:,}")
            for row in ordered
        ]
        yield one.name, Grid(("class", "images", "false negatives", "false positives"), rows)


_EPOCH_HEAD = ("epoch", "training loss", "training rank-1", "validation loss", "validation rank-1",
               "seconds")  # fmt: skip


def epochs(results: Sequence[Result]) -> Iterator[Tuple[str, Grid]]:
    """Losses and accuracies of each epoch; a table for each network."""
    for one in results:
        rows = [
            (str(row.epoch), _number(row.train_loss, ".4f"), _percent(row.train_rank1),
             _number(row.val_loss, ".4f"), _percent(row.val_rank1), _number(row.seconds, ",.1f"))
            for row in one.epochs
        ]  # fmt: skip
        yield one.name, Grid(_EPOCH_HEAD, rows)


# --- as files ----------------------------------------------------------------------------------


def markdown(grid: Grid) -> str:
    """The table in GitHub's Markdown."""

    def line(row: Sequence[str]) -> str:
        return "| " + " | ".join(escaped(text) for text in row) + " |"

    below = ["---" if column in grid.text_columns else "---:" for column in range(len(grid.head))]
    return "\n".join([line(grid.head), "|" + "|".join(below) + "|", *map(line, grid.rows)])


def escaped(text: str) -> str:
    """Text whose characters have no meaning in Markdown."""
    text = printable(" ".join(text.split()))
    for letter in "\\`*_{}[]<>|":
        text = text.replace(letter, f"\\{letter}")
    return text


def as_row(one: Result) -> Dict[str, Any]:
    """A row of compare.csv: numbers in the units that the names state, None if unknown."""
    times, over = epoch_times(one.epochs), overfitting(one.epochs)
    row: Dict[str, Any] = {
        "network": one.name, "flags": one.flags, "train_images": one.train_images,
        "epochs": len(one.epochs), "judged_epoch": one.best_epoch, "rank1": one.rank1,
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
            f"{kind}_median_ms": timing.median, f"{kind}_median_low_ms": timing.interval[0],
            f"{kind}_median_high_ms": timing.interval[1], f"{kind}_99th_ms": timing.high,
            f"{kind}_with_decoding_median_ms": timing.whole_median,
            f"{kind}_with_decoding_99th_ms": timing.whole_high,
            f"{kind}_images_per_second": timing.best.images_per_second,
            f"{kind}_best_batch": timing.best.size,
        })  # fmt: skip
    row["false_negatives"] = sum(errors.false_negatives for errors in one.classes)
    return {name: _known(value) for name, value in row.items()}


def compare_csv(results: Sequence[Result]) -> str:
    """A row for each network."""
    return _csv([as_row(one) for one in results])


def epochs_csv(results: Sequence[Result]) -> str:
    """A row for each epoch of each network."""
    return _csv([
        {"network": one.name, **{name: _known(value) for name, value in row._asdict().items()}}
        for one in results
        for row in one.epochs
    ] or [dict.fromkeys(("network", *Epoch._fields))])  # fmt: skip


def classes_csv(results: Sequence[Result]) -> str:
    """A row for each class of each network."""
    return _csv([
        {"network": one.name, "class": row.name, "images": row.images,
         "false_negatives": row.false_negatives, "false_positives": row.false_positives}
        for one in results
        for row in one.classes
    ])  # fmt: skip


def _csv(rows: Sequence[Dict[str, Any]]) -> str:
    buffer = io.StringIO()
    writer = CsvWriter(buffer)
    writer.writerow(rows[0])
    writer.writerows([row[name] for name in rows[0]] for row in rows)
    return buffer.getvalue()


def _known(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _percent(share: float) -> str:
    return "" if math.isnan(share) else f"{100 * share:.1f} %"


def _megabytes(count: Optional[int]) -> str:
    return "" if count is None else f"{count / 1e6:,.0f} MB"


def _interval(bounds: Tuple[float, float]) -> str:
    return "" if math.isnan(bounds[0]) else f"{bounds[0]:.2f} to {bounds[1]:.2f}"


def _number(value: float, form: str) -> str:
    """The number in a format; nothing for nan."""
    return "" if math.isnan(value) else format(value, form)
