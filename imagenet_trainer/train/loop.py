"""Carved out of imagenet_trainer/fit.py."""

import contextlib
import time
from dataclasses import astuple, replace
from typing import TYPE_CHECKING, Any, Optional, Sequence

from imagenet_trainer import config
from imagenet_trainer.errors import NonFiniteError

if TYPE_CHECKING:
    from imagenet_trainer.metrics.counts import Scores
    from imagenet_trainer.runs.checkpoint import Progress
    from imagenet_trainer.train.coordination import Agreement
    from imagenet_trainer.train.observers import Watch
    from imagenet_trainer.train.session import Session
from imagenet_trainer.train.previews.choose import look


def fit(session: "Session", stopping: "Agreement", watch: "Watch") -> None:
    """Train until the last epoch or a signal; go back where numbers are not finite (--on-nan)."""
    from imagenet_trainer.engines import NonFiniteLossError
    from imagenet_trainer.train.recovery import roll_back

    while True:
        try:
            return train_epochs(session, stopping, watch)
        except NonFiniteLossError as error:
            what = f"{error} ({session_epoch(session, error.update)}) and that update was not made"
            roll_back(session, what, watch.log.info)
        except NonFiniteError as error:
            roll_back(session, error.what, watch.log.info)
        watch.log.close_bar()
        watch.rolled_back(session.progress)
        save(session, None, session.progress, stopping, watch)


def train_epochs(session: "Session", stopping: "Agreement", watch: "Watch") -> None:
    """Train epoch by epoch until the last one, or until a signal comes to one of the workers."""
    from imagenet_trainer.data.loader import Worker, loader_threads, training_batches
    from imagenet_trainer.data.mixup import Mixup
    from imagenet_trainer.train.gpu_decoding import decoded, decodes_on_gpu

    settings, engine, progress = session.settings, session.engine, session.progress
    mixup = Mixup(settings.mixup, settings.seed) if settings.mixup else None
    threads = loader_threads(settings.data_nthreads, bool(settings.gpus))
    last_update = session.first_update(settings.num_epochs)
    stopping.reach()
    if stopping:  # while everything was opened: nothing has changed since the last checkpoint
        watch.log.info(f"Stopped before update {progress.update}; run the same command to continue")
        return
    with training_batches(
        session.train.shards, session.order, session.transform, len(session.train.classes),
        range(progress.update, last_update), Worker(engine.rank, engine.world_size), threads,
        mixup, encoded=decodes_on_gpu(settings),
    ) as batches:  # fmt: skip
        stream = decoded(batches, settings, session.train.shards, threads.count, watch.log.info)
        while progress.epoch < settings.num_epochs:
            progress = train_epoch(session, stream, progress, stopping, watch)
            if not stopping:
                with session.parameters_to_score():
                    scores = validate(session, stopping)
                stopping.reach(now=True)
            if stopping:
                save(session, None, progress, stopping, watch)
                watch.interrupted(progress, stopping.signals.signal or 0)
                return
            progress = finish_epoch(session, progress, scores, stopping, watch)


def train_epoch(
    session: "Session", stream: Any, progress: "Progress", stopping: "Agreement", watch: "Watch"
) -> "Progress":
    """Make the updates that are left of an epoch; return how far it came."""
    from imagenet_trainer.engines import Mix

    settings, engine, epoch = session.settings, session.engine, progress.epoch
    begin, end = session.first_update(epoch), session.first_update(epoch + 1)
    shown, saved = Interval(progress), time.monotonic()
    watch.log.open_bar(epoch, end - begin, progress.update - begin)
    for update in range(progress.update, end):
        batch = next(stream)
        mix = Mix(*batch.mix) if batch.mix else None
        rate = session.learning_rate(update) * progress.rate_scale
        engine.train_batch(batch.images, batch.labels, rate, mix)
        watch.log.advance_bar()
        shown.waited += batch.wait
        due = stopping.reach(0 < settings.checkpoint_minutes * 60 <= time.monotonic() - saved)
        if due or stopping or update + 1 == end or not (update + 1 - begin) % settings.disp_batches:
            progress = shown.close(engine.read_counts(), progress, update + 1)
            watch.interval(progress, shown.first, shown.scores, shown.seconds, shown.waited)
            shown = Interval(progress)
        if stopping:
            break
        if due and update + 1 < end:
            save(session, None, progress, stopping, watch)
            saved = time.monotonic()
    watch.log.close_bar()
    return progress


