"""Which checkpoints stay: with --keep N the newest N numbered ones, and always the best one.

The best epoch is the one with the highest rank-1 accuracy on the validation images, of equal ones
that with the lowest loss, then the earliest. Every checkpoint holds its own scores, so nothing else
has to be asked. `--epochs best` of evaluate and `--epoch best` of predict mean the same one.
"""

from typing import List, Mapping, Optional, Tuple

from imagenet_trainer.errors import InputError
from imagenet_trainer.metrics.counts import Scores
from imagenet_trainer.runs.run import Run

Validations = Mapping[int, Optional[Scores]]  # by epoch; None: that checkpoint does not say


def best_of(validations: Validations) -> Optional[int]:
    """The best epoch; None where no checkpoint has scores."""
    known = {epoch: scores for epoch, scores in validations.items() if scores}

    def merit(epoch: int) -> Tuple[float, float, int]:
        return known[epoch].rank1_accuracy, -known[epoch].mean_loss, -epoch

    return max(known, key=merit, default=None)


def superfluous(validations: Validations, keep: int) -> List[int]:
    """The epochs that --keep N gives up: neither among the newest N, nor the best.

    A checkpoint without scores might be the best one and stays.
    """
    older = sorted(validations)[: max(len(validations) - keep, 0)]
    return [epoch for epoch in older if validations[epoch] and epoch != best_of(validations)]


def best_epoch(run: Run) -> int:
    """The best of a run's numbered checkpoints; InputError when none has scores."""
    best = best_of(run.validations())
    if best is None:
        raise InputError(
            f"{run.prefix}: none of its checkpoints knows its validation scores, so none is the "
            "best; name an epoch by its number"
        )
    return best


def is_best_so_far(run: Run, scores: Scores) -> bool:
    """Whether an epoch that is not on the disk yet is better than all that are."""
    found = run.validations()
    return best_of({**found, max(found, default=0) + 1: scores}) not in found


def prune(run: Run, keep: int) -> List[int]:
    """Remove the checkpoints that --keep N gives up; return their epochs.

    Call it when the newest checkpoint is whole on the disk.
    """
    gone = superfluous(run.validations(), keep)
    for epoch in gone:
        run.remove(epoch)
    return gone
