"""A training with everything opened and checked: data, network, engine, run, first checkpoint.

`open_session` does it in three steps: `read_inputs` reads data, flags and network, and writes
nothing; `_prepare_run` checks the run on the disk and finds the checkpoint to continue from;
`_record` writes what belongs to the run before its first update.
"""

import contextlib
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

from imagenet_trainer.config import FitSettings
from imagenet_trainer.data.augment import TrainTransform
from imagenet_trainer.data.dataset import Dataset
from imagenet_trainer.data.loader import check_pairs
from imagenet_trainer.data.mixup import mixing_of
from imagenet_trainer.data.order import Order, updates_before
from imagenet_trainer.engines import Engine
from imagenet_trainer.engines.factory import join_workers
from imagenet_trainer.engines.symbol import check_parameters, check_state, of_network
from imagenet_trainer.engines.update_rules import renumbered
from imagenet_trainer.engines.workers import Workers, together
from imagenet_trainer.errors import InputError, NonFiniteError
from imagenet_trainer.graph import load_json
from imagenet_trainer.metrics.counts import Scores
from imagenet_trainer.runs.checkpoint import (
    Checkpoint,
    Preprocessing,
    Progress,
    given_preprocessing,
)
from imagenet_trainer.runs.ema import averages, to_resume, to_save
from imagenet_trainer.runs.run import Run
from imagenet_trainer.system.arrays import not_finite
from imagenet_trainer.system.files import write_json
from imagenet_trainer.train.agreement import check_shared, check_workers_equal
from imagenet_trainer.train.confusion_gif import ConfusionGif
from imagenet_trainer.train.continuation import explained
from imagenet_trainer.train.datasets import loss_weights
from imagenet_trainer.train.engine import devices_of, open_training_engine
from imagenet_trainer.train.engine_choice import choose_threads, joins_others
from imagenet_trainer.train.image_sizes import Size
from imagenet_trainer.train.inputs import Inputs, read_inputs
from imagenet_trainer.train.run_config import check_resumable, run_configuration
from imagenet_trainer.train.schedule import Schedule
from imagenet_trainer.train.schedule_flags import schedule_of
from imagenet_trainer.train.setup import TrainingSetup, training_setup
from imagenet_trainer.train.start_messages import first_message, messages_of
from imagenet_trainer.train.teacher import open_teacher
from imagenet_trainer.train.transfer import frozen


@dataclass
class Session:
    """Everything that the training loop uses."""

    settings: FitSettings
    run: Run
    workers: Workers
    train: Dataset
    val: Dataset
    minival: Optional[Dataset]  # with --minival
    engine: Engine
    teacher: Optional[Engine]
    order: Order
    preprocessing: Preprocessing
    progress: Progress
    history: List[Dict[str, Any]]
    messages: List[str]  # for the log, once
    initial_checkpoint: Callable[[], Checkpoint]  # before the first update

    def first_update(self, epoch: int) -> int:
        """The first update of an epoch."""
        return updates_before(epoch, len(self.train), self.settings.batch_size)

    def learning_rate(self, update: int) -> float:
        """The rate of an update; a function of its number alone."""
        return self.schedule.rate(update)

    def transform_of(self, size: Size) -> TrainTransform:
        """What happens to training images of this height and width."""
        return TrainTransform(self.settings, (3, *size), self.settings.seed)

    @cached_property
    def schedule(self) -> Schedule:
        """The learning rates of the whole run."""
        return schedule_of(self.settings, len(self.train))

    @contextlib.contextmanager
    def evaluated_parameters(self) -> Iterator[None]:
        """Give the engine the parameters that a checkpoint stores (with --ema: the averages)."""
        # Averages the devices' moving statistics, which must happen at a fixed point of each epoch.
        trained = self.engine.get_params()
        state = self.engine.get_state() if self.settings.ema else {}
        self.engine.set_params(*averages(state) or trained)
        try:
            yield
        finally:
            if self.settings.ema:
                self.engine.set_params(*trained)

    @cached_property
    def confusion_gif(self) -> Optional[ConfusionGif]:
        """Draws the confusion matrix after each epoch, with --confusion-gif."""
        wanted = self.settings.confusion_gif
        return ConfusionGif(self.run, len(self.train.classes)) if wanted else None

    def close(self) -> None:
        """Close the shards and unlock the run."""
        self.train.shards.close()
        self.val.shards.close()
        if self.minival:
            self.minival.shards.close()
        self.run.close()

    def restore(self, rate_scale: float, rollbacks: int) -> Progress:
        """Return to the newest numbered checkpoint, or the beginning, and discard later progress.

        The caller must save the returned progress, so that a killed run resumes with the rollback.
        """
        epochs = self.run.epochs()
        checkpoint = self.run.load(epochs[-1]) if epochs else self.initial_checkpoint()
        progress = _load_into(self.engine, checkpoint, self.settings, len(self.train))
        self.engine.read_counts()  # discards the counts of the discarded updates
        self.progress = replace(progress, rate_scale=rate_scale, rollbacks=rollbacks)
        self.history = [row for row in self.history if int(row["epoch"]) <= progress.epoch]
        return self.progress

    def checkpoint(
        self,
        progress: Progress,
        validation: Optional[Scores] = None,
        minival: Optional[Scores] = None,
    ) -> Checkpoint:
        """The content of a checkpoint now; NonFiniteError if a parameter is not finite.

        All workers call it, because each has a part of the state; worker 0 writes it.
        """
        arg, aux = self.engine.get_params()
        state = self.engine.get_state()
        check_finite({**arg, **aux}, progress)
        arg, aux, state = to_save(arg, aux, state)
        return Checkpoint(
            arg, aux, progress, state, self.preprocessing, self.train.classes, validation, minival
        )


