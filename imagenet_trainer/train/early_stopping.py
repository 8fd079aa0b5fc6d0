"""Early stopping (--patience): a function of the rows of history.csv, so resume changes nothing.

The best epoch is that of `runs.retention`.
"""

import math
from typing import Any, Mapping, Sequence, Tuple

import numpy as np

from imagenet_trainer.metrics.counts import MEAN_AVERAGE_PRECISION
from imagenet_trainer.runs.retention import merit
from imagenet_trainer.train.session import Session


def best_of(history: Sequence[Mapping[str, Any]]) -> Tuple[int, int]:
    """The best epoch of some rows of history.csv, and the last one; (0, 0) without any."""

    def merit_of(row: Mapping[str, Any]) -> Tuple[float, float, int]:
        part = "minival" if row.get("minival_rank1", "") != "" else "val"
        score = _value(row, f"{part}_{MEAN_AVERAGE_PRECISION}")
        if math.isnan(score):
            score = _value(row, f"{part}_rank1")
        return merit(score, _value(row, f"{part}_loss"), int(row["epoch"]))

    if not history:
        return 0, 0
    return int(max(history, key=merit_of)["epoch"]), int(history[-1]["epoch"])


def _value(row: Mapping[str, Any], name: str) -> float:
    """The number in a cell; nan for an empty one."""
    cell = row.get(name, "")
    return math.nan if cell == "" else float(cell)


def is_over(session: Session) -> bool:
    """Whether --patience ends the training after the last finished epoch; worker 0 decides.

    All workers call it together.
    """
    patience = session.settings.patience
    if not patience:
        return False
    best, last = best_of(session.history)
    over = session.engine.rank == 0 and last - best >= patience
    return bool(session.engine.sum_over_workers(np.array([float(over)]))[0])
