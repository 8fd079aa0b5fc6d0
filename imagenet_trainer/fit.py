"""Train a network: python -m imagenet_trainer.fit --network resnet --num-layers 18 --gpus 0,1

Run again, the same command continues where it was, to the last bit on one CPU.
"""

import sys
import time
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Dict, Mapping, Optional, Sequence

from imagenet_trainer import config, flags
from imagenet_trainer.errors import NonFiniteError, run_command
from imagenet_trainer.library import callable_module

if TYPE_CHECKING:
    from imagenet_trainer.interrupts import Interrupts
    from imagenet_trainer.logs import RunLog
    from imagenet_trainer.metrics import Scores
    from imagenet_trainer.run import Progress
    from imagenet_trainer.session import Session


def fit(session: "Session", interrupts: "Interrupts", log: "RunLog") -> None:
    """Train until the last epoch or a signal; go back where numbers are not finite (--on-nan)."""
    from imagenet_trainer.engines import NonFiniteLossError
    from imagenet_trainer.survival import roll_back

    while True:
        try:
            return train_epochs(session, interrupts, log)
        except NonFiniteLossError as error:
            what = f"{error} ({session_epoch(session, error.update)}) and that update was not made"
            roll_back(session, what, log.say)
        except NonFiniteError as error:
            roll_back(session, error.what, log.say)
        log.close_bar()
        save(session, None, session.progress, interrupts, log)


def train_epochs(session: "Session", interrupts: "Interrupts", log: "RunLog") -> None:
    """Train epoch by epoch until the last one, or until a signal comes."""
    from imagenet_trainer.data.loader import training_batches
    from imagenet_trainer.scoring import loader_threads

    settings, engine, progress = session.settings, session.engine, session.progress
    threads, nice = loader_threads(settings.data_nthreads, bool(settings.gpus))
    last_update = session.first_update(settings.num_epochs)
    if interrupts:  # while everything was opened: nothing has changed since the last checkpoint
        log.say(f"Stopped before update {progress.update}; run the same command to continue")
        return
    with training_batches(
        session.train.shards, session.order, session.transform, len(session.train.classes),
        progress.update, last_update, engine.rank, engine.world_size, threads, nice=nice,
    ) as batches:  # fmt: skip
        stream = iter(batches)
        while progress.epoch < settings.num_epochs:
            progress = train_epoch(session, stream, progress, interrupts, log)
            if not interrupts:
                # The moving statistics of several devices become one here, at a fixed place.
                engine.set_params(*engine.get_params())
                scores = validate(session, interrupts)
            if interrupts:
                save(session, None, progress, interrupts, log)
                log.say(f"Stopped after update {progress.update}; run the same command to continue")
                return
            progress = finish_epoch(session, progress, scores, interrupts, log)


def train_epoch(
    session: "Session", stream: Any, progress: "Progress", interrupts: "Interrupts", log: "RunLog"
) -> "Progress":
    """Make the updates that are left of an epoch; return how far it came."""
    settings, engine, epoch = session.settings, session.engine, progress.epoch
    begin, end = session.first_update(epoch), session.first_update(epoch + 1)
    shown, saved = Interval(progress), time.monotonic()
    log.open_bar(epoch, end - begin, progress.update - begin)
    for update in range(progress.update, end):
        batch = next(stream)
        rate = session.learning_rate(update) * progress.rate_scale
        engine.train_batch(batch.images, batch.labels, rate)
        log.advance_bar()
        shown.waited += batch.wait
        due = 0 < settings.checkpoint_minutes * 60 <= time.monotonic() - saved
        if (
            due
            or interrupts
            or update + 1 == end
            or not (update + 1 - begin) % settings.disp_batches
        ):
            progress = shown.close(engine.read_counts(), progress, update + 1)
            log.batches(
                epoch, shown.first - begin, update + 1 - begin, shown.scores, shown.seconds,
                shown.waited,
            )  # fmt: skip
            shown = Interval(progress)
        if interrupts:
            break
        if due and update + 1 < end:
            save(session, None, progress, interrupts, log)
            saved = time.monotonic()
    log.close_bar()
    return progress


class Interval:
    """The updates between two log lines: their counts, seconds and waiting for data."""

    def __init__(self, progress: "Progress") -> None:
        self.first = progress.update
        self.began = time.perf_counter()
        self.waited = 0.0

    def close(self, counts: Sequence[Any], progress: "Progress", update: int) -> "Progress":
        """Add what the engine counted to the epoch's progress."""
        from imagenet_trainer.metrics import Scores

        self.scores = Scores(*counts)
        self.seconds = time.perf_counter() - self.began
        return replace(
            progress,
            update=update,
            scores=progress.scores + self.scores,
            seconds=progress.seconds + self.seconds,
            wait_seconds=progress.wait_seconds + self.waited,
        )


def validate(session: "Session", interrupts: "Interrupts") -> "Scores":
    """Rank-1, rank-5 and loss of the validation pictures; short of some after a signal."""
    from imagenet_trainer.metrics import Scores, score
    from imagenet_trainer.scoring import answers, loader_threads

    settings, scores = session.settings, Scores()
    threads, nice = loader_threads(settings.data_nthreads, bool(settings.gpus))
    for probabilities, labels in answers(
        session.engine, session.val, session.preprocessing, threads, nice
    ):
        scores += score(probabilities, labels)
        if interrupts:
            break
    return scores


