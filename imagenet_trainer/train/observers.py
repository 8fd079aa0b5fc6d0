"""What a training reports: log lines, history.csv, events.jsonl, TensorBoard, learning curves.

The loop calls `Observers` when something happens; this module decides which files record it. Only
worker 0 writes files. On a full disk, entries of files other than history.csv may be lost; this
never ends a run.
"""

import contextlib
import math
import os
import time
from typing import Any, Callable, Dict, Iterator, Mapping, Optional

from imagenet_trainer.data.bad_records import Report, Tally, describe_counts
from imagenet_trainer.engines.memory import DeviceMemoryError
from imagenet_trainer.errors import InputError
from imagenet_trainer.metrics.counts import MEAN_AVERAGE_PRECISION, Scores, has_rank5
from imagenet_trainer.runs.checkpoint import Progress
from imagenet_trainer.runs.events import EventLog, print_event
from imagenet_trainer.runs.logs import RunLog
from imagenet_trainer.runs.tracking import Tracker
from imagenet_trainer.system.competition import Competition
from imagenet_trainer.system.files import write_file
from imagenet_trainer.system.interrupts import Interrupts, signal_name
from imagenet_trainer.system.machine import processors
from imagenet_trainer.system.utilisation import Load, Sampler
from imagenet_trainer.text import printable
from imagenet_trainer.train.early_stopping import best_of
from imagenet_trainer.train.eta import RemainingTime
from imagenet_trainer.train.plugin_observers import listeners
from imagenet_trainer.train.recovery import write_with_retries
from imagenet_trainer.train.scalar_writers import scalar_writers
from imagenet_trainer.train.session import Session

# A training on the CPU competes if others use this many processors, over at least these seconds.
_COMPETING, _COMPETITION_SECONDS = 0.4, 10.0
# The largest share of the time that is spent on drawing the curves at ends of epochs.
_DRAWING_SHARE = 0.02


