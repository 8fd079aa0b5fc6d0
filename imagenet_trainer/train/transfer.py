"""Transfer learning: begin with what another training has learned, and hold parts of it still.

A network that was trained before is a symbol, its arguments and its auxiliary states, whoever made
it: `Pretrained`. It gets a classifier for the classes at hand; everything else keeps its numbers.
The files of a pretrained network are read to begin a run, and not when it continues.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

import numpy as np

import symbols
from imagenet_trainer.config import FitSettings
from imagenet_trainer.config.flags import default_of, flag_of
from imagenet_trainer.config.values import BEST
from imagenet_trainer.engines.symbol import Shapes, load_symbol, parameter_shapes
from imagenet_trainer.errors import InputError
from imagenet_trainer.runs.checkpoint import Preprocessing
from imagenet_trainer.runs.retention import best_epoch
from imagenet_trainer.runs.run import RUNS, Run
from imagenet_trainer.system.arrays import Arrays
from imagenet_trainer.train.initializers import initial_parameters

_PREPARED = ("image_shape", "rgb_mean", "rgb_std", "val_resize")  # of Preprocessing and FitSettings


@dataclass(frozen=True)
class Pretrained:
    """A network with its numbers. Arrays float32, by MXNet's names."""

    symbol: Any  # None: nobody knows, only its parameters are there
    arg: Arrays
    aux: Arrays
    preprocessing: Optional[Preprocessing]  # None: not ours, nobody knows
    where: str  # what errors call the parameters


def read_pretrained(prefix: str, epoch: int) -> Pretrained:
    """PREFIX-symbol.json and PREFIX-EPOCH.params, of a run of ours or of any MXNet program.

    Raises InputError where they are not there or damaged.
    """
    run = Run(prefix)
    if epoch == BEST:
        epoch = best_epoch(run)
    checkpoint = run.load(epoch)
    symbol = None
    if run.symbol_path.exists():
        symbol = load_symbol(run.read_symbol(), str(run.symbol_path))
    return Pretrained(
        symbol, _float32(checkpoint.arg), _float32(checkpoint.aux), checkpoint.preprocessing,
        str(run.params_path(epoch)),
    )  # fmt: skip


def _float32(arrays: Arrays) -> Arrays:
    return {name: value.astype(np.float32) for name, value in arrays.items()}


def begin_with(
    pretrained: Pretrained,
    symbol: Any,
    image_shape: Tuple[int, ...],
    first_values: Callable[[Shapes], Arrays],
) -> Tuple[Arrays, Arrays]:
    """Arguments and auxiliary states of a network: its classifier's new, all others pretrained.

    `symbol` is the network with its new classifier, `first_values` makes the numbers of the
    parameters whose shapes it gets. Raises InputError naming the first parameter that the
    pretrained network lacks or has in another shape.
    """
    from symbols.classifier import classifier_of

    new = classifier_of(symbol)
    arg_shapes, aux_shapes = _shapes(symbol, image_shape, pretrained.where)
    arg = first_values({name: arg_shapes[name] for name in new})
    old = {name: shape for name, shape in arg_shapes.items() if name not in new}
    arg.update(_taken(pretrained.arg, old, pretrained.where))
    return arg, _taken(pretrained.aux, aux_shapes, pretrained.where)


def _taken(arrays: Arrays, shapes: Shapes, where: str) -> Arrays:
    for name, shape in shapes.items():
        if name not in arrays:
            raise InputError(
                f"{where}: has no {name}: it is of another network; leave --network away to take "
                "the one of its -symbol.json"
            )
        if arrays[name].shape != tuple(shape):
            raise InputError(
                f"{where}: {name} is {arrays[name].shape} where this network has {tuple(shape)}: "
                "it is of another network or image size (--network, --num-layers, --image-shape)"
            )
    return {name: arrays[name] for name in shapes}