def save(
    session: "Session",
    epoch: Optional[int],
    progress: "Progress",
    interrupts: "Interrupts",
    log: "RunLog",
    validation: Optional["Scores"] = None,
) -> None:
    """Write a checkpoint, with patience where the file system refuses it."""
    from imagenet_trainer.survival import patiently

    patiently(
        lambda: session.save(epoch, progress, validation),
        session.settings.save_patience, interrupts, log.say,
    )  # fmt: skip


def finish_epoch(
    session: "Session",
    progress: "Progress",
    scores: "Scores",
    interrupts: "Interrupts",
    log: "RunLog",
) -> "Progress":
    """Log, history and checkpoint of a finished epoch; return the progress of the next one."""
    from imagenet_trainer.keeping import is_best_so_far, prune
    from imagenet_trainer.metrics import Scores
    from imagenet_trainer.survival import patiently

    settings, run, number = session.settings, session.run, progress.epoch + 1
    log.trained(progress.epoch, progress.scores, progress.seconds)
    log.validated(progress.epoch, scores)
    session.history.append(history_row(session, progress, scores))
    following = replace(progress, epoch=number, scores=Scores(), seconds=0.0, wait_seconds=0.0)
    if session.engine.rank == 0:
        patiently(
            lambda: run.write_history(session.history), settings.save_patience, interrupts, log.say
        )
    numbered = number % settings.save_period == 0 or number == settings.num_epochs
    numbered = numbered or bool(settings.keep and is_best_so_far(run, scores))
    save(session, number if numbered else None, following, interrupts, log, scores)
    if numbered and session.engine.rank == 0:
        log.say(f'Saved checkpoint to "{run.params_path(number)}"')
        for epoch in prune(run, settings.keep) if settings.keep else ():
            log.say(f'Removed "{run.params_path(epoch)}" (--keep {settings.keep})')
    return following


def history_row(session: "Session", progress: "Progress", scores: "Scores") -> Dict[str, Any]:
    """One row of history.csv."""
    seconds, trained = max(progress.seconds, 1e-9), progress.scores
    return {
        "epoch": progress.epoch + 1,
        "train_loss": trained.mean_loss,
        "train_rank1": trained.rank1_accuracy,
        "train_rank5": trained.rank5_accuracy,
        "val_loss": scores.mean_loss,
        "val_rank1": scores.rank1_accuracy,
        "val_rank5": scores.rank5_accuracy,
        "learning_rate": session.learning_rate(max(progress.update - 1, 0)) * progress.rate_scale,
        "images_per_second": trained.images / seconds,
        "seconds": progress.seconds,
        "wait_share": progress.wait_seconds / seconds,
    }


def train(settings: config.FitSettings) -> int:
    """Open everything, train, and return the exit code."""
    from imagenet_trainer.interrupts import Interrupts
    from imagenet_trainer.logs import RunLog
    from imagenet_trainer.session import open_session

    if settings.test_io or settings.benchmark:
        from imagenet_trainer.benchmarks import train as speed

        return speed.read_only(settings) if settings.test_io else speed.synthetic(settings)
    with Interrupts() as interrupts:
        session = open_session(settings)
        path, rank = session.run.log_path, session.engine.rank
        with closing(session), RunLog(path, rank, settings.top_k, settings.loss) as log:
            for note in session.notes:
                log.say(note)
            if session.progress.epoch >= settings.num_epochs:
                log.say(
                    f"All {settings.num_epochs} epochs are done; a higher --num-epochs trains on"
                )
            fit(session, interrupts, log)
        return interrupts.exit_code


def session_epoch(session: "Session", update: int) -> str:
    """The epoch and batch of an update, as log lines count them."""
    epoch = session.progress.epoch
    while session.first_update(epoch + 1) <= update:
        epoch += 1
    return f"epoch {epoch}, batch {update - session.first_update(epoch)}"


def main(argv: Optional[Sequence[str]] = None) -> int:
    """The command line."""
    settings = flags.parse(
        config.FitSettings,
        argv,
        "fit",
        "Train a network on packed pictures; run again to continue.",
    )
    return run_command("fit", lambda: train(settings))


def call(values: Mapping[str, Any]) -> Dict[str, Any]:
    """From Python: `fit(network="resnet", lr=0.1)` returns the run's prefix and its history.

    Raises KeyboardInterrupt when a signal ended it; what was trained is saved.
    """
    from imagenet_trainer.session import run_of

    settings = flags.settings_of(config.FitSettings, values)
    if train(settings):
        raise KeyboardInterrupt
    run = run_of(settings)
    rows = [{name: number_of(text) for name, text in row.items()} for row in run.read_history()]
    return {"prefix": run.prefix, "history": rows}


def number_of(text: str) -> Optional[float]:
    """What a cell of history.csv says."""
    return float(text) if text else None


callable_module(__name__)
if __name__ == "__main__":
    sys.exit(main())
