"""The training loop. Read this module first, from top to bottom.

`train` is what `fit` calls: it opens a session and returns the exit code. `train_session` repeats
`train_epochs` after a rollback; `train_epochs` opens the stream of batches and iterates over the
epochs; `train_epoch` iterates over the updates. `validate`, `finish_epoch` and `save` end an epoch.

What a training opens is in `session`, what it logs in `observers`, how its workers stop together in
`coordination`, what happens after a failed write or a loss that is not finite in `recovery`.
"""

import contextlib
import time
from dataclasses import replace
from typing import Iterator, Optional, Sequence, Tuple

import numpy as np

from imagenet_trainer.config import FitSettings
from imagenet_trainer.data.bad_records import ACTIONS
from imagenet_trainer.data.loader import Batch, loader_threads
from imagenet_trainer.engines import Mix, NonFiniteLossError, wait_for
from imagenet_trainer.engines.memory import DeviceMemoryError
from imagenet_trainer.engines.workers import share
from imagenet_trainer.errors import NonFiniteError
from imagenet_trainer.eval.validation import predict_batches
from imagenet_trainer.metrics.counts import Scores, score, score_vectors
from imagenet_trainer.runs.checkpoint import Progress
from imagenet_trainer.runs.logs import RunLog
from imagenet_trainer.runs.retention import is_best_so_far, prune
from imagenet_trainer.system.block_cache import use_cache
from imagenet_trainer.system.interrupts import Interrupts
from imagenet_trainer.train import early_stopping, when_done
from imagenet_trainer.train.coordination import Coordinator
from imagenet_trainer.train.engine_choice import with_engine
from imagenet_trainer.train.finished import ends_at_once
from imagenet_trainer.train.gpu_decoding import decodes_on_gpu
from imagenet_trainer.train.multi_label import MeanPrecision
from imagenet_trainer.train.observers import Observers
from imagenet_trainer.train.plugin_observers import check_observers
from imagenet_trainer.train.previews.batch_size import with_way_out
from imagenet_trainer.train.processes import process_count, run_processes
from imagenet_trainer.train.recovery import roll_back, write_with_retries
from imagenet_trainer.train.scalar_writers import check_libraries
from imagenet_trainer.train.session import Session, open_session
from imagenet_trainer.train.stream import stream_batches


def train(settings: FitSettings, argv: Optional[Sequence[str]] = None) -> int:
    """Train with these settings; return the exit code.

    Where PyTorch trains on several devices, each of its processes is started with `argv`.
    """
    use_cache(settings.cache_dir, settings.cache_size)
    settings, engine_reason = with_engine(settings)
    decodes_on_gpu(settings)  # InputError if --decode gpu is impossible
    when_done.check_command(settings.when_done)
    check_libraries(settings)
    check_observers(settings.observers)
    processes = process_count(settings)
    if processes > 1:
        return run_processes(processes, argv)
    with Interrupts() as interrupts:
        _open_and_train(settings, interrupts, engine_reason)
        return interrupts.exit_code


def _open_and_train(settings: FitSettings, interrupts: Interrupts, engine_reason: str) -> None:
    """Open the session, the log and the observers around the training."""
    if ends_at_once(settings, interrupts):
        return
    session = open_session(settings, engine_reason)
    run, rank = session.run, session.engine.rank
    command = () if rank else settings.when_done
    with contextlib.ExitStack() as stack:
        classes = len(session.train.classes)
        log = RunLog(run.log_path, rank, settings.top_k, settings.loss, classes)
        stack.enter_context(log)
        stack.enter_context(when_done.run_afterwards(command, run.prefix, interrupts, log.info))
        stack.callback(session.close)
        observers = stack.enter_context(Observers(session, log, interrupts))
        if session.progress.epoch >= settings.num_epochs:
            log.info(
                f"All {settings.num_epochs} epochs are trained; a higher --num-epochs continues"
            )
        try:
            # Nothing else keeps the engine, whose memory `with_way_out` needs.
            train_session(session, Coordinator(session.engine, interrupts), observers)
        except DeviceMemoryError as error:
            raise with_way_out(session, error) from None
        session.workers.part()


