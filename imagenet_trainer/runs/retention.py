"""Retention of checkpoints: --keep N keeps the newest N and the best one.

The best epoch is the one with the highest rank-1 accuracy, or with --multi-label the highest mean
average precision, on the images of --minival, or without the flag on the validation images; of
equal ones the one with the lowest loss, then the earliest. Each checkpoint holds its own scores.
`--epochs best` of evaluate and `--epoch best` of predict use the same rule.
"""

import math
from typing import List, Mapping, Optional, Tuple

from imagenet_trainer.errors import InputError
from imagenet_trainer.metrics.counts import Scores
from imagenet_trainer.runs.run import Run

Validations = Mapping[int, Optional[Scores]]  # by epoch; None: unknown


def merit(score: float, loss: float, epoch: int) -> Tuple[float, float, int]:
    """What is largest for the best epoch; `score` is that of `Scores.merit`.

    No score is worse than any, and no loss too: `max` would take the first of two with a nan.
    """
    worst = -math.inf
    return (worst if math.isnan(score) else score), (worst if math.isnan(loss) else -loss), -epoch


def best_of(validations: Validations) -> Optional[int]:
    """The best epoch; None if no checkpoint has scores."""
    known = {epoch: scores for epoch, scores in validations.items() if scores}

    def merit_of(epoch: int) -> Tuple[float, float, int]:
        return merit(known[epoch].merit, known[epoch].mean_loss, epoch)

    return max(known, key=merit_of, default=None)


def epochs_to_remove(validations: Validations, keep: int) -> List[int]:
    """The epochs that --keep N removes: neither among the newest N nor the best.

    A checkpoint without scores might be the best one, so it stays.
    """
    older, best = sorted(validations)[: max(len(validations) - keep, 0)], best_of(validations)
    return [epoch for epoch in older if validations[epoch] and epoch != best]


def best_epoch(run: Run) -> int:
    """The best epoch of a run; InputError if no checkpoint has scores."""
    best = best_of(run.selection())
    if best is None and not run.epochs():
        raise InputError(f"{run.prefix}: has no checkpoints of finished epochs; check the prefix")
    if best is None:
        raise InputError(
            f"{run.prefix}: no checkpoint holds validation scores, so the best epoch is unknown; "
            "give the number of an epoch"
        )
    return best


def is_best_so_far(run: Run, scores: Scores) -> bool:
    """Whether an epoch that is not saved yet is better than all saved ones."""
    found = run.selection()
    return best_of({**found, max(found, default=0) + 1: scores}) not in found


def prune(run: Run, keep: int) -> List[int]:
    """Remove the checkpoints that --keep N does not keep; return their epochs.

    Call it when the newest checkpoint is complete on disk.
    """
    removed = epochs_to_remove(run.selection(), keep)
    for epoch in removed:
        run.remove(epoch)
    return removed
