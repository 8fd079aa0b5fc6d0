"""An engine's predictions to a whole set of images, each counted exactly once."""

from dataclasses import asdict, fields, replace
from typing import Any, Callable, Dict, Optional, Sequence, Tuple

from imagenet_trainer.config import PreparationSettings, ViewSettings
from imagenet_trainer.config.values import BEST
from imagenet_trainer.data.dataset import default_classes
from imagenet_trainer.data.views import Views
from imagenet_trainer.engines import Devices, Engine
from imagenet_trainer.engines.factory import open_engine
from imagenet_trainer.engines.symbol import check_parameters, load_symbol, parameter_shapes
from imagenet_trainer.errors import InputError
from imagenet_trainer.eval.foreign import adapted
from imagenet_trainer.runs.checkpoint import Checkpoint, Preprocessing
from imagenet_trainer.runs.retention import best_epoch
from imagenet_trainer.runs.run import Run
from imagenet_trainer.system.arrays import Arrays

Tell = Callable[[str], object]
_AS_TRAINED = PreparationSettings()
# What --image-shape, --rgb-std and --val-resize are for another program's network.
_USUAL: Dict[str, Any] = {"image_shape": (3, 224, 224), "rgb_std": (1.0, 1.0, 1.0), "val_resize": 0}


def open_network(
    run: Run,
    epoch: Optional[int],
    devices: Devices,
    batch_size: int,
    wanted: PreparationSettings = _AS_TRAINED,
    tell: Tell = lambda line: None,
) -> Tuple[Engine, Any, Checkpoint]:
    """A trained network that predictions, at the epoch given (BEST: the best) or the run's newest;
    its symbol; its checkpoint.

    Parameters
    ----------
    run, epoch, devices, batch_size
        which one, where it runs, and how many views it takes at a time.
    wanted
        preprocessing that takes the place of the checkpoint's.
    tell
        is given a line for everything about it that the user should know.

    Raises InputError where the run holds no such checkpoint or one that lacks its .npz, without
    which nobody knows its preprocessing, unless `wanted` says it.

    """
    symbol, checkpoint = read_network(run, epoch, wanted, tell)
    how = checkpoint.preprocessing
    assert how is not None
    _, height, width = how.image_shape
    shape = (batch_size, height, width, 3)
    turn = -1 if wanted.bgr else 1  # images come in the network's order of colours
    engine = open_engine(symbol, devices, shape, how.rgb_mean[::turn], how.rgb_std[::turn])
    set_checkpoint(engine, symbol, run, checkpoint)
    return engine, symbol, checkpoint


def read_network(
    run: Run,
    epoch: Optional[int],
    wanted: PreparationSettings = _AS_TRAINED,
    tell: Tell = lambda line: None,
) -> Tuple[Any, Checkpoint]:
    """The symbol that engines execute and the checkpoint with preprocessing and classes, as for
    `open_network`; its parameters are still as the file has them.
    """
    symbol = load_symbol(run.read_symbol(), str(run.symbol_path))
    if epoch == BEST:
        epoch = best_epoch(run)
    number = newest_epoch(run) if epoch is None else epoch
    checkpoint = load_trained(run, number, wanted, tell)
    how = checkpoint.preprocessing
    assert how is not None
    symbol, classes, notes = adapted(
        symbol, checkpoint.arg.keys(), how.image_shape, str(run.symbol_path)
    )
    for note in notes:
        tell(note)
    if not checkpoint.classes:
        checkpoint = replace(checkpoint, classes=default_classes(classes))
    return symbol, checkpoint


def newest_epoch(run: Run) -> int:
    """The last finished epoch of a run; InputError where there is none."""
    epochs = run.epochs()
    if not epochs:
        raise InputError(
            f"{run.folder}: has no finished epoch yet; train with python -m imagenet_trainer.fit"
        )
    return epochs[-1]


def views_of(settings: ViewSettings) -> Views:
    """What a network is shown of an image; InputError for flags that say it twice."""
    if settings.flip and settings.crops == 10:
        raise InputError(
            "--flip: --crops 10 shows the mirror image of every crop already; leave --flip away"
        )
    return Views(settings.crops, settings.flip, settings.bgr)


def load_trained(
    run: Run,
    epoch: int,
    wanted: PreparationSettings = _AS_TRAINED,
    tell: Tell = lambda line: None,
) -> Checkpoint:
    """A checkpoint with its preprocessing, or with what is wanted instead of it.

    InputError for one that lacks its .npz if `wanted` does not say how images are prepared.
    """
    checkpoint = run.load(epoch)
    named = ((field.name, getattr(wanted, field.name, None)) for field in fields(Preprocessing))
    flags: Dict[str, Any] = {name: value for name, value in named if value is not None}
    path = run.params_path(epoch)
    if checkpoint.preprocessing is None:
        if "rgb_mean" not in flags:
            raise InputError(
                f"{path}: has no .npz beside it, which says how images are prepared for it; say "
                "it with --rgb-mean, --rgb-std, --bgr and --image-shape, or train on from it with "
                "--load-epoch"
            )
        how = Preprocessing(**{**_USUAL, **flags})
        tell(f"{path}: images are prepared with {_words(asdict(how))}")
        return replace(checkpoint, preprocessing=how)
    how = replace(checkpoint.preprocessing, **flags)
    if how != checkpoint.preprocessing:
        before, now = asdict(checkpoint.preprocessing), asdict(how)
        other = [name for name in before if before[name] != now[name]]
        tell(f"{path}: was trained with {_words(before, other)}; now {_words(now, other)}")
    return replace(checkpoint, preprocessing=how)


def _words(how: Dict[str, Any], names: Sequence[str] = ()) -> str:
    """Preprocessing as flags, all or those of some names."""
    parts = []
    for name in names or how:
        value = how[name]
        text = ",".join(f"{v:g}" for v in value) if isinstance(value, tuple) else str(value)
        parts.append(f"--{name.replace('_', '-')} {text}")
    return " ".join(parts)


def set_checkpoint(engine: Engine, symbol: Any, run: Run, checkpoint: Checkpoint) -> None:
    """Give an engine the parameters of a checkpoint, if they are of its network."""
    engine.set_params(*own_parameters(symbol, run, checkpoint))


def own_parameters(symbol: Any, run: Run, checkpoint: Checkpoint) -> Tuple[Arrays, Arrays]:
    """A checkpoint's parameters and auxiliary states; InputError unless they are its network's."""
    assert checkpoint.preprocessing is not None
    path = str(run.params_path(checkpoint.progress.epoch))
    shape, arg, aux = checkpoint.preprocessing.image_shape, checkpoint.arg, checkpoint.aux
    if not checkpoint.state:
        # Another program's may hold parameters of outputs that are not asked.
        wanted_arg, wanted_aux = parameter_shapes(symbol, shape)
        arg = {name: value for name, value in arg.items() if name in wanted_arg}
        aux = {name: value for name, value in aux.items() if name in wanted_aux}
    check_parameters(symbol, shape, arg, aux, path)
    return arg, aux
