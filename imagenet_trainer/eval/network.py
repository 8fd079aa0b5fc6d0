"""Open a trained network: symbol, checkpoint, preprocessing, engine."""

import os
from dataclasses import asdict, replace
from typing import Any, Callable, Dict, Optional, Sequence, Tuple

from imagenet_trainer.config import DeviceSettings, PreparationSettings, ViewSettings, commands
from imagenet_trainer.config.flags import flag_of, formatted
from imagenet_trainer.config.values import BEST
from imagenet_trainer.data.augment import EvalTransform
from imagenet_trainer.data.classes import Classes, default_classes, read_classes
from imagenet_trainer.data.views import Views
from imagenet_trainer.engines import Devices, Engine
from imagenet_trainer.engines.factory import open_engine
from imagenet_trainer.engines.symbol import (
    check_parameters,
    ends_in_sigmoid,
    load_symbol,
    of_network,
)
from imagenet_trainer.errors import InputError, attributed_to
from imagenet_trainer.eval.foreign import adapt
from imagenet_trainer.eval.temperature import divide_logits
from imagenet_trainer.runs.checkpoint import Checkpoint, Preprocessing, given_preprocessing
from imagenet_trainer.runs.retention import best_epoch
from imagenet_trainer.runs.run import Run
from imagenet_trainer.runs.temperature import read_temperature
from imagenet_trainer.system.arrays import Arrays

Log = Callable[[str], object]
_AS_TRAINED = PreparationSettings()
# Defaults of --image-shape, --rgb-std and --val-resize for a network of another program.
_FOREIGN: Dict[str, Any] = {
    "image_shape": (3, 224, 224),
    "rgb_std": (1.0, 1.0, 1.0),
    "val_resize": 0,
}


def open_network(
    run: Run,
    epoch: Optional[int],
    devices: Devices,
    batch_size: int,
    wanted: PreparationSettings = _AS_TRAINED,
    log: Log = lambda line: None,
) -> Tuple[Engine, Any, Checkpoint]:
    """An engine with a trained network, its symbol, and its checkpoint.

    Parameters
    ----------
    run, epoch
        The run and its epoch; BEST for the best one, None for the newest.
    devices, batch_size
        Where the network runs, and the number of views per batch.
    wanted
        Preprocessing that replaces that of the checkpoint.
    log
        Called with a line for everything that the user should know about the network.

    Raises InputError if the run has no such checkpoint, or one without .npz, whose preprocessing
    is unknown unless `wanted` has it.

    """
    symbol, checkpoint = read_network(run, epoch, wanted, log)
    if os.access(run.folder, os.W_OK):
        devices = replace(devices, compile_cache=str(run.kernels_path))
    engine = engine_for(symbol, checkpoint, devices, batch_size)
    set_checkpoint(engine, symbol, run, checkpoint)
    return engine, symbol, checkpoint


def check_softmax(symbol: Any, flag: str, run: Run) -> None:
    """InputError for a flag that needs probabilities of one class of each image."""
    if ends_in_sigmoid(symbol):
        raise InputError(
            f"{flag}: {run.symbol_path} is for images with several classes, whose probabilities do "
            "not depend on each other; omit the flag"
        )


def engine_for(symbol: Any, checkpoint: Checkpoint, devices: Devices, batch_size: int) -> Engine:
    """An engine that predicts with the preprocessing of a checkpoint, without its parameters."""
    how = checkpoint.known_preprocessing
    _, height, width = how.image_shape
    shape = (batch_size, height, width, 3)
    return open_engine(symbol, devices, shape, how.rgb_mean, how.rgb_std, bgr=how.bgr)


def read_network(
    run: Run,
    epoch: Optional[int],
    wanted: PreparationSettings = _AS_TRAINED,
    log: Log = lambda line: None,
) -> Tuple[Any, Checkpoint]:
    """The symbol for engines, and the checkpoint with preprocessing and classes.

    As `open_network`, but the parameters are unchecked, as in the file.
    """
    symbol = load_symbol(run.read_symbol(), str(run.symbol_path))
    if epoch == BEST:
        epoch = best_epoch(run)
    for name in run.empty_files():
        log(f"{run.folder / name}: is empty; it is passed over")
    number = newest_epoch(run) if epoch is None else epoch
    checkpoint = load_trained(run, number, wanted, log)
    how = checkpoint.known_preprocessing
    symbol, classes, notes = adapt(
        symbol, checkpoint.arg.keys(), how.image_shape, str(run.symbol_path)
    )
    for note in notes:
        log(note)
    if wanted.classes:
        checkpoint = replace(checkpoint, classes=_named(wanted.classes, classes, run.prefix))
    elif not checkpoint.classes:
        checkpoint = replace(checkpoint, classes=default_classes(classes))
    return symbol, checkpoint