def train_session(session: Session, coordinator: Coordinator, observers: Observers) -> None:
    """Train until the last epoch or a signal; roll back if numbers are not finite (--on-nan)."""
    while True:
        try:
            return train_epochs(session, coordinator, observers)
        except NonFiniteLossError as error:
            where = _position(session, error.update)
            roll_back(
                session, f"{error} ({where}) and that update was not made", observers.log.info
            )
        except NonFiniteError as error:
            roll_back(session, error.what, observers.log.info)
        observers.log.close_bar()
        observers.on_rollback(session.progress)
        save(session, None, session.progress, coordinator, observers)


def train_epochs(session: Session, coordinator: Coordinator, observers: Observers) -> None:
    """Train epoch by epoch until the last one, or until a signal reaches one of the workers."""
    settings, progress = session.settings, session.progress
    coordinator.synchronise()
    if coordinator.stopping:  # a signal while the session was opened: nothing has changed
        observers.log.info(
            f"Stopped before update {progress.update}; run the same command to continue"
        )
        return
    with contextlib.closing(stream_batches(session, observers.log.info)) as stream:
        while progress.epoch < settings.num_epochs:
            is_between = progress.update == session.first_update(progress.epoch)
            if is_between and early_stopping.is_over(session):
                observers.on_early_stop(*early_stopping.best_of(session.history))
                return
            progress = train_epoch(session, stream, progress, coordinator, observers)
            if not coordinator.stopping:
                with session.evaluated_parameters():
                    scores, minival = validate_all(session, coordinator, observers, progress.update)
                coordinator.synchronise(now=True)
            if coordinator.stopping:
                save(session, None, progress, coordinator, observers)
                observers.on_interrupt(progress, coordinator.interrupts.signal or 0)
                return
            progress = finish_epoch(session, progress, scores, minival, coordinator, observers)


def train_epoch(
    session: Session,
    stream: Iterator[Batch],
    progress: Progress,
    coordinator: Coordinator,
    observers: Observers,
) -> Progress:
    """Make the remaining updates of an epoch; return the progress after the last of them."""
    settings, engine, teacher = session.settings, session.engine, session.teacher
    epoch = progress.epoch
    begin, end = session.first_update(epoch), session.first_update(epoch + 1)
    interval, saved = _Interval(progress), time.monotonic()
    observers.log.open_bar(epoch, end - begin, progress.update - begin)
    for update in range(progress.update, end):
        batch = next(stream)
        mix = Mix(*batch.mix) if batch.mix else None
        rate = session.learning_rate(update) * progress.rate_scale
        theirs = teacher.predict(batch.images) if teacher else None
        engine.train_batch(batch.images, batch.labels, rate, mix, theirs)
        observers.log.advance_bar()
        for report in batch.reports:
            observers.on_bad_record(report, update + 1, "train")
        interval.waited += batch.wait
        due = coordinator.synchronise(
            0 < settings.checkpoint_minutes * 60 <= time.monotonic() - saved
        )
        is_shown = not (update + 1 - begin) % settings.disp_batches
        if coordinator.stopping or update + 1 == end:
            wait_for(engine)  # its last backward pass belongs to the time of the epoch
        if due or coordinator.stopping or update + 1 == end or is_shown:
            scores = Scores(*engine.read_counts(), top_k=settings.top_k or 5)
            progress = interval.close(scores, progress, update + 1)
            observers.on_interval(
                progress, interval.first, interval.scores, interval.seconds, interval.waited
            )
            interval = _Interval(progress)
        if coordinator.stopping:
            break
        if due and update + 1 < end:
            save(session, None, progress, coordinator, observers)
            saved = time.monotonic()
    observers.log.close_bar()
    return progress


class _Interval:
    """The updates between two log lines: their counts, their time and the time spent waiting."""

    def __init__(self, progress: Progress) -> None:
        self.first = progress.update
        self.waited = 0.0  # seconds, for data
        self._began = time.perf_counter()

    def close(self, scores: Scores, progress: Progress, update: int) -> Progress:
        """Add the interval, which ends before `update`, to the epoch's progress."""
        self.scores = scores
        self.seconds = time.perf_counter() - self._began
        return replace(
            progress,
            update=update,
            scores=progress.scores + self.scores,
            seconds=progress.seconds + self.seconds,
            wait_seconds=progress.wait_seconds + self.waited,
        )


def validate_all(
    session: Session, coordinator: Coordinator, observers: Observers, update: int
) -> Tuple[Scores, Optional[Scores]]:
    """The scores on the validation images, and with --minival on its images.

    After a signal both are cut short, but made: all workers must make the same sums.
    """
    scores, minival = validate(session, coordinator, observers, update), None
    if session.minival is not None:
        minival = validate(session, coordinator, observers, update, "minival")
    return scores, minival


