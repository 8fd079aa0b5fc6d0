"""What a training needs, opened and checked: data, network, engine, run folder, where to begin."""

import contextlib
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, Callable, Dict, Iterator, List, Optional

import numpy as np

from imagenet_trainer.config import FitSettings
from imagenet_trainer.data.augment import EvalTransform, TrainTransform
from imagenet_trainer.data.dataset import Dataset
from imagenet_trainer.data.order import Order, updates_before
from imagenet_trainer.engines import Engine
from imagenet_trainer.engines.choice import choose_engine
from imagenet_trainer.engines.factory import join_workers
from imagenet_trainer.engines.mxnet.compression import describe_compression
from imagenet_trainer.engines.symbol import check_parameters
from imagenet_trainer.engines.workers import Workers, together
from imagenet_trainer.errors import InputError, NonFiniteError
from imagenet_trainer.metrics.counts import Scores
from imagenet_trainer.runs.checkpoint import Checkpoint, Preprocessing, Progress
from imagenet_trainer.runs.ema import averages, to_resume, to_save
from imagenet_trainer.runs.run import Run
from imagenet_trainer.train.confusion_gif import GrowingGif
from imagenet_trainer.train.datasets import open_order, open_training_set, open_validation_set
from imagenet_trainer.train.engine import devices_of, open_training_engine
from imagenet_trainer.train.run_config import (
    _check_equal,
    _check_same,
    _configuration,
)
from imagenet_trainer.train.schedule import Schedule
from imagenet_trainer.train.schedule_flags import scaling_in_words, schedule_of
from imagenet_trainer.train.setup import Start, size_notes, start_of
from imagenet_trainer.train.transfer import freeze_notes


@dataclass
class Session:
    """Everything that the training loop calls by name."""

    settings: FitSettings
    run: Run
    workers: Workers
    train: Dataset
    val: Dataset
    engine: Engine
    order: Order
    transform: TrainTransform
    preprocessing: Preprocessing
    progress: Progress
    history: List[Dict[str, Any]]
    notes: List[str]  # what the user should be told once
    first: Callable[[], Checkpoint]  # what the run begins with, if no checkpoint says otherwise

    def first_update(self, epoch: int) -> int:
        """The update with which an epoch begins."""
        return updates_before(epoch, len(self.train), self.settings.batch_size)

    def learning_rate(self, update: int) -> float:
        """The rate of an update; a function of its number alone."""
        return self.schedule.rate(update)

    @cached_property
    def schedule(self) -> Schedule:
        """The learning rates of the whole run."""
        return schedule_of(self.settings, len(self.train))

    @contextlib.contextmanager
    def parameters_to_score(self) -> Iterator[None]:
        """Set the engine to what checkpoints hold: with --ema the averages, and back again."""
        # The moving statistics of several devices become one here, at a fixed place.
        trained = self.engine.get_params()
        state = self.engine.get_state() if self.settings.ema else {}
        self.engine.set_params(*averages(state) or trained)
        try:
            yield
        finally:
            if self.settings.ema:
                self.engine.set_params(*trained)

    @cached_property
    def film(self) -> Optional[GrowingGif]:
        """Draws the confusion matrix after each epoch, with --confusion-gif."""
        wanted = self.settings.confusion_gif
        return GrowingGif(self.run, len(self.train.classes)) if wanted else None

    def close(self) -> None:
        """Close the shards and let other trainers of the run in."""
        self.train.shards.close()
        self.val.shards.close()
        self.run.close()

    def go_back(self, rate_scale: float, rollbacks: int) -> Progress:
        """Continue from the newest numbered checkpoint, or the beginning; what was later is gone.

        Save the progress that it returns: a run that is killed afterwards has to know of it.
        """
        epochs = self.run.epochs()
        checkpoint = self.run.load(epochs[-1]) if epochs else self.first()
        progress = _hand_over(checkpoint, self.engine, self.settings, len(self.train))
        self.engine.read_counts()  # of updates that are forgotten
        self.progress = replace(progress, rate_scale=rate_scale, rollbacks=rollbacks)
        self.history = [row for row in self.history if int(row["epoch"]) <= progress.epoch]
        return self.progress

    def checkpoint(self, progress: Progress, validation: Optional[Scores] = None) -> Checkpoint:
        """What a checkpoint holds now; refused with infinite or undefined numbers in it.

        All workers call it, for each has a part of the state; the first one writes it.
        """
        arg, aux = self.engine.get_params()
        state = self.engine.get_state()
        check_finite({**arg, **aux}, progress)
        arg, aux, state = to_save(arg, aux, state)
        return Checkpoint(
            arg, aux, progress, state, self.preprocessing, self.train.classes, validation
        )


def open_session(given: FitSettings) -> Session:
    """Open all of it; InputError for the first thing that does not fit."""
    start = start_of(given)
    with contextlib.ExitStack() as on_error:
        on_error.callback(start.run.close)
        session = _opened(start)
        on_error.pop_all()
    return session