def open_session(settings: FitSettings, engine_reason: str = "") -> Session:
    """Open everything that a training needs; InputError for the first thing that is wrong.

    `engine_reason` is why `with_engine` chose the engine, for the log.
    """
    setup = training_setup(settings)
    threads: List[str] = []

    def choose() -> None:
        threads.append(choose_threads(setup.settings))

    if joins_others(setup.settings):  # which loads the engine
        choose()
    with contextlib.ExitStack() as on_error:
        on_error.callback(setup.run.close)
        workers = join_workers(devices_of(setup.settings))
        inputs, config, checkpoint, engine, changes = _open_together(setup, workers, choose)
        check_workers_equal(workers, config, checkpoint, setup.run)
        with together(workers):
            teacher = open_teacher(setup.settings, inputs.train.classes, engine.batch_size)
        progress = _load_into(engine, checkpoint, setup.settings, len(inputs.train))
        if workers.rank == 0:
            _record(setup, inputs.symbol, config, progress)
        how = Preprocessing(**given_preprocessing(setup.settings))
        history = [r for r in setup.run.read_history() if int(r["epoch"]) <= progress.epoch]
        session = Session(
            setup.settings, setup.run, workers, inputs.train, inputs.val, inputs.minival, engine,
            teacher, inputs.order, how, progress, [dict(row) for row in history],
            [*changes, *messages_of(setup, inputs, workers, engine_reason),
             *filter(None, threads), first_message(setup, progress, len(inputs.train))],
            partial(_initial_checkpoint, setup, inputs.symbol),
        )  # fmt: skip
        on_error.pop_all()
    return session


# --- the steps of opening ----------------------------------------------------------------------


def _open_together(
    setup: TrainingSetup, workers: Workers, with_data: Callable[[], None]
) -> Tuple[Inputs, Dict[str, Any], Checkpoint, Engine, List[str]]:
    """Inputs, config.json, checkpoint and engine of this worker, and changes to log.

    `with_data` is called when the data is open, before the engine is loaded.
    Worker 0 goes first where the run on the disk is opened: it repairs what a crash left. If one
    worker raises an error, all do.
    """
    with together(workers):
        inputs = read_inputs(setup, with_data)
        if mixing_of(setup.settings, setup.settings.seed):
            check_pairs(inputs.order, workers.world_size)
        config = run_configuration(setup.settings, inputs.train, inputs.val, workers.world_size)
        if workers.rank == 0:
            setup.run.open_for_training()
            changes, checkpoint = _prepare_run(setup, inputs, config)
    check_shared(setup.run, workers)
    with together(workers):
        if workers.rank != 0:
            changes, checkpoint = _prepare_run(setup, inputs, config)
        kernels = str(setup.run.kernels_path)
        weights = loss_weights(setup.settings, inputs.train)
        engine = open_training_engine(setup.settings, inputs.symbol, workers, kernels, weights)
    return inputs, config, checkpoint, engine, changes


