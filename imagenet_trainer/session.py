"""What a training needs, opened and checked: data, network, engine, run folder, where to begin."""

import contextlib
import hashlib
import os
import platform
import sys
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from typing import Any, Dict, List, Optional, Tuple

import numpy as np

import symbols
from imagenet_trainer import __version__
from imagenet_trainer.config import FitSettings
from imagenet_trainer.data.augment import EvalTransform, TrainTransform, effective
from imagenet_trainer.data.order import Order, updates_before
from imagenet_trainer.data.sets import PictureSet, open_training_set, open_validation_set
from imagenet_trainer.engines import (
    Arrays,
    Devices,
    Engine,
    Optimizer,
    Training,
    check_parameters,
    join_workers,
    open_engine,
    parameter_shapes,
)
from imagenet_trainer.engines.choice import choose_engine
from imagenet_trainer.engines.workers import Workers, check_equal, together
from imagenet_trainer.errors import InputError
from imagenet_trainer.flags import flag_of
from imagenet_trainer.initializers import initial_parameters
from imagenet_trainer.run import RUNS, Checkpoint, Preprocessing, Progress, Run
from imagenet_trainer.schedule import learning_rate, steps_of

# What --use-imagenet-data-augmentation divides by, unless --rgb-std says otherwise.
IMAGENET_STD = (58.393, 57.12, 57.375)


@dataclass
class Session:
    """Everything that the training loop calls by name."""

    settings: FitSettings
    run: Run
    workers: Workers
    train: PictureSet
    val: PictureSet
    engine: Engine
    order: Order
    transform: TrainTransform
    preprocessing: Preprocessing
    progress: Progress
    history: List[Dict[str, Any]]
    notes: List[str]  # what the user should be told once

    def first_update(self, epoch: int) -> int:
        """The update with which an epoch begins."""
        return updates_before(epoch, len(self.train), self.settings.batch_size)

    def learning_rate(self, update: int) -> float:
        """The rate of an update; a function of its number alone."""
        s = self.settings
        *steps, warmup = self._steps
        return learning_rate(
            update,
            base=s.lr,
            factor=s.lr_factor,
            steps=steps,
            warmup=warmup,
            strategy=s.warmup_strategy,
        )

    @cached_property
    def _steps(self) -> Tuple[int, ...]:
        """The updates at which the rate drops, and with which warm-up ends."""
        epochs = (*self.settings.lr_step_epochs, self.settings.warmup_epochs)
        return steps_of(epochs, len(self.train), self.settings.batch_size)

    def close(self) -> None:
        """Close the shards and let other trainers of the run in."""
        self.train.shards.close()
        self.val.shards.close()
        self.run.close()

    def save(self, epoch: Optional[int], progress: Progress) -> None:
        """Write a checkpoint; refuse one with infinite or undefined numbers in it.

        All workers call it, for each has a part of the state; the first one writes.
        """
        arg, aux = self.engine.get_params()
        state = self.engine.get_state()
        check_finite({**arg, **aux}, progress)
        if self.engine.rank == 0:
            self.run.save(
                Checkpoint(arg, aux, progress, state, self.preprocessing, self.train.classes),
                epoch,
            )


def open_session(settings: FitSettings) -> Session:
    """Open all of it; InputError for the first thing that does not fit."""
    network = symbols.find(settings.network, settings.num_layers)
    run = run_of(settings)
    with contextlib.ExitStack() as on_error:
        on_error.callback(run.close)
        session = _opened(completed(settings), network, run)
        on_error.pop_all()
    return session


def run_of(settings: FitSettings) -> Run:
    """The run that a training with these settings is."""
    name = symbols.find(settings.network, settings.num_layers).name
    return Run(settings.model_prefix or f"{RUNS}/{name}/model")