def _named(source: str, outputs: int, prefix: str) -> Classes:
    """The classes that --classes names; InputError unless there is one for each output."""
    with attributed_to("--classes", " "):
        classes = read_classes(source)
        if len(classes) != outputs:
            raise InputError(
                f"{source}: names {len(classes)} classes, but the network of {prefix} has "
                f"{outputs} outputs; give one name for each, in their order"
            )
    return classes


def newest_epoch(run: Run) -> int:
    """The last finished epoch of a run; InputError if there is none."""
    epochs = run.epochs()
    if not epochs:
        raise InputError(f"{run.folder}: has no finished epoch; train with {commands.TRAIN}")
    return epochs[-1]


def devices_of(settings: DeviceSettings, few: bool = False) -> Devices:
    """The devices that the settings request.

    `few`: so few images that compiling takes longer than classifying them; `auto` is `off` then.
    """
    compile_ = "off" if few and settings.compile == "auto" else settings.compile
    return Devices(settings.gpus, settings.cpus, engine=settings.engine, compile=compile_)


def views_of(settings: ViewSettings) -> Views:
    """The views of each image that the settings request; InputError for conflicting flags."""
    if settings.flip and settings.crops == 10:
        raise InputError(
            "--flip: --crops 10 already includes the mirror image of every crop; omit --flip"
        )
    return Views(settings.crops, settings.flip)


def load_trained(
    run: Run, epoch: int, wanted: PreparationSettings = _AS_TRAINED, log: Log = lambda line: None
) -> Checkpoint:
    """A checkpoint with its preprocessing, replaced where `wanted` has other values.

    InputError for a checkpoint without .npz if `wanted` does not have the mean.
    """
    checkpoint = run.load(epoch)
    if wanted.calibrated:
        checkpoint = replace(checkpoint, temperature=read_temperature(run, epoch))
    flags = given_preprocessing(wanted)
    path = run.params_path(epoch)
    if checkpoint.preprocessing is None:
        if "rgb_mean" not in flags:
            raise InputError(
                f"{path}: has no .npz beside it, so its preprocessing is unknown; give it with "
                "--rgb-mean, --rgb-std, --bgr and --image-shape, or continue training from it with "
                "--load-epoch"
            )
        shape = run.image_shape()
        known: Dict[str, Any] = {"image_shape": shape} if shape else {}
        how = Preprocessing(**{**_FOREIGN, **known, **flags})
        log(f"{path}: preprocessing {as_flags(how)}")
        return replace(checkpoint, preprocessing=how)
    how = replace(checkpoint.preprocessing, **flags)
    if how != checkpoint.preprocessing:
        trained = checkpoint.preprocessing
        other = [name for name, value in asdict(how).items() if value != asdict(trained)[name]]
        log(f"{path}: was trained with {as_flags(trained, other)}; now {as_flags(how, other)}")
    return replace(checkpoint, preprocessing=how)


def as_flags(how: Preprocessing, names: Sequence[str] = ()) -> str:
    """Preprocessing as flags, all that are not at a default or those with some names.

    The short side is the one that images really have before the crop, also where --val-resize is 0.
    """
    values = asdict(how)
    values["val_resize"] = EvalTransform(how.image_shape, how.val_resize).short_side
    parts = []
    for name in names or how.as_dict():
        if values[name] is not False or names:
            parts.append(f"{flag_of(name)} {formatted(values[name])}")
    return " ".join(parts)


def set_checkpoint(engine: Engine, symbol: Any, run: Run, checkpoint: Checkpoint) -> None:
    """Set the parameters of an engine; InputError if they are of another network."""
    engine.set_params(*own_parameters(symbol, run, checkpoint))


def own_parameters(symbol: Any, run: Run, checkpoint: Checkpoint) -> Tuple[Arrays, Arrays]:
    """Parameters and auxiliary states of a checkpoint; InputError if they do not fit the symbol."""
    path = str(run.params_path(checkpoint.progress.epoch))
    shape, arg, aux = checkpoint.known_preprocessing.image_shape, checkpoint.arg, checkpoint.aux
    if not checkpoint.state:
        arg, aux = of_network(symbol, shape, arg, aux)
    check_parameters(symbol, shape, arg, aux, path)
    if checkpoint.temperature != 1:
        arg = divide_logits(symbol, arg, checkpoint.temperature, path)
    return arg, aux