def _shapes(symbol: Any, image_shape: Tuple[int, ...], where: str) -> Tuple[Shapes, Shapes]:
    try:
        return parameter_shapes(symbol, image_shape)
    except (RuntimeError, TypeError) as error:  # MXNet's, and what it leaves open
        raise InputError(
            f"--image-shape {_words(image_shape)}: the network of {where} does not take such "
            "images; give the size that it was trained on"
        ) from error


class Source:
    """What --pretrained means for one run, whether it begins or continues."""

    def __init__(self, given: FitSettings, run: Run) -> None:
        assert given.pretrained is not None
        self._given = given
        self._run = run
        prefix, epoch = given.pretrained
        self._name = f"--pretrained {prefix},{'best' if epoch == BEST else epoch}"
        if given.load_epoch is not None:
            raise InputError(
                "--pretrained and --load-epoch: the one begins a run, the other continues one; "
                "leave one away"
            )
        if Run(prefix).prefix == run.prefix:
            raise InputError(
                f"{self._name}: is the run itself; give another --model-prefix, or leave "
                "--pretrained away to continue"
            )
        self.continues = bool(run.own_checkpoints())
        self._read: Optional[Pretrained] = None

    @property
    def pretrained(self) -> Pretrained:
        """Read once, and only by a run that begins."""
        if self._read is None:
            assert self._given.pretrained is not None
            self._read = read_pretrained(*self._given.pretrained)
        return self._read

    def adopted(self, settings: FitSettings) -> FitSettings:
        """The settings with images prepared as for the pretrained network, if that is known.

        Flags that were given another value than their default are obeyed.
        """
        if self.continues:
            before = self._run.read_json(self._run.config_path).get("settings", {})
            how = {name: before[name] for name in _PREPARED if name in before}
        elif self.pretrained.preprocessing is None:
            return settings
        else:
            how = {name: getattr(self.pretrained.preprocessing, name) for name in _PREPARED}
        changes: Dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in how.items()
            if getattr(self._given, name) == default_of(FitSettings, name)
        }
        return replace(settings, **changes)

    def symbol(self, settings: FitSettings, num_classes: int) -> Any:
        """The network with its new classifier.

        That of the run, when it continues; that of --network, if it or --num-layers was given;
        else that of the pretrained PREFIX-symbol.json.
        """
        from symbols.classifier import with_classifier

        if self.continues:
            return load_symbol(self._run.read_symbol(), str(self._run.symbol_path))
        pretrained, layer = self.pretrained, settings.layer_before_fullc
        if names_a_network(settings):
            symbol = symbols.get_symbol(
                settings.network, num_classes, settings.image_shape, settings.num_layers,
                settings.activation,
            )  # fmt: skip
            known = {*symbol.list_arguments(), *symbol.list_auxiliary_states()}
            for name in (*pretrained.arg, *pretrained.aux):
                if name not in known:
                    raise InputError(
                        f"{pretrained.where}: {name} is not in --network {settings.network}: it is "
                        "of another one; leave the flag away to take that of its -symbol.json"
                    )
            return with_classifier(symbol, num_classes, layer) if layer else symbol
        if pretrained.symbol is None:
            raise InputError(
                f"{self._name}: there is no {self._given.pretrained[0]}-symbol.json; "  # type: ignore
                "copy it too, or say which network it is with --network"
            )
        return with_classifier(pretrained.symbol, num_classes, layer)

    def network_name(self, network: symbols.Network) -> str:
        """What the run says that it trains; `network` is that of --network."""
        assert self._given.pretrained is not None
        if names_a_network(self._given):
            return network.name
        return f"the network of {self._given.pretrained[0]}"

    def first_parameters(
        self, settings: FitSettings, network: symbols.Network, symbol: Any
    ) -> Tuple[Arrays, Arrays]:
        """Arguments and auxiliary states that the run begins with."""
        rule = network.initializer if names_a_network(settings) else symbols.HE_NORMAL
        if settings.initializer != "default":
            rule = {"name": settings.initializer}
        return begin_with(
            self.pretrained, symbol, settings.image_shape,
            lambda shapes: initial_parameters(shapes, {}, rule, settings.seed)[0],
        )  # fmt: skip

    def notes(self, settings: FitSettings, symbol: Any) -> List[str]:
        """What is new, what is kept, and how images are prepared."""
        from symbols.classifier import classifier_of

        if self.continues:
            return []
        new = classifier_of(symbol)
        kept = parameter_shapes(symbol, settings.image_shape)[0]
        ours = self.pretrained.preprocessing is not None
        prepared = "; ".join(f"{flag_of(n)} {_words(getattr(settings, n))}" for n in _PREPARED)
        return [
            f"{self._name}: {len(kept) - len(new)} parameters are kept, new are {', '.join(new)}",
            f"{self._name}: images are prepared "
            + ("as for it" if ours else "as the flags say, it does not tell how it was trained")
            + f": {prepared}",
        ]