def _opened(settings: FitSettings, network: symbols.Network, run: Run) -> Session:
    workers = join_workers(devices_of(settings))
    with together(workers):
        train = open_training_set(settings)
        val = open_validation_set(settings, train.classes, train.path)
        order = Order(settings.seed, len(train), settings.batch_size, settings.shuffle_window)
        transform = TrainTransform(settings, settings.image_shape, settings.seed)
        EvalTransform(
            settings.image_shape, settings.val_resize
        )  # refuses what cannot be, before training
        symbol = symbols.get_symbol(
            settings.network, len(train.classes), settings.image_shape, settings.num_layers,
            settings.activation,
        )  # fmt: skip
        config = _configuration(settings, train, val, workers.world_size)
        if workers.rank == 0:
            run.open_for_training()
            notes = _check_same(run, config)
            checkpoint = _beginning(run, settings, train, network, symbol)
    with together(workers):
        if workers.rank:  # now that the first one has mended what a crash left
            notes = _check_same(run, config)
            checkpoint = _beginning(run, settings, train, network, symbol)
        engine = open_training_engine(settings, symbol, workers)
    _check_equal(workers, config, checkpoint, run)
    progress = _hand_over(checkpoint, engine, settings, len(train))
    if engine.rank == 0:
        run.write_symbol(symbol.tojson())
        run.write_json(run.config_path, config)
        if settings.load_epoch is not None:
            run.forget_last_beyond(progress)
    engine_name, why = choose_engine(devices_of(settings))
    if engine_name == "torch":
        notes.append(f"engine: PyTorch ({why})")
    if not workers.in_step:
        notes.append(
            "--kv-store dist_async: the servers hold the optimizer's state, which no checkpoint "
            "can have; a continued run begins with fresh momentum, and no two runs are the same"
        )
    if settings.gc_type != "none":
        notes.append(
            "--gc-type 2bit: what compression holds back is not in checkpoints, so a resumed run "
            "is not the same to the last bit"
        )
    history = [row for row in run.read_history() if int(row["epoch"]) <= progress.epoch]
    preprocessing = Preprocessing(
        settings.image_shape, settings.rgb_mean, settings.rgb_std, settings.val_resize
    )
    return Session(
        settings, run, workers, train, val, engine, order, transform, preprocessing, progress,
        [dict(row) for row in history], notes + _welcome(run, network.name, progress, len(train)),
    )  # fmt: skip


def devices_of(settings: FitSettings) -> Devices:
    """Where these settings train."""
    return Devices(
        settings.gpus,
        settings.cpus,
        settings.dtype,
        settings.kv_store,
        settings.gc_threshold if settings.gc_type == "2bit" else None,
        settings.engine,
        settings.compile,
    )


def open_training_engine(
    settings: FitSettings, symbol: Any, workers: Optional[Workers] = None
) -> Engine:
    """The engine that these settings describe, with the workers that were joined for it."""
    _, height, width = settings.image_shape
    devices = devices_of(settings)
    return open_engine(
        symbol,
        devices,
        (settings.batch_size, height, width, 3),
        settings.rgb_mean,
        settings.rgb_std,
        Training(
            Optimizer(settings.optimizer, settings.mom, settings.wd),
            settings.seed,
            settings.monitor,
        ),
        workers or join_workers(devices),
    )


def first_parameters(
    settings: FitSettings, network: symbols.Network, symbol: Any
) -> Tuple[Arrays, Arrays]:
    """Arguments and auxiliary states that a run begins with."""
    default = settings.initializer == "default"
    return initial_parameters(
        *parameter_shapes(symbol, settings.image_shape),
        network.initializer if default else settings.initializer,
        settings.seed,
    )


def completed(settings: FitSettings) -> FitSettings:
    """What the flags mean together; InputError for what this version cannot do."""
    settings = effective(settings)
    if settings.use_imagenet_data_augmentation and settings.rgb_std == (1.0, 1.0, 1.0):
        settings = replace(settings, rgb_std=IMAGENET_STD)
    return settings


# --- where to begin ----------------------------------------------------------------------------


def _beginning(
    run: Run, settings: FitSettings, train: PictureSet, network: symbols.Network, symbol: Any
) -> Checkpoint:
    """What the run goes on from: a checkpoint that fits its network and classes, or a fresh one."""
    checkpoint = _checkpoint_of(run, settings)
    if checkpoint is None:
        return Checkpoint(*first_parameters(settings, network, symbol), Progress())
    epoch = settings.load_epoch
    where = run.prefix if epoch is None else str(run.params_path(epoch))
    check_parameters(symbol, settings.image_shape, checkpoint.arg, checkpoint.aux, where)
    _check_classes(checkpoint, train)
    return checkpoint


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
    engine.set_params(checkpoint.arg, checkpoint.aux)
    if checkpoint.state:
        engine.set_state(checkpoint.state)
    else:
        update = updates_before(progress.epoch, images, settings.batch_size)
        progress = replace(progress, update=update)
        engine.set_state({"updates": np.array(update)})
    return progress


