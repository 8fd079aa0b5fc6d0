"""Workers of a run that is finished, as its files say."""

import os

from imagenet_trainer.config import FitSettings
from imagenet_trainer.engines.choice import choose_engine, is_torch_worker
from imagenet_trainer.engines.workers import variable
from imagenet_trainer.runs.logs import RunLog
from imagenet_trainer.runs.run import Run
from imagenet_trainer.system.interrupts import Interrupts
from imagenet_trainer.train import when_done
from imagenet_trainer.train.early_stopping import best_of
from imagenet_trainer.train.engine import devices_of
from imagenet_trainer.train.run_config import check_settings
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
    run, rank = run_for(settings), variable("RANK")
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