class Interval:
    """The updates between two log lines: their counts, seconds and waiting for data."""

    def __init__(self, progress: "Progress") -> None:
        self.first = progress.update
        self.began = time.perf_counter()
        self.waited = 0.0

    def close(self, counts: Sequence[Any], progress: "Progress", update: int) -> "Progress":
        """Add what the engine counted to the epoch's progress."""
        from imagenet_trainer.metrics.counts import Scores

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
    """Rank-1, rank-5 and loss of the validation images; short of some after a signal.

    Each worker scores a stretch of them, and the counts are added up.
    """
    import numpy as np

    from imagenet_trainer.data.loader import loader_threads
    from imagenet_trainer.engines.workers import share
    from imagenet_trainer.eval.validation import predict_batches
    from imagenet_trainer.metrics.counts import Scores, score

    settings, engine, scores = session.settings, session.engine, Scores()
    if session.film:
        session.film.begin()
    threads = loader_threads(settings.data_nthreads, bool(settings.gpus))
    for probabilities, labels in predict_batches(
        engine, session.val, session.preprocessing, threads, share(len(session.val), engine)
    ):
        scores += score(probabilities, labels)
        if session.film:
            session.film.count(probabilities, labels)
        if stopping.asked:
            break
    if session.film:
        session.film.add_up(engine.sum_over_workers)
    images, rank1, rank5, loss = engine.sum_over_workers(np.array(astuple(scores), np.float64))
    return Scores(int(images), int(rank1), int(rank5), float(loss))


def save(
    session: "Session",
    epoch: Optional[int],
    progress: "Progress",
    stopping: "Agreement",
    watch: "Watch",
    validation: Optional["Scores"] = None,
) -> None:
    """Write a checkpoint of all workers, with patience where the file system refuses it.

    It is that of a finished epoch, or with None the newest inside one.
    """
    from imagenet_trainer.train.recovery import patiently

    with watch.saving(epoch, progress):
        checkpoint = session.checkpoint(progress, validation)
        if session.engine.rank == 0:
            patiently(
                lambda: session.run.save(checkpoint, epoch),
                session.settings.save_patience, stopping.signals, watch.log.info,
            )  # fmt: skip


def finish_epoch(
    session: "Session",
    progress: "Progress",
    scores: "Scores",
    stopping: "Agreement",
    watch: "Watch",
) -> "Progress":
    """Tell and save a finished epoch; return the progress of the next one."""
    from imagenet_trainer.metrics.counts import Scores
    from imagenet_trainer.runs.retention import is_best_so_far, prune

    settings, run, number = session.settings, session.run, progress.epoch + 1
    watch.epoch(progress, scores)
    following = replace(progress, epoch=number, scores=Scores(), seconds=0.0, wait_seconds=0.0)
    numbered = number % settings.save_period == 0 or number == settings.num_epochs
    if session.engine.rank == 0:
        if session.film:
            session.film.draw(number, scores.rank1_accuracy)
        numbered = numbered or bool(settings.keep and is_best_so_far(run, scores))
    save(session, number if numbered else None, following, stopping, watch, scores)
    if numbered and session.engine.rank == 0:
        for epoch in prune(run, settings.keep) if settings.keep else ():
            watch.log.info(f'Removed "{run.params_path(epoch)}" (--keep {settings.keep})')
    watch.epoch_is_over()
    return following


def train(settings: config.FitSettings, argv: Optional[Sequence[str]] = None) -> int:
    """Open everything, train, and return the exit code.

    Where PyTorch drives several devices, `argv` are the words that each of its processes gets.
    """
    code = look(settings, argv)
    if code is not None:
        return code
    # Libraries that --recipe list, and others that look only, need not wait for.
    from imagenet_trainer.engines.memory import DeviceMemoryError
    from imagenet_trainer.runs.logs import RunLog
    from imagenet_trainer.system.interrupts import Interrupts
    from imagenet_trainer.train import when_done
    from imagenet_trainer.train.coordination import Agreement
    from imagenet_trainer.train.gpu_decoding import decodes_on_gpu
    from imagenet_trainer.train.observers import Watch
    from imagenet_trainer.train.processes import processes_of, start_each
    from imagenet_trainer.train.session import open_session

    decodes_on_gpu(settings)  # or says why it cannot be
    processes = processes_of(settings)
    if processes > 1:
        return start_each(processes, argv)
    when_done.check(settings.when_done)
    with Interrupts() as interrupts:
        session = open_session(settings)
        run, rank = session.run, session.engine.rank
        command = () if rank else settings.when_done
        stopping = Agreement(session.engine, interrupts)
        with contextlib.ExitStack() as stack:
            log = RunLog(run.log_path, rank, settings.top_k, settings.loss)
            stack.enter_context(log)
            stack.enter_context(when_done.afterwards(command, run.prefix, interrupts, log.info))
            stack.callback(session.close)
            watch = stack.enter_context(Watch(session, log, stopping))
            if session.progress.epoch >= settings.num_epochs:
                log.info(
                    f"All {settings.num_epochs} epochs are done; a higher --num-epochs trains on"
                )
            try:
                fit(session, stopping, watch)
            except DeviceMemoryError as error:
                from imagenet_trainer.train.previews.batch_size import with_way_out

                raise with_way_out(session, error) from None
            session.workers.part()
        return interrupts.exit_code


def session_epoch(session: "Session", update: int) -> str:
    """The epoch and batch of an update, as log lines count them."""
    epoch = session.progress.epoch
    while session.first_update(epoch + 1) <= update:
        epoch += 1
    return f"epoch {epoch}, batch {update - session.first_update(epoch)}"