def _prepare_run(
    setup: TrainingSetup, inputs: Inputs, config: Dict[str, Any]
) -> Tuple[List[str], Checkpoint]:
    """Changes since the run was started, for the log, and the checkpoint to continue from."""
    changes = check_resumable(setup.run, setup.settings, config, inputs.train, inputs.val)
    return changes, _checkpoint_to_continue(setup, inputs.train, inputs.symbol)


def _record(setup: TrainingSetup, symbol: Any, config: Dict[str, Any], progress: Progress) -> None:
    """Write the network and config.json into the run's folder."""
    run = setup.run
    run.write_symbol(symbol.tojson())
    write_json(run.config_path, config)
    if setup.settings.load_epoch is not None:
        run.forget_last_beyond(progress)


# --- the checkpoint to continue from -----------------------------------------------------------


def _checkpoint_to_continue(setup: TrainingSetup, train: Dataset, symbol: Any) -> Checkpoint:
    """A checkpoint that matches the network and the classes, or the initial parameters."""
    settings, run = setup.settings, setup.run
    checkpoint = _find_checkpoint(run, settings)
    if checkpoint is None:
        return _initial_checkpoint(setup, symbol)
    _check_same_file(setup, symbol)
    epoch = settings.load_epoch
    where = run.prefix if epoch is None else str(run.params_path(epoch))
    if setup.continuation and not checkpoint.state:
        arg, aux = of_network(symbol, settings.image_shape, checkpoint.arg, checkpoint.aux)
        checkpoint = replace(checkpoint, arg=arg, aux=aux)
    with explained(settings, run):
        check_parameters(symbol, settings.image_shape, checkpoint.arg, checkpoint.aux, where)
    if checkpoint.state:
        # The parameters that were frozen until this epoch have no state.
        is_origin = epoch == checkpoint.progress.epoch and not checkpoint.progress.scores.images
        unchanged = list(checkpoint.arg) if is_origin else frozen(settings, list(checkpoint.arg))
        check_state(symbol, checkpoint.arg, checkpoint.aux, checkpoint.state, unchanged, where)
    if checkpoint.classes and checkpoint.classes != train.classes:
        raise InputError(
            f"{train.path}: its classes are not those on which the run was trained; "
            "choose another --model-prefix"
        )
    return checkpoint


def _check_same_file(setup: TrainingSetup, symbol: Any) -> None:
    """InputError if a file or a plug-in gives another network than the run began with."""
    run, path = setup.run, setup.settings.network
    if setup.network.is_ours or setup.fine_tuning or not run.symbol_path.exists():
        return
    began_with, now = map(load_json, (run.read_symbol(), symbol.tojson()))
    if began_with.structure() != now.structure():
        raise InputError(
            f"--network {path}: is another network than that of {run.folder}, which "
            f"{run.symbol_path.name} has; restore the file or the package, or start another run "
            "with --model-prefix"
        )


def _initial_checkpoint(setup: TrainingSetup, symbol: Any) -> Checkpoint:
    return Checkpoint(*setup.initial_parameters(symbol), Progress())


def _find_checkpoint(run: Run, settings: FitSettings) -> Optional[Checkpoint]:
    """The newest checkpoint, or that of --load-epoch; None for a new run."""
    if settings.load_epoch is None:
        return run.newest()
    started_from = run.settings().get("load_epoch")
    if started_from == settings.load_epoch and run.own_checkpoints():
        return run.newest()
    return run.go_back_to(settings.load_epoch)


def _load_into(
    engine: Engine, checkpoint: Checkpoint, settings: FitSettings, images: int
) -> Progress:
    """Set the engine to a checkpoint; return the progress.

    A finished epoch counts as one of this run, whose batches and images may be others: of a
    checkpoint that was copied, or of parameters alone.
    """
    progress = checkpoint.progress
    if not progress.scores.images:
        update = updates_before(progress.epoch, images, settings.batch_size)
        progress = replace(progress, update=update)
    arg, aux, state = to_resume(checkpoint.arg, checkpoint.aux, checkpoint.state)
    engine.set_params(arg, aux)
    engine.set_state(renumbered(state, progress.update))
    return progress


def check_finite(arrays: Dict[str, Any], progress: Progress) -> None:
    """NonFiniteError if a parameter is infinite or undefined: such a checkpoint is useless."""
    name = not_finite(arrays)
    if name is not None:
        raise NonFiniteError(
            f"{name} is not finite after update {progress.update}",
            "the last checkpoint is kept; use a lower --lr or more --warmup-epochs, and "
            "another --model-prefix",
        )