class Observers:
    """A context around a training: opens all observers, and records how the run ended.

    `log` is the run's log with its progress bar, also for lines that concern no other observer.
    """

    def __init__(self, session: Session, log: RunLog, interrupts: Interrupts) -> None:
        self.log, self._session, self._interrupts = log, session, interrupts
        settings, progress, run = session.settings, session.progress, session.run
        self._is_first = first = session.engine.rank == 0
        plugged = listeners(settings.observers, run.folder, log.info) if first else []
        printed = [print_event] if settings.json else []
        self._events = EventLog(run.events_path if first else None, log.info, [*printed, *plugged])
        self._scalars = scalar_writers(session, log) if first else []
        self._sampler = Sampler(settings.gpus, log.info)
        self._load: Optional[Load] = None  # of the current epoch
        alone = first and not settings.gpus and session.engine.world_size == 1
        self._competition = Competition() if alone else None
        self._rank5 = has_rank5(len(session.train.classes))
        self._remaining = RemainingTime()
        self._update = progress.update
        self._interval_ended = time.perf_counter()
        self._drawing_seconds, self._drawn_at = 1.0, time.perf_counter()
        self._is_drawn, self._draws = True, first
        self._signal: Optional[str] = None  # that interrupted the run
        self.bad_records = Tally(log.info)
        self._bad_totals: Mapping[str, int] = {}

    # --- begin and end -------------------------------------------------------------------------

    def __enter__(self) -> "Observers":
        session, settings = self._session, self._session.settings
        self._sampler.__enter__()
        for message in session.messages if self._is_first else ():
            self.log.info(message)
        self._events.write(
            "continue" if session.progress.update else "begin",
            {
                "update": session.progress.update,
                "epochs_done": session.progress.epoch,
                "num_epochs": settings.num_epochs,
                "updates": session.first_update(settings.num_epochs),
                "images": len(session.train),
                "batch_size": settings.batch_size,
                "network": settings.network,
                "workers": session.engine.world_size,
            },
        )
        return self

    def __exit__(self, kind: object, error: Optional[BaseException], trace: object) -> None:
        self._sampler.__exit__()
        if not self._is_drawn:
            self._draw_curves()
        ended = {"update": self._update, "how": "finished", **self._result()}
        if self._signal:
            ended.update(how="interrupted", signal=self._signal)
        if self._session.settings.monitor and not isinstance(error, DeviceMemoryError):
            # Also those of an update that was refused for its loss; a full memory has no engine.
            self._record_statistics()
        if error is not None:
            ended.update(how="failed", error=str(error) or type(error).__name__)
        self._events.write("end", ended)
        self._events.close()
        for writer in self._scalars:
            writer.close(ended["how"], self._update, self._result())

    def _result(self) -> Dict[str, Any]:
        """What the event `end` has of the run: its prefix, and the last epoch's scores."""
        history = self._session.history
        best, last = best_of(history)
        scores = {
            name: float(value)
            for name, value in (history[-1] if history else {}).items()
            if name.startswith("val_") and value != ""
        }
        unknown = dict.fromkeys(("val_loss", "val_rank1", "val_rank5"))
        prefix = self._session.run.prefix
        return {
            "prefix": prefix, "epochs_done": last, "best_epoch": best, **unknown, **scores
        }  # fmt: skip

    # --- during an epoch -----------------------------------------------------------------------

    def on_interval(
        self, progress: Progress, first: int, scores: Scores, seconds: float, wait: float
    ) -> None:
        """Record the updates from `first` to `progress.update`.

        `seconds` is their time, `wait` the part of it that was spent waiting for data.
        """
        session, update = self._session, progress.update
        begin = session.first_update(progress.epoch)
        load = self._sampler.read()
        self._load = load if self._load is None else self._load + load
        self._remaining.add_interval(update - first, seconds)
        self._update, self._interval_ended = update, time.perf_counter()
        epochs = session.settings.num_epochs
        left = self._remaining.seconds(
            max(session.first_update(epochs) - update, 0), max(epochs - progress.epoch, 0)
        )
        self.log.batches(progress.epoch, first - begin, update - begin, scores, seconds, wait, left)
        self._warn_of_competition()
        values = {
            **_values(scores),
            "learning_rate": self._last_rate(progress),
            "images_per_second": scores.images / max(seconds, 1e-9),
            "wait_share": wait / max(seconds, 1e-9),
        }
        self._events.write(
            "interval",
            {
                "epoch": progress.epoch + 1, "update": update, "updates": update - first, **values,
                "seconds": seconds, "seconds_left": left, **load.row(),
            },
        )  # fmt: skip
        scalars = self._tagged("train", values)
        self._write_scalars(update, {**scalars, **load.scalars(session.settings.gpus)})
        if session.settings.monitor:
            self._record_statistics()

    def on_bad_record(self, report: Report, update: int, data: str) -> None:
        """A record of `data` (train, val, minival) could not be used as it is (--on-bad-record)."""
        self.bad_records.add(report)
        self._events.write("bad_record", {"update": update, "data": data, **report.row()})

    def on_bad_totals(self, counts: Mapping[str, int]) -> None:
        """The numbers of such records over all workers, at the end of an epoch."""
        if self._is_first and any(counts.values()) and counts != self._bad_totals:
            self.log.info(f"Records since the start of this command: {describe_counts(counts)}")
        self._bad_totals = counts

    def _warn_of_competition(self) -> None:
        """Log and record once that other processes take processors from a training on the CPU."""
        if self._competition is None or self._competition.seconds < _COMPETITION_SECONDS:
            return
        others, count = self._competition.read(), processors()
        if others < _COMPETING:
            return
        self._competition = None  # once
        used = f"Other processes use {others:.1f} of {count} processors, which slows down training"
        fewer, threads = max(1, count - math.ceil(others)), os.environ.get("OMP_NUM_THREADS", "")
        if threads.isdecimal() and int(threads) > fewer:
            used += (
                ". Threads wait for each other, so it may be several times slower: stop the "
                f"others, or start a new run with OMP_NUM_THREADS={fewer}"
            )
        self.log.info(used)
        self._events.write("competition", {"update": self._update, "processors": others})

    def _last_rate(self, progress: Progress) -> float:
        """The learning rate of the latest update."""
        return self._session.learning_rate(max(progress.update - 1, 0)) * progress.rate_scale

    def _record_statistics(self) -> None:
        """Record the tensor statistics of --monitor since the last call."""
        for update, values in self._session.engine.read_statistics():
            for name, value in values.items():
                self.log.info(f"Batch: {update:7d} {name:>30} {value:g}")
            self._events.write("statistics", {"update": update, "tensors": values})
            self._write_scalars(update, {f"tensors/{name}": v for name, v in values.items()})
            bad = next((name for name, value in values.items() if not math.isfinite(value)), None)
            if bad:
                self.log.info(f"The first tensor of update {update - 1} that is not finite: {bad}")

    @contextlib.contextmanager
    def saving(self, epoch: Optional[int], progress: Progress) -> Iterator[Dict[str, Any]]:
        """A context around writing a checkpoint: of a finished epoch, or inside one (None).

        The caller adds what it knows about the files to the fields of their event.
        """
        began = time.perf_counter()
        fields: Dict[str, Any] = {}
        yield fields
        path = self._session.run.params_path(epoch)
        if epoch is not None and self._is_first:
            self.log.info(f'Saved checkpoint to "{path}"')
        self._events.write(
            "checkpoint",
            {
                "update": progress.update, "epochs_done": progress.epoch, "file": path.name,
                "seconds": time.perf_counter() - began, **fields,
            },
        )  # fmt: skip

    def on_interrupt(self, progress: Progress, signal: int) -> None:
        """A signal ended the run; its checkpoint is written."""
        self._signal = signal_name(signal)
        self._update = progress.update
        self.log.info(f"Stopped after update {progress.update}; run the same command to continue")
        self._events.write("interrupt", {"update": progress.update, "signal": self._signal})

    def on_rollback(self, progress: Progress) -> None:
        """The run was rolled back to this progress, because numbers were not finite."""
        values = {"epochs_done": progress.epoch, "rate_scale": progress.rate_scale}
        self._events.write("rollback", {"update": progress.update, **values})
        for writer in self._scalars:
            writer.hide_after(progress.update)

    # --- at the end of an epoch ----------------------------------------------------------------

    def on_epoch(
        self, progress: Progress, scores: Scores, minival: Optional[Scores] = None
    ) -> None:
        """Record a trained epoch and the scores of its validation, and of its minival."""
        session = self._session
        if self._is_first:  # the counts are those of all workers
            self.log.trained(progress.epoch, progress.scores, progress.seconds)
            self.log.validated(progress.epoch, scores)
            if minival:
                self.log.validated(progress.epoch, minival, "Minival")
        load = self._sampler.read() if self._load is None else self._load
        self._load = None
        row = self._history_row(progress, scores, load)
        if minival:
            row.update(_columns("minival", minival))
        session.history.append(row)
        self._record_epoch(progress, scores, minival, row)
        self._warn_of_a_dead_network(row)
        if self._is_first:
            write_with_retries(
                lambda: session.run.write_history(session.history, session.settings.parquet),
                session.settings.save_patience, self._interrupts, self.log.info,
            )  # fmt: skip
        self._is_drawn = not self._draws
        now = time.perf_counter()
        if self._draws and self._drawing_seconds <= _DRAWING_SHARE * (now - self._drawn_at):
            self._draw_curves()

    def _warn_of_a_dead_network(self, row: Mapping[str, Any]) -> None:
        """Log and record a validation loss of ln(classes): every class has the same probability.

        Training would go on to its end, since no loss is infinite.
        """
        classes = len(self._session.train.classes)
        if f"val_{MEAN_AVERAGE_PRECISION}" in row:  # the loss is that of each class
            return
        if not abs(row["val_loss"] - math.log(classes)) <= 1e-5 * math.log(classes):  # or nan
            return
        if self._is_first:
            self.log.info(
                f"The validation loss is ln({classes}): the network gives all classes the same "
                "probability, whatever the image. Usually the rate was too high and no unit "
                "is active any more, or the initial weights are too small: use a lower --lr, more "
                "--warmup-epochs or another --initializer"
            )
        self._events.write(
            "dead_network",
            {"epoch": row["epoch"], "update": self._update, "val_loss": row["val_loss"]},
        )

    def on_confusion(self, progress: Progress, draw: Callable[[], bytes]) -> None:
        """The confusion matrix of the validation, which `draw` makes a PNG file of."""
        for writer in self._scalars:
            if not isinstance(writer, Tracker):
                writer.write_image(progress.update, "validation/confusion", draw)

    def on_early_stop(self, best: int, last: int) -> None:
        """--patience ended the training after epoch `last`."""
        patience = self._session.settings.patience
        self.log.info(
            f"Stopped early: no epoch after epoch {best} was better (--patience {patience}); a "
            "higher --patience continues"
        )
        fields = {"update": self._update, "epoch": last, "best_epoch": best}
        self._events.write("early_stop", fields)

    def on_epoch_end(self) -> None:
        """Everything between two epochs is done."""
        now = time.perf_counter()
        self._remaining.add_epoch_end(now - self._interval_ended)
        self._interval_ended = now

    def _record_epoch(
        self, progress: Progress, scores: Scores, minival: Optional[Scores], row: Mapping[str, Any]
    ) -> None:
        """Write the events of an epoch and its validations, and TensorBoard's scalars."""
        update, others = progress.update, ("val_", "minival_")
        trained = {name: value for name, value in row.items() if not name.startswith(others)}
        self._events.write("epoch", {"update": update, **trained})
        for part, found in (("validation", scores), ("minival", minival)):
            if found:
                values = _values(found)
                about = {"epoch": row["epoch"], "update": update, "images": found.images}
                self._events.write(part, {**about, **values})
                self._write_scalars(update, self._tagged(part, values))

    def _write_scalars(self, update: int, values: Mapping[str, float]) -> None:
        for writer in self._scalars:
            writer.write(update, values)

    def _tagged(self, part: str, values: Mapping[str, float]) -> Dict[str, float]:
        """Scalars of TensorBoard by their tags, such as train/loss."""
        shown = (name for name in values if name != "rank5" or self._rank5)
        return {f"{part}/{name}": values[name] for name in shown}

    def _history_row(self, progress: Progress, scores: Scores, load: Load) -> Dict[str, Any]:
        """A row of history.csv."""
        seconds, trained = max(progress.seconds, 1e-9), progress.scores
        return {
            "epoch": progress.epoch + 1,
            **_columns("train", trained),
            **_columns("val", scores),
            "learning_rate": self._last_rate(progress),
            "images_per_second": trained.images / seconds,
            "seconds": progress.seconds,
            "wait_share": progress.wait_seconds / seconds,
            **load.row(),
        }

    def _draw_curves(self) -> None:
        # matplotlib takes half a second, which only the worker that draws spends.
        from imagenet_trainer.viz import curves

        began = time.perf_counter()
        try:
            self._session.run.refuse_other_folder()
            image = curves.draw(
                self._session.history, printable(self._session.run.folder.name), self._rank5
            )
            self._session.run.refuse_other_folder()
            write_file(self._session.run.curves_path, image)
        except Exception as error:  # a failed plot must not end a training
            self._draws = False
            self.log.info(f"The learning curves are not drawn any more: {_one_line(error)}")
        self._is_drawn = True
        self._drawn_at = time.perf_counter()
        self._drawing_seconds = self._drawn_at - began


def _values(scores: Scores) -> Dict[str, float]:
    """What events and TensorBoard have of some scores."""
    values = {
        "loss": scores.mean_loss,
        "rank1": scores.rank1_accuracy,
        "rank5": scores.rank5_accuracy,
    }
    if scores.mean_precision is not None:
        values[MEAN_AVERAGE_PRECISION] = scores.mean_precision
    return values


def _columns(part: str, scores: Scores) -> Dict[str, float]:
    """The columns of history.csv about the scores of a part: train, val, minival."""
    return {f"{part}_{name}": value for name, value in _values(scores).items()}


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, InputError) else f"{type(error).__name__}: {text}"
