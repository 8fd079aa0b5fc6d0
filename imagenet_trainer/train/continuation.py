"""Network and preprocessing of a checkpoint that `fit` did not begin (--load-epoch).

A folder may hold a network of another program, or one that `published` wrote. PREFIX-symbol.json is
its network unless a flag names one, and the .npz beside the parameters has its preprocessing.
"""

import contextlib
from dataclasses import fields, replace
from typing import Any, Dict, Iterator, List, Mapping, Optional

from imagenet_trainer import symbols
from imagenet_trainer.config import FitSettings
from imagenet_trainer.config.flags import flag_with_value, is_set
from imagenet_trainer.engines.symbol import load_symbol
from imagenet_trainer.errors import ArgumentError, InputError
from imagenet_trainer.eval.foreign import adapt
from imagenet_trainer.graph import Symbol
from imagenet_trainer.runs.checkpoint import Preprocessing
from imagenet_trainer.runs.run import Run

# Flags, and fields of Preprocessing, that a trained network brings.
PREPROCESSING = tuple(one.name for one in fields(Preprocessing))
_INPUTS = {"data", "softmax_label"}


class Continuation:
    """The network of a run's own -symbol.json."""

    def __init__(self, symbol: Symbol, run: Run, settings: FitSettings) -> None:
        names = {*symbol.list_arguments()}
        if settings.load_epoch is not None and not names >= _INPUTS:
            names = {*run.load(settings.load_epoch).arg}
        names -= _INPUTS
        path = str(run.symbol_path)
        self._symbol, self._classes, self.messages = adapt(
            symbol, names, settings.image_shape, path
        )
        self.name = f"the network of {run.prefix}"
        epoch = "EPOCH" if settings.load_epoch is None else settings.load_epoch
        self._path, self._pretrained = path, f"--pretrained {run.prefix},{epoch}"

    def symbol(self, classes: int) -> Symbol:
        """The network; InputError if it has another number of classes than the images."""
        if classes != self._classes:
            raise InputError(
                f"{self._path}: has {self._classes} classes, but the training images have "
                f"{classes}; {self._pretrained} and another --model-prefix replace its classifier"
            )
        return self._symbol


def continuation_of(
    settings: FitSettings, run: Run, network: symbols.Network
) -> Optional[Continuation]:
    """The network in a run's folder, if it is another one than the default of --network.

    None if a flag names a network, or there is nothing to continue.
    """
    exists = settings.load_epoch is not None or bool(run.own_checkpoints())
    if names_a_network(settings) or not exists or not run.symbol_path.exists():
        return None
    symbol = load_symbol(run.read_symbol(), str(run.symbol_path))
    try:
        usual = symbols.get_symbol(
            settings.network, 2, settings.image_shape, settings.num_layers, settings.activation
        )
    except ArgumentError:  # for example images that are too small for it
        return Continuation(symbol, run, settings)
    same = {*symbol.list_arguments()} == {*usual.list_arguments()}
    return None if same else Continuation(symbol, run, settings)


@contextlib.contextmanager
def explained(settings: FitSettings, run: Run) -> Iterator[None]:
    """Add to an InputError about parameters that the network is a guess, where it is one."""
    try:
        yield
    except InputError as error:
        if names_a_network(settings) or run.symbol_path.exists():
            raise
        raise InputError(
            f"{error}; there is no {run.symbol_path}, so the network is --network "
            f"{settings.network}: copy that file too, or name the network"
        ) from error


def names_a_network(settings: FitSettings) -> bool:
    """Whether --network or --num-layers was given with a value other than its default."""
    return is_set(settings, "num_layers") or is_set(settings, "network")


def with_preprocessing(settings: FitSettings, theirs: Mapping[str, Any]) -> FitSettings:
    """The settings with the preprocessing of a trained network.

    A flag whose value is not its default overrides it.
    """
    changes: Dict[str, Any] = {
        name: tuple(theirs[name]) if isinstance(theirs[name], list) else theirs[name]
        for name in PREPROCESSING
        if name in theirs and not is_set(settings, name)
    }
    return replace(settings, **changes)


def as_continued(settings: FitSettings, run: Run) -> FitSettings:
    """The settings with the preprocessing of the checkpoint of --load-epoch, where it is known.

    InputError if `fit` would continue a checkpoint of `published` with another one.
    """
    epoch = settings.load_epoch
    if epoch is None and not run.config_path.exists():
        epoch = next((one for one in run.own_checkpoints() if one is not None), None)
    known = None if epoch is None else run.preprocessing(epoch)
    if known is None:
        return settings
    theirs = with_preprocessing(settings, vars(known))
    if settings.load_epoch is None and theirs != settings:
        raise InputError(
            f"{run.params_path(epoch)}: was trained with {' '.join(adopted(settings, theirs))}; "
            f"use the same flags, or --load-epoch {epoch}, which takes them from the checkpoint"
        )
    return theirs


def adopted(given: FitSettings, settings: FitSettings) -> List[str]:
    """For the log: the flags that a checkpoint brought."""
    return [
        flag_with_value(settings, name)
        for name in PREPROCESSING
        if getattr(given, name) != getattr(settings, name)
    ]