def _welcome(run: Run, network: str, progress: Progress, images: int) -> List[str]:
    if not progress.update:
        return [f"{network}: {images} training pictures, files in {run.folder}/"]
    return [
        f"{network}: continuing {run.prefix} after epoch {progress.epoch}, update {progress.update}"
    ]


def _check_classes(checkpoint: Checkpoint, train: PictureSet) -> None:
    if checkpoint.classes and checkpoint.classes != train.classes:
        raise InputError(
            f"{train.path}: its classes are not those that the run was trained on; "
            "choose another --model-prefix"
        )


def check_finite(arrays: Dict[str, Any], progress: Progress) -> None:
    """InputError if a parameter is infinite or undefined: such a checkpoint would be worthless."""
    for name, value in arrays.items():
        if not np.isfinite(value).all():
            raise InputError(
                f"{name} is not finite after update {progress.update}; the last checkpoint is "
                "kept; use a lower --lr or more --warmup-epochs, and another --model-prefix"
            )


def _check_equal(
    workers: Workers, config: Dict[str, Any], checkpoint: Checkpoint, run: Run
) -> None:
    """InputError, in all workers alike, if one of them would train something else."""
    begin = hashlib.sha256(repr(checkpoint.progress).encode())
    for name in sorted(checkpoint.arg):
        begin.update(checkpoint.arg[name].tobytes())
    flags = {
        field.name: config["settings"][field.name]
        for field in fields(FitSettings)
        if not field.metadata["free"] or field.name in ("num_epochs", "load_epoch", "disp_batches")
    }
    check_equal(flags, workers, "has other flags than worker 0; start all with one command")
    check_equal(
        config["data"], workers, "has other pictures than worker 0; copy them, or share one folder"
    )
    check_equal(
        begin.hexdigest(),
        workers,
        f"does not see the checkpoint that worker 0 goes on from; {run.folder} must be a folder "
        "that all machines share",
    )


# --- config.json -------------------------------------------------------------------------------


def _configuration(
    settings: FitSettings, train: PictureSet, val: PictureSet, workers: int
) -> Dict[str, Any]:
    import cv2

    from imagenet_trainer.mxnet_import import mx

    return {
        "settings": asdict(settings),
        "data": {"train": train.fingerprint, "val": val.fingerprint, "train_images": len(train)},
        "command": sys.argv,
        "versions": {
            "imagenet_trainer": __version__,
            "python": platform.python_version(),
            "mxnet": mx.__version__,
            "numpy": np.__version__,
            "opencv": cv2.__version__,
        },
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
        "workers": workers,
        "engine": choose_engine(devices_of(settings)).engine,
    }


def _check_same(run: Run, config: Dict[str, Any]) -> List[str]:
    """InputError if a run that is there was begun with other settings; notes on what may differ."""
    before = run.read_json(run.config_path)
    if not before:
        return []
    # Which the first version did not write.
    before = {"workers": 1, "engine": "mxnet", **before}
    if not before.keys() >= config.keys():
        raise InputError(f"{run.config_path}: is another program's; choose another --model-prefix")
    if not run.own_checkpoints():
        return []  # nothing has been trained with them
    way_out = "use the same, or begin another run with --model-prefix"
    for field in fields(FitSettings):
        if field.metadata["free"]:
            continue
        ours, theirs = config["settings"][field.name], before["settings"].get(field.name)
        ours = list(ours) if isinstance(ours, tuple) else ours
        if ours != theirs:
            raise InputError(
                f"{flag_of(field.name)} {_words(ours)}: {run.folder} was begun with "
                f"{_words(theirs)}; {way_out}"
            )
    if config["data"]["train"] != before["data"]["train"]:
        raise InputError(
            f"--data-train {config['settings']['data_train']}: is not what {run.folder} was "
            f"trained on so far; {way_out}"
        )
    return [
        f"{what} was {before[what]} and is {config[what]}: the run goes on, but not to the last bit"
        for what in ("omp_num_threads", "versions", "workers", "engine")
        if before[what] != config[what]
    ]


def _words(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
