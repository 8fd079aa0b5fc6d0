"""history.csv: metrics of a run, one row per epoch."""

import csv
import io
import re
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence

from imagenet_trainer.errors import InputError
from imagenet_trainer.system import parquet
from imagenet_trainer.system.files import atomic_write, read_bytes

# Columns of every history.csv; later versions added some and may add more.
_FIRST_COLUMNS = (
    "epoch", "train_loss", "train_rank1", "train_rank5", "val_loss", "val_rank1", "val_rank5",
    "learning_rate", "images_per_second", "seconds", "wait_share",
)  # fmt: skip
COLUMNS = (
    *_FIRST_COLUMNS,
    "cpu_percent", "memory_mb", "gpu_percent", "gpu_memory_mb", "gpu_celsius", "gpu_watts",
    "minival_loss", "minival_rank1", "minival_rank5",
)  # fmt: skip
_OF_MULTI_LABEL = ("val_mean_average_precision", "minival_mean_average_precision")


def write(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write all rows; a missing value is an empty cell."""
    with atomic_write(path, "w") as file:
        writer = csv.DictWriter(file, _columns_of(rows), restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def write_parquet(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """The same as Parquet; a missing value is null. Raises InputError without pyarrow."""
    cells = {name: [_number(row.get(name)) for row in rows] for name in _columns_of(rows)}
    parquet.write_table(path, {**cells, "epoch": [int(row["epoch"]) for row in rows]})


def _columns_of(rows: Sequence[Mapping[str, Any]]) -> List[str]:
    return [*COLUMNS, *(name for name in _OF_MULTI_LABEL if any(name in row for row in rows))]


def _number(cell: Any) -> Optional[float]:
    """The value of a cell, which is text in a row that was read."""
    return None if cell in ("", None) else float(cell)


def read(path: Path) -> List[Dict[str, str]]:
    """All rows, values as text; [] if there are none.

    A file of an older version has fewer columns; the others stay empty. InputError for a damaged
    file and for that of another program.
    """
    if not path.exists():
        return []
    text = read_bytes(path).decode("utf-8", "replace")
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
    except csv.Error:
        rows = [{}]
    # A file that was cut short ends inside a line, which then may lack cells.
    if text.endswith("\n") and all(
        set(_FIRST_COLUMNS) <= set(row) <= {*COLUMNS, *_OF_MULTI_LABEL}
        and all(map(_is_number, row.values()))
        and re.fullmatch("[0-9]{1,9}", row["epoch"])
        for row in rows
    ):
        return rows
    raise InputError(f"{path}: is damaged or was not written by this program; move it away")


def _is_number(cell: Optional[str]) -> bool:
    """Whether a cell is a number or empty."""
    try:
        float(cell or 0)
    except ValueError:
        return False
    return cell is not None and cell.isascii()  # None: the cell is missing
