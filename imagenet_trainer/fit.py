"""Train a network: python -m imagenet_trainer.fit --network resnet --num-layers 18 --gpus 0,1

Run again, the same command continues where it was, to the last bit on one CPU.
"""

import sys
import time
from contextlib import closing
from dataclasses import astuple, replace
from typing import TYPE_CHECKING, Any, Dict, Mapping, Optional, Sequence

from imagenet_trainer import config, flags
from imagenet_trainer.errors import InputError, run_command
from imagenet_trainer.library import callable_module

if TYPE_CHECKING:
    from imagenet_trainer.agreement import Agreement
    from imagenet_trainer.logs import RunLog
    from imagenet_trainer.metrics import Scores
    from imagenet_trainer.run import Progress
    from imagenet_trainer.session import Session


def fit(session: "Session", stopping: "Agreement", log: "RunLog") -> None:
    """Train epoch by epoch until the last one, or until a signal comes to one of the workers."""
    from imagenet_trainer.data.loader import training_batches
    from imagenet_trainer.scoring import loader_threads

    settings, engine, progress = session.settings, session.engine, session.progress
    threads, nice = loader_threads(settings.data_nthreads, bool(settings.gpus))
    last_update = session.first_update(settings.num_epochs)
    with training_batches(
        session.train.shards, session.order, session.transform, len(session.train.classes),
        progress.update, last_update, engine.rank, engine.world_size, threads, nice=nice,
    ) as batches:  # fmt: skip
        stream = iter(batches)
        while progress.epoch < settings.num_epochs:
            progress = train_epoch(session, stream, progress, stopping, log)
            if not stopping:
                # The moving statistics of several devices become one here, at a fixed place.
                engine.set_params(*engine.get_params())
                scores = validate(session, stopping)
                stopping.reach(now=True)
            if stopping:
                session.save(None, progress)
                log.say(f"Stopped after update {progress.update}; run the same command to continue")
                return
            progress = finish_epoch(session, progress, scores, log)


def train_epoch(
    session: "Session", stream: Any, progress: "Progress", stopping: "Agreement", log: "RunLog"
) -> "Progress":
    """Make the updates that are left of an epoch; return how far it came."""
    settings, engine, epoch = session.settings, session.engine, progress.epoch
    begin, end = session.first_update(epoch), session.first_update(epoch + 1)
    shown, saved = Interval(progress), time.monotonic()
    log.open_bar(epoch, end - begin, progress.update - begin)
    for update in range(progress.update, end):
        batch = next(stream)
        engine.train_batch(batch.images, batch.labels, session.learning_rate(update))
        log.advance_bar()
        shown.waited += batch.wait
        due = stopping.reach(0 < settings.checkpoint_minutes * 60 <= time.monotonic() - saved)
        if due or stopping or update + 1 == end or not (update + 1 - begin) % settings.disp_batches:
            progress = shown.close(engine.read_counts(), progress, update + 1)
            log.batches(
                epoch, shown.first - begin, update + 1 - begin, shown.scores, shown.seconds,
                shown.waited,
            )  # fmt: skip
            shown = Interval(progress)
        if stopping:
            break
        if due and update + 1 < end:
            session.save(None, progress)
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


def validate(session: "Session", stopping: "Agreement") -> "Scores":
    """Rank-1, rank-5 and loss of the validation pictures; short of some after a signal.

    Each worker scores a stretch of them, and the counts are added up.
    """
    import numpy as np

    from imagenet_trainer.engines.workers import share
    from imagenet_trainer.metrics import Scores, score
    from imagenet_trainer.scoring import answers, loader_threads

    settings, engine, scores = session.settings, session.engine, Scores()
    threads, nice = loader_threads(settings.data_nthreads, bool(settings.gpus))
    for probabilities, labels in answers(
        engine, session.val, session.preprocessing, threads, nice, share(len(session.val), engine)
    ):
        scores += score(probabilities, labels)
        if stopping.asked:
            break
    images, rank1, rank5, loss = engine.sum_over_workers(np.array(astuple(scores), np.float64))
    return Scores(int(images), int(rank1), int(rank5), float(loss))