def _opened(start: Start) -> Session:
    settings, run = start.settings, start.run
    workers = join_workers(devices_of(settings))
    with together(workers):
        train = open_training_set(settings)
        val = open_validation_set(settings, train.classes, train.path)
        order = open_order(settings, train)
        transform = TrainTransform(settings, settings.image_shape, settings.seed)
        # These two refuse what cannot be, before anything is trained.
        EvalTransform(settings.image_shape, settings.val_resize)
        schedule_of(settings, len(train))
        symbol = start.symbol(len(train.classes))
        config = _configuration(settings, train, val, workers.world_size)
        if workers.rank == 0:
            run.open_for_training()
            notes = _check_same(run, settings, config)
            checkpoint = _beginning(start, train, symbol)
    with together(workers):
        if workers.rank:  # now that the first one has mended what a crash left
            notes = _check_same(run, settings, config)
            checkpoint = _beginning(start, train, symbol)
        engine = open_training_engine(settings, symbol, workers)
    _check_equal(workers, config, checkpoint, run)
    progress = _hand_over(checkpoint, engine, settings, len(train))
    if engine.rank == 0:
        run.write_symbol(symbol.tojson())
        run.write_json(run.config_path, config)
        if settings.load_epoch is not None:
            run.forget_last_beyond(progress)
    notes += _notes(start, symbol, workers)
    if not train.has_manifest and settings.num_classes is None:
        notes.append(
            f"{train.path} has no manifest that names its classes: it is taken for "
            f"ImageNet's {len(train.classes)}; --num-classes says how many there are"
        )
    history = [row for row in run.read_history() if int(row["epoch"]) <= progress.epoch]
    preprocessing = Preprocessing(
        settings.image_shape, settings.rgb_mean, settings.rgb_std, settings.val_resize
    )
    return Session(
        settings, run, workers, train, val, engine, order, transform, preprocessing, progress,
        [dict(row) for row in history], notes + _welcome(run, start.name, progress, len(train)),
        partial(_first, start, symbol),
    )  # fmt: skip


# --- where to begin ----------------------------------------------------------------------------


def _beginning(start: Start, train: Dataset, symbol: Any) -> Checkpoint:
    """What the run goes on from: a checkpoint that fits its network and classes, or a fresh one."""
    settings, run = start.settings, start.run
    checkpoint = _checkpoint_of(run, settings)
    if checkpoint is None:
        return _first(start, symbol)
    epoch = settings.load_epoch
    where = run.prefix if epoch is None else str(run.params_path(epoch))
    check_parameters(symbol, settings.image_shape, checkpoint.arg, checkpoint.aux, where)
    _check_classes(checkpoint, train)
    return checkpoint


def _first(start: Start, symbol: Any) -> Checkpoint:
    """What a run begins with."""
    return Checkpoint(*start.first_parameters(symbol), Progress())


def _checkpoint_of(run: Run, settings: FitSettings) -> Optional[Checkpoint]:
    """The newest checkpoint, or that of --load-epoch; None to begin afresh."""
    begun_from = run.read_json(run.config_path).get("settings", {}).get("load_epoch")
    if settings.load_epoch is None:
        return run.newest()
    if begun_from == settings.load_epoch and run.own_checkpoints():
        return run.newest()
    return run.go_back_to(settings.load_epoch)


def _hand_over(
    checkpoint: Checkpoint, engine: Engine, settings: FitSettings, images: int
) -> Progress:
    """Set the engine to a checkpoint; where that was parameters only, count its epochs as made."""
    progress = checkpoint.progress
    arg, aux, state = to_resume(checkpoint.arg, checkpoint.aux, checkpoint.state)
    engine.set_params(arg, aux)
    if state:
        engine.set_state(state)
    else:
        update = updates_before(progress.epoch, images, settings.batch_size)
        progress = replace(progress, update=update)
        engine.set_state({"updates": np.array(update)})
    return progress


def _notes(start: Start, symbol: Any, workers: Workers) -> List[str]:
    """What the flags mean for this run that a user may not expect."""
    settings = start.settings
    notes = start.source.notes(settings, symbol) if start.source else []
    notes += size_notes(start)
    notes += freeze_notes(settings, symbol)
    if settings.keep:
        notes.append(
            f"--keep {settings.keep}: of the numbered checkpoints the newest and the best stay; "
            "evaluate --epochs all and its --gif need those that go, so score them before"
        )
    notes += scaling_in_words(settings)
    if not workers.in_step:
        notes.append(
            "--kv-store dist_async: the servers hold the optimizer's state, which no checkpoint "
            "can have; a continued run begins with fresh momentum, and no two runs are the same"
        )
    devices = devices_of(settings)
    engine, why = choose_engine(devices)
    if engine == "torch":
        notes.append(f"engine: PyTorch ({why})")
        if devices.is_compiled:
            notes.append(
                "the first update takes a minute or more: torch.compile makes kernels for this "
                "network (--compile off begins at once, and is slower)"
            )
    if settings.gc_type != "none":
        here = len(settings.gpus) or settings.cpus
        notes.append(describe_compression(here * workers.world_size))
    return notes


def _welcome(run: Run, network: str, progress: Progress, images: int) -> List[str]:
    if not progress.update:
        return [f"{network}: {images} training images, files in {run.folder}/"]
    return [
        f"{network}: continuing {run.prefix} after epoch {progress.epoch}, update {progress.update}"
    ]


def _check_classes(checkpoint: Checkpoint, train: Dataset) -> None:
    if checkpoint.classes and checkpoint.classes != train.classes:
        raise InputError(
            f"{train.path}: its classes are not those that the run was trained on; "
            "choose another --model-prefix"
        )


def check_finite(arrays: Dict[str, Any], progress: Progress) -> None:
    """NonFiniteError if a parameter is infinite or undefined: the checkpoint would be worthless."""
    for name, value in arrays.items():
        if not np.isfinite(value).all():
            raise NonFiniteError(
                f"{name} is not finite after update {progress.update}",
                "the last checkpoint is kept; use a lower --lr or more --warmup-epochs, and "
                "another --model-prefix",
            )


# --- config.json -------------------------------------------------------------------------------