def validate(
    session: Session, coordinator: Coordinator, observers: Observers, update: int, part: str = "val"
) -> Scores:
    """Rank-1, rank-5, loss, with --multi-label mean average precision; partial after a signal.

    Each worker evaluates a part of the images, and the counts are added up.
    """
    settings, engine = session.settings, session.engine
    dataset = session.val if part == "val" else session.minival
    assert dataset is not None
    gif = session.confusion_gif if part == "val" else None
    scores = Scores()
    precision = MeanPrecision() if settings.multi_label else None
    count = score_vectors if precision else score
    if gif:
        gif.begin()
    threads = loader_threads(settings.data_nthreads, bool(settings.gpus), engine.host_memory)
    for probabilities, labels in predict_batches(
        engine, dataset, session.preprocessing, threads, share(len(dataset), engine),
        settings.on_bad_record, lambda report: observers.on_bad_record(report, update, part),
    ):  # fmt: skip
        scores += count(probabilities, labels, settings.top_k or 5)
        if precision:
            precision.add(probabilities, labels)
        if gif:
            gif.count(probabilities, labels)
        if coordinator.signalled:
            break
    if gif:
        gif.sum_workers(engine.sum_over_workers)
    bad = [observers.bad_records.counts.get(action, 0) for action in ACTIONS]
    counts = scores.images, scores.rank1, scores.rank5, scores.loss, scores.rank_k
    images, rank1, rank5, loss, rank_k, *bad = engine.sum_over_workers(
        np.array([*counts, *bad], np.float64)
    )
    observers.on_bad_totals(dict(zip(ACTIONS, map(int, bad))))
    mean = precision.result(engine, len(dataset.classes)) if precision else None
    return Scores(
        int(images), int(rank1), int(rank5), float(loss), int(rank_k), settings.top_k or 5, mean
    )


def finish_epoch(
    session: Session,
    progress: Progress,
    scores: Scores,
    minival: Optional[Scores],
    coordinator: Coordinator,
    observers: Observers,
) -> Progress:
    """Log and save a finished epoch; return the progress at the start of the next one."""
    settings, run, number = session.settings, session.run, progress.epoch + 1
    is_first_worker = session.engine.rank == 0
    observers.on_epoch(progress, scores, minival)
    gif = session.confusion_gif
    following = replace(progress, epoch=number, scores=Scores(), seconds=0.0, wait_seconds=0.0)
    is_last = number == settings.num_epochs or early_stopping.is_over(session)
    numbered = number % settings.save_period == 0 or is_last
    if is_first_worker:
        if gif:
            write_with_retries(
                lambda: gif.draw(number, scores.rank1_accuracy),
                settings.save_patience, coordinator.interrupts, observers.log.info,
            )  # fmt: skip
            observers.on_confusion(progress, gif.png)
        numbered = numbered or bool(settings.keep and is_best_so_far(run, minival or scores))
    save(session, number if numbered else None, following, coordinator, observers, scores, minival)
    if numbered and is_first_worker:
        for epoch in prune(run, settings.keep) if settings.keep else ():
            observers.log.info(f'Removed "{run.params_path(epoch)}" (--keep {settings.keep})')
    observers.on_epoch_end()
    return following


def save(
    session: Session,
    epoch: Optional[int],
    progress: Progress,
    coordinator: Coordinator,
    observers: Observers,
    validation: Optional[Scores] = None,
    minival: Optional[Scores] = None,
) -> None:
    """Write a checkpoint of all workers; retry while writing fails.

    `epoch` is the number of a finished epoch, or None for the newest checkpoint inside one.
    """
    with observers.saving(epoch, progress) as event:
        checkpoint = session.checkpoint(progress, validation, minival)
        if session.engine.rank == 0:
            event["params_sha256"] = write_with_retries(
                lambda: session.run.save(checkpoint, epoch),
                session.settings.save_patience, coordinator.interrupts, observers.log.info,
            )  # fmt: skip


def _position(session: Session, update: int) -> str:
    """The epoch and batch of an update, counted as in log lines."""
    epoch = session.progress.epoch
    while session.first_update(epoch + 1) <= update:
        epoch += 1
    return f"epoch {epoch}, batch {update - session.first_update(epoch)}"
