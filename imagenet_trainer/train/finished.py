"""When a training is over: after its epochs, or by --patience (early stopping).

It is a function of the files of the run and of its history, so that a resume changes nothing.
"""

import os
from typing import Any, Mapping, Sequence, Tuple

import numpy as np

from imagenet_trainer.config import FitSettings
from imagenet_trainer.engines.choice import choose_engine, is_torch_worker
from imagenet_trainer.metrics.counts import MEAN_AVERAGE_PRECISION
from imagenet_trainer.runs.logs import RunLog
from imagenet_trainer.runs.retention import merit
from imagenet_trainer.runs.run import Run
from imagenet_trainer.system.interrupts import Interrupts
from imagenet_trainer.train import when_done
from imagenet_trainer.train.engine import devices_of
from imagenet_trainer.train.run_config import check_settings
from imagenet_trainer.train.session import Session
from imagenet_trainer.train.setup import run_for, training_setup


def ends_at_once(settings: FitSettings, interrupts: Interrupts) -> bool:
    """Whether this is a worker of a finished run; then the log says so, and nothing is left to do.

    A cluster starts a worker again that died after the last epoch, when worker 0 has ended. So
    each worker decides by the files, without the others. torchrun starts all again, which then
    open the run together.
    """
    if not is_torch_worker() or "TORCHELASTIC_RUN_ID" in os.environ:
        return False
    if choose_engine(devices_of(settings)).engine != "torch":
        return False
    run, rank = run_for(settings), int(os.environ["RANK"])
    if not is_finished(run, settings):
        return False
    check_settings(run, training_setup(settings).settings, run.settings())
    command = () if rank else settings.when_done
    with (
        RunLog(run.log_path, rank) as log,
        when_done.run_afterwards(command, run.prefix, interrupts, log.info),
    ):
        log.info(
            f"The training of {run.prefix} is finished; a higher --num-epochs or --patience "
            "continues it"
        )
    return True


def is_finished(run: Run, settings: FitSettings) -> bool:
    """Whether a training with these flags would make no update; only reads files of the run."""
    progress, began_with = run.progress(), run.settings()
    if progress is None or not began_with or settings.load_epoch != began_with.get("load_epoch"):
        return False
    if progress.epoch >= settings.num_epochs:
        return True
    if not settings.patience or progress.scores.images:  # inside an epoch
        return False
    history = [row for row in run.read_history() if int(row["epoch"]) <= progress.epoch]
    best, last = best_of(history)
    return last - best >= settings.patience


def best_of(history: Sequence[Mapping[str, Any]]) -> Tuple[int, int]:
    """The best epoch of some rows of history.csv, and the last one; (0, 0) without any.

    The best one is that of `runs.retention`.
    """

    def merit_of(row: Mapping[str, Any]) -> Tuple[float, float, int]:
        part = "minival" if row.get("minival_rank1", "") != "" else "val"
        score = row.get(f"{part}_{MEAN_AVERAGE_PRECISION}", "")
        score = row[f"{part}_rank1"] if score == "" else score
        return merit(float(score), float(row[f"{part}_loss"]), int(row["epoch"]))

    if not history:
        return 0, 0
    return int(max(history, key=merit_of)["epoch"]), int(history[-1]["epoch"])


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