def finish_epoch(
    session: "Session", progress: "Progress", scores: "Scores", log: "RunLog"
) -> "Progress":
    """Log, history and checkpoint of a finished epoch; return the progress of the next one."""
    from imagenet_trainer.run import Progress

    settings, number = session.settings, progress.epoch + 1
    if session.engine.rank == 0:  # the counts are those of all workers
        log.trained(progress.epoch, progress.scores, progress.seconds)
        log.validated(progress.epoch, scores)
    session.history.append(history_row(session, progress, scores))
    following = Progress(epoch=number, update=progress.update)
    if session.engine.rank == 0:
        session.run.write_history(session.history)
    numbered = number % settings.save_period == 0 or number == settings.num_epochs
    session.save(number if numbered else None, following)
    if numbered and session.engine.rank == 0:
        log.say(f'Saved checkpoint to "{session.run.params_path(number)}"')
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
        "learning_rate": session.learning_rate(max(progress.update - 1, 0)),
        "images_per_second": trained.images / seconds,
        "seconds": progress.seconds,
        "wait_share": progress.wait_seconds / seconds,
    }


def train(settings: config.FitSettings, argv: Optional[Sequence[str]] = None) -> int:
    """Open everything, train, and return the exit code.

    Where PyTorch drives several devices, `argv` are the words that each of its processes gets.
    """
    from imagenet_trainer.agreement import Agreement
    from imagenet_trainer.engines import DeviceMemoryError, NonFiniteLossError
    from imagenet_trainer.interrupts import Interrupts
    from imagenet_trainer.logs import RunLog
    from imagenet_trainer.processes import processes_of, start_each
    from imagenet_trainer.session import open_session

    if not settings.test_io and processes_of(settings) > 1:
        return start_each(processes_of(settings), argv)
    if settings.find_batch:
        from imagenet_trainer.benchmarks.batch import tell_largest

        return tell_largest(settings)
    if settings.test_io or settings.benchmark:
        from imagenet_trainer.benchmarks import train as speed

        return speed.read_only(settings) if settings.test_io else speed.synthetic(settings)
    with Interrupts() as interrupts:
        session = open_session(settings)
        path, rank = session.run.log_path, session.engine.rank
        with closing(session), RunLog(path, rank, settings.top_k, settings.loss) as log:
            for note in session.notes if rank == 0 else ():
                log.say(note)
            if session.progress.epoch >= settings.num_epochs:
                log.say(
                    f"All {settings.num_epochs} epochs are done; a higher --num-epochs trains on"
                )
            try:
                fit(session, Agreement(session.engine, interrupts), log)
                session.workers.part()
            except NonFiniteLossError as error:
                raise InputError(
                    f"{error} (epoch {session_epoch(session, error.update)}); that update was not "
                    "made and the last checkpoint is kept; use a lower --lr or more "
                    "--warmup-epochs, and another --model-prefix"
                ) from None
            except DeviceMemoryError as error:
                from imagenet_trainer.benchmarks.batch import told_with_measure

                raise InputError(told_with_measure(session, error)) from None
        return interrupts.exit_code


def session_epoch(session: "Session", update: int) -> str:
    """The epoch and batch of an update, as log lines count them."""
    epoch = session.progress.epoch
    while session.first_update(epoch + 1) <= update:
        epoch += 1
    return f"{epoch}, batch {update - session.first_update(epoch)}"


def main(argv: Optional[Sequence[str]] = None) -> int:
    """The command line."""
    settings = flags.parse(
        config.FitSettings,
        argv,
        "fit",
        "Train a network on packed pictures; run again to continue.",
    )
    return run_command("fit", lambda: train(settings, sys.argv[1:] if argv is None else argv))


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