def names_a_network(settings: FitSettings) -> bool:
    """Whether --network or --num-layers was given, as far as one can tell."""
    return settings.num_layers is not None or settings.network != default_of(FitSettings, "network")


def default_prefix(prefix: str) -> str:
    """Where a run goes that is not told: runs/NAME-tuned/model."""
    path = Path(prefix)
    name = path.parent.name if path.name == "model" and path.parent.name else path.name
    return f"{RUNS}/{name}-tuned/model"


def rate_factors(settings: FitSettings, symbol: Any) -> Dict[str, float]:
    """By which the rate of a parameter is multiplied, where it is not 1; 0 where it is frozen.

    Raises InputError for --freeze that matches nothing or everything, and for flags of --pretrained
    without it.
    """
    from symbols.classifier import classifier_of

    names = [n for n in symbol.list_arguments() if n not in ("data", "softmax_label")]
    factors: Dict[str, float] = {}
    if settings.pretrained_lr_factor != 1:
        _needs_pretrained(settings, "pretrained_lr_factor")
        new = classifier_of(symbol)
        factors = {name: settings.pretrained_lr_factor for name in names if name not in new}
    if settings.layer_before_fullc:
        _needs_pretrained(settings, "layer_before_fullc")
    factors.update(dict.fromkeys(frozen(settings, names), 0.0))
    return factors


def frozen(settings: FitSettings, names: List[str]) -> List[str]:
    """The parameters whose names begin with a match of --freeze."""
    if not settings.freeze:
        return []
    found = [name for name in names if re.match(settings.freeze, name)]
    if not found:
        raise InputError(
            f"--freeze {settings.freeze}: none of the {len(names)} parameters begins so; there are "
            f"{names[0]}, {names[1]} ... {names[-1]}; for a match further on begin with .*"
        )
    if len(found) == len(names):
        raise InputError(
            f"--freeze {settings.freeze}: matches every parameter, nothing would be trained; match "
            "fewer"
        )
    return found


def freeze_notes(settings: FitSettings, symbol: Any) -> List[str]:
    """How much --freeze holds still."""
    if not settings.freeze:
        return []
    shapes, _ = parameter_shapes(symbol, settings.image_shape)
    still = frozen(settings, list(shapes))
    numbers = sum(int(np.prod(shapes[name])) for name in still)
    of = sum(int(np.prod(shape)) for shape in shapes.values())
    return [
        f"--freeze {settings.freeze}: {len(still)} of {len(shapes)} parameters do not move "
        f"({numbers:,} of {of:,} numbers)"
    ]


def _needs_pretrained(settings: FitSettings, field: str) -> None:
    if settings.pretrained is None:
        value = getattr(settings, field)
        raise InputError(f"{flag_of(field)} {value}: goes with --pretrained; leave it away")


def _words(value: Any) -> str:
    return ",".join(f"{v:g}" for v in value) if isinstance(value, tuple) else str(value)
