"""All that watches a run: log lines, history.csv, events.jsonl, TensorBoard, learning curves.

The training loop says what happened; what is made of it is settled here. Only the first worker
writes files. What is written beside history.csv and log.txt may be lost to a full disk and never
ends a run.
"""

import contextlib
import math
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Dict, Iterator, Mapping, Optional, Type

from imagenet_trainer.errors import InputError
from imagenet_trainer.metrics.counts import Scores
from imagenet_trainer.runs.checkpoint import Progress
from imagenet_trainer.runs.events import REWINDING, EventLog
from imagenet_trainer.runs.logs import RunLog
from imagenet_trainer.runs.tensorboard import ScalarWriter
from imagenet_trainer.system.files import as_text, atomic_write
from imagenet_trainer.system.interrupts import signal_name
from imagenet_trainer.system.utilisation import Load, Sampler
from imagenet_trainer.train.eta import Pace
from imagenet_trainer.train.recovery import patiently

if TYPE_CHECKING:
    from imagenet_trainer.train.coordination import Agreement
    from imagenet_trainer.train.session import Session

# The curves are drawn at an epoch's end unless that would take more than this share of the time.
_DRAWING_SHARE = 0.02


class Watch:
    """A context around a training: opens all observers, and says how the run ended.

    `log` is the run's log, for lines that are nobody else's business, and its progress bar.
    """

    def __init__(self, session: "Session", log: RunLog, stopping: "Agreement") -> None:
        self.log, self._session, self._stopping = log, session, stopping
        settings, progress, run = session.settings, session.progress, session.run
        self._first = first = session.engine.rank == 0
        self._events = EventLog(run.events_path if first else None, log.info)
        folder = run.tensorboard_path if first and settings.tensorboard else None
        self._scalars = ScalarWriter(folder, progress.update, log.info)
        self._sampler = Sampler(settings.gpus, log.info)
        self._load: Optional[Load] = None  # of the epoch under way
        self._pace = Pace()
        self._update = progress.update
        self._epoch_began = self._marked = time.perf_counter()
        self._drawing_cost, self._drawn = 1.0, time.perf_counter()
        self._is_drawn, self._draws = True, first
        self._interrupted: Optional[str] = None

    # --- begin and end -------------------------------------------------------------------------

    def __enter__(self) -> "Watch":
        session, settings = self._session, self._session.settings
        self._sampler.__enter__()
        for note in session.notes if self._first else ():
            self.log.info(note)
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

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self._sampler.__exit__()
        if not self._is_drawn:
            self._draw_curves()
        ended: Dict[str, Any] = {"update": self._update, "how": "finished"}
        if self._interrupted:
            ended.update(how="interrupted", signal=self._interrupted)
        if self._session.settings.monitor:
            self._statistics()  # of an update that was refused for its loss
        if error is not None:
            ended.update(how="failed", error=str(error) or type(error).__name__)
        self._events.write("end", ended)
        self._events.close()
        self._scalars.close()

    # --- while it trains -----------------------------------------------------------------------

    def interval(
        self, progress: Progress, first: int, scores: Scores, seconds: float, wait: float
    ) -> None:
        """Updates `first` to `progress.update` were made: their counts, seconds, and of these those
        that data were waited for.
        """
        session, update = self._session, progress.update
        begin = session.first_update(progress.epoch)
        load = self._sampler.read()
        self._load = load if self._load is None else self._load + load
        self._pace.trained(update - first, seconds)
        self._update, self._marked = update, time.perf_counter()
        epochs = session.settings.num_epochs
        left = self._pace.left(
            max(session.first_update(epochs) - update, 0), max(epochs - progress.epoch, 0)
        )
        self.log.batches(progress.epoch, first - begin, update - begin, scores, seconds, wait, left)
        rate = session.learning_rate(max(update - 1, 0)) * progress.rate_scale
        told = {
            "loss": scores.mean_loss,
            "rank1": scores.rank1_accuracy,
            "rank5": scores.rank5_accuracy,
            "learning_rate": rate,
            "images_per_second": scores.images / max(seconds, 1e-9),
            "wait_share": wait / max(seconds, 1e-9),
        }
        self._events.write(
            "interval",
            {
                "epoch": progress.epoch + 1, "update": update, "updates": update - first, **told,
                "seconds": seconds, "seconds_left": left, **load.row(),
            },
        )  # fmt: skip
        scalars = {f"train/{name}": value for name, value in told.items()}
        self._scalars.write(update, {**scalars, **load.scalars(session.settings.gpus)})
        if session.settings.monitor:
            self._statistics()

    def _statistics(self) -> None:
        """What --monitor saw of tensors since the last time."""
        for update, values in self._session.engine.read_statistics():
            for name, value in values.items():
                self.log.info(f"Batch: {update:7d} {name:>30} {value:g}")
            self._events.write("statistics", {"update": update, "tensors": values})
            self._scalars.write(update, {f"tensors/{name}": v for name, v in values.items()})
            odd = next((name for name, value in values.items() if not math.isfinite(value)), None)
            if odd:
                self.log.info(f"The first tensor of update {update - 1} that is not finite: {odd}")

    @contextlib.contextmanager
    def saving(self, epoch: Optional[int], progress: Progress) -> Iterator[None]:
        """Around writing a checkpoint: of a finished epoch, or with None inside one."""
        began = time.perf_counter()
        yield
        path = self._session.run.params_path(epoch)
        if epoch is not None and self._session.engine.rank == 0:
            self.log.info(f'Saved checkpoint to "{path}"')
        self._events.write(
            "checkpoint",
            {
                "update": progress.update, "epochs_done": progress.epoch, "file": path.name,
                "seconds": time.perf_counter() - began,
            },
        )  # fmt: skip

    def interrupted(self, progress: Progress, signal: int) -> None:
        """A signal ended the run; its checkpoint is written."""
        self._interrupted = signal_name(signal)
        self._update = progress.update
        self.log.info(f"Stopped after update {progress.update}; run the same command to continue")
        self._event("interrupt", {"update": progress.update, "signal": self._interrupted})

    def rolled_back(self, progress: Progress) -> None:
        """The run went back to this progress, because numbers were not finite."""
        told = {"epochs_done": progress.epoch, "rate_scale": progress.rate_scale}
        self._event("rollback", {"update": progress.update, **told})

    def _event(self, kind: str, fields: Mapping[str, Any]) -> None:
        """One that may take the run back, by events.REWINDING, to the `update` in its fields."""
        self._events.write(kind, fields)
        if kind in REWINDING:
            self._scalars.hide_after(fields["update"])

    # --- at the end of an epoch ----------------------------------------------------------------

    def epoch(self, progress: Progress, scores: Scores) -> None:
        """An epoch was trained, as `progress` says, and validated: lines, history, curves."""
        session, number = self._session, progress.epoch + 1
        if self._first:  # the counts are those of all workers
            self.log.trained(progress.epoch, progress.scores, progress.seconds)
            self.log.validated(progress.epoch, scores)
        load = self._sampler.read() if self._load is None else self._load
        self._load = None
        row = self._row(progress, scores, load)
        session.history.append(row)
        trained = {name: value for name, value in row.items() if not name.startswith("val_")}
        validated = {
            "loss": scores.mean_loss,
            "rank1": scores.rank1_accuracy,
            "rank5": scores.rank5_accuracy,
        }
        self._events.write("epoch", {"update": progress.update, **trained})
        self._events.write(
            "validation",
            {"epoch": number, "update": progress.update, "images": scores.images, **validated},
        )
        self._scalars.write(
            progress.update, {f"validation/{name}": value for name, value in validated.items()}
        )
        if self._first:
            patiently(
                lambda: session.run.write_history(session.history),
                session.settings.save_patience, self._stopping.signals, self.log.info,
            )  # fmt: skip
        self._is_drawn = not self._draws
        now = time.perf_counter()
        if self._draws and self._drawing_cost <= _DRAWING_SHARE * (now - self._drawn):
            self._draw_curves()

    def epoch_is_over(self) -> None:
        """All that lies between two epochs is done."""
        now = time.perf_counter()
        self._pace.between(now - self._marked)
        self._marked = now

    def _row(self, progress: Progress, scores: Scores, load: Load) -> Dict[str, Any]:
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
            "learning_rate": self._session.learning_rate(max(progress.update - 1, 0))
            * progress.rate_scale,
            "images_per_second": trained.images / seconds,
            "seconds": progress.seconds,
            "wait_share": progress.wait_seconds / seconds,
            **load.row(),
        }

    def _draw_curves(self) -> None:
        from imagenet_trainer.viz import curves

        began = time.perf_counter()
        try:
            self._session.run.refuse_other_folder()
            image = curves.draw(self._session.history, as_text(self._session.run.folder.name))
            self._session.run.refuse_other_folder()
            with atomic_write(self._session.run.curves_path) as file:
                file.write(image)
        except Exception as error:  # an image is worth no training
            self._draws = False
            self.log.info(f"The learning curves are not drawn any more: {_one_line(error)}")
        self._is_drawn = True
        self._drawn = time.perf_counter()
        self._drawing_cost = self._drawn - began


def _one_line(error: BaseException) -> str:
    words = " ".join(str(error).split())
    return words if isinstance(error, InputError) else f"{type(error).__name__}: {words}"
