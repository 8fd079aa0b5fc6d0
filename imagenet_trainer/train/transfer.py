"""Transfer learning: start from pretrained parameters (--pretrained), keep some fixed (--freeze).

A `PretrainedNetwork` is a symbol with its parameters, of any program. It gets a new classifier for
the classes of the training set; all other parameters are kept. Its files are read when a run
starts, and not when it is resumed.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

import numpy as np

from imagenet_trainer import symbols
from imagenet_trainer.config import FitSettings
from imagenet_trainer.config.flags import flag_of, flag_with_value, formatted, is_set
from imagenet_trainer.config.values import BEST
from imagenet_trainer.data.augment import EvalTransform
from imagenet_trainer.engines.symbol import Shapes, load_symbol, parameter_shapes
from imagenet_trainer.errors import InputError
from imagenet_trainer.runs.checkpoint import Preprocessing
from imagenet_trainer.runs.files import without_archive_ending
from imagenet_trainer.runs.retention import best_epoch
from imagenet_trainer.runs.run import RUNS, Run
from imagenet_trainer.runs.trained import open_run
from imagenet_trainer.symbols.classifier import classifier_of, is_rectified, with_classifier
from imagenet_trainer.system.arrays import Arrays
from imagenet_trainer.train.continuation import PREPROCESSING, names_a_network, with_preprocessing
from imagenet_trainer.train.initializers import initial_parameters, new_classifier


@dataclass(frozen=True)
class PretrainedNetwork:
    """A network with its parameters: float32 arrays by MXNet's names."""

    symbol: Any  # None: only the parameters are known
    arg: Arrays
    aux: Arrays
    preprocessing: Optional[Preprocessing]  # None: not known, another program trained it
    source: str  # the file's name, for errors


def read_pretrained(prefix: str, epoch: int) -> PretrainedNetwork:
    """Read PREFIX-symbol.json and PREFIX-EPOCH.params, of a run of fit or of any MXNet program.

    Raises InputError if they are missing or damaged.
    """
    run = open_run(prefix)
    if epoch == BEST:
        epoch = best_epoch(run)
    checkpoint = run.load(epoch)
    symbol = None
    if run.has_symbol():
        symbol = load_symbol(run.read_symbol(), str(run.symbol_path))
    return PretrainedNetwork(
        symbol, _float32(checkpoint.arg), _float32(checkpoint.aux), checkpoint.preprocessing,
        str(run.params_path(epoch)),
    )  # fmt: skip


def _float32(arrays: Arrays) -> Arrays:
    return {name: value.astype(np.float32) for name, value in arrays.items()}


def transfer_parameters(
    pretrained: PretrainedNetwork,
    symbol: Any,
    image_shape: Tuple[int, ...],
    initialise: Callable[[Shapes], Arrays],
) -> Tuple[Arrays, Arrays]:
    """Arguments and auxiliary states for a network: a new classifier, all others pretrained.

    `symbol` is the network with its new classifier, and `initialise` makes the arrays of the
    classifier's shapes. Raises InputError naming the first parameter that the pretrained network
    lacks or has in another shape.
    """
    new = classifier_of(symbol)
    arg_shapes, aux_shapes = _shapes(symbol, image_shape, pretrained.source)
    arg = initialise({name: arg_shapes[name] for name in new})
    kept = {name: shape for name, shape in arg_shapes.items() if name not in new}
    arg.update(_selected(pretrained.arg, kept, pretrained.source))
    return arg, _selected(pretrained.aux, aux_shapes, pretrained.source)


def _selected(arrays: Arrays, shapes: Shapes, source: str) -> Arrays:
    for name, shape in shapes.items():
        if name not in arrays:
            raise InputError(
                f"{source}: has no {name}: it belongs to another network; omit --network to use "
                "the one in its -symbol.json"
            )
        if arrays[name].shape != tuple(shape):
            raise InputError(
                f"{source}: {name} is {arrays[name].shape} where this network has {tuple(shape)}: "
                "it belongs to another network or image size (--network, --num-layers, "
                "--image-shape)"
            )
    return {name: arrays[name] for name in shapes}


def _shapes(symbol: Any, image_shape: Tuple[int, ...], source: str) -> Tuple[Shapes, Shapes]:
    try:
        return parameter_shapes(symbol, image_shape)
    except InputError as error:
        raise InputError(
            f"--image-shape {formatted(image_shape)}: the network of {source} cannot take such "
            "images; use the size on which it was trained"
        ) from error


class FineTuning:
    """The effect of --pretrained on one run, whether it starts or is resumed."""

    def __init__(self, given: FitSettings, run: Run) -> None:
        assert given.pretrained is not None
        self._given = given
        self._run = run
        self._prefix = given.pretrained[0]
        self._flag = flag_with_value(given, "pretrained")
        if given.load_epoch is not None:
            raise InputError(
                "--pretrained and --load-epoch: one starts a run, the other continues one; omit "
                "one of them"
            )
        if Run(self._prefix).prefix == run.prefix:
            raise InputError(
                f"{self._flag}: is the run itself; use another --model-prefix, or omit "
                "--pretrained to continue"
            )
        self.is_resumed = bool(run.own_checkpoints())
        self._network: Optional[PretrainedNetwork] = None

    @property
    def pretrained(self) -> PretrainedNetwork:
        """Read once, and only by a run that starts."""
        if self._network is None:
            assert self._given.pretrained is not None
            self._network = read_pretrained(*self._given.pretrained)
        return self._network

    def with_preprocessing(self, settings: FitSettings) -> FitSettings:
        """The settings with the preprocessing of the pretrained network, if it is known.

        A flag whose value is not its default overrides it.
        """
        if self.is_resumed:
            return with_preprocessing(settings, self._run.settings())
        if self.pretrained.preprocessing is None:
            return settings
        return with_preprocessing(settings, vars(self.pretrained.preprocessing))

    def symbol(self, settings: FitSettings, num_classes: int) -> Any:
        """The network with its new classifier.

        It is that of the run when the run is resumed, that of --network if --network or
        --num-layers is given, and otherwise that of the pretrained PREFIX-symbol.json.
        """
        if self.is_resumed:
            return load_symbol(self._run.read_symbol(), str(self._run.symbol_path))
        if names_a_network(settings):
            return self._named_symbol(settings, num_classes)
        if self.pretrained.symbol is None:
            raise InputError(
                f"{self._flag}: there is no {self._prefix}-symbol.json; copy it too, or name the "
                "network with --network"
            )
        return with_classifier(self.pretrained.symbol, num_classes, settings.layer_before_fullc)

    def _named_symbol(self, settings: FitSettings, num_classes: int) -> Any:
        pretrained, layer = self.pretrained, settings.layer_before_fullc
        symbol = symbols.get_symbol(
            settings.network, num_classes, settings.image_shape, settings.num_layers,
            settings.activation,
        )  # fmt: skip
        known = {*symbol.list_arguments(), *symbol.list_auxiliary_states()}
        for name in (*pretrained.arg, *pretrained.aux):
            if name not in known:
                raise InputError(
                    f"{pretrained.source}: {name} is not in --network {settings.network}: it "
                    "belongs to another network; omit the flag to use that of its -symbol.json"
                )
        return with_classifier(symbol, num_classes, layer) if layer else symbol

    def network_name(self, network: symbols.Network) -> str:
        """The network's name in log lines; `network` is that of --network."""
        if names_a_network(self._given):
            return network.name
        return f"the network of {self._prefix}"

    def initial_parameters(self, settings: FitSettings, symbol: Any) -> Tuple[Arrays, Arrays]:
        """Arguments and auxiliary states before the first update."""
        seed, rule = settings.seed, settings.initializer

        def initialise(shapes: Shapes) -> Arrays:
            if rule != "default":
                return initial_parameters(shapes, {}, rule, seed)[0]
            return new_classifier(shapes, classifier_of(symbol), is_rectified(symbol), seed)

        return transfer_parameters(self.pretrained, symbol, settings.image_shape, initialise)

    def messages(self, settings: FitSettings, symbol: Any) -> List[str]:
        """For the log: which parameters are new, and how images are preprocessed."""
        if self.is_resumed:
            return []
        new = classifier_of(symbol)
        shapes = parameter_shapes(symbol, settings.image_shape)[0]
        known = self.pretrained.preprocessing is not None
        how = "as in its training" if known else "by the flags, because its own is unknown"
        resize = EvalTransform(settings.image_shape, settings.val_resize)
        used = {"val_resize": resize.short_side}  # also where the flag is 0
        values = "; ".join(
            f"{flag_of(name)} {formatted(used.get(name, getattr(settings, name)))}"
            for name in PREPROCESSING
            if name not in ("bgr", "val_interp") or is_set(settings, name)
        )
        return [
            f"{self._flag}: {len(shapes) - len(new)} parameters are pretrained; "
            f"{', '.join(new)} are new",
            f"{self._flag}: images are preprocessed {how}: {values}",
        ]


def default_prefix(prefix: str) -> str:
    """The prefix of a run without --model-prefix: runs/NAME-tuned/model."""
    path = Path(without_archive_ending(prefix))
    name = path.parent.name if path.name == "model" and path.parent.name else path.name
    return f"{RUNS}/{name}-tuned/model"


def rate_factors(settings: FitSettings, symbol: Any) -> Dict[str, float]:
    """Factors of the learning rate by parameter, where they are not 1; 0 for frozen parameters.

    Raises InputError if --freeze matches no parameter or all of them, and for flags that need
    --pretrained.
    """
    names = [n for n in symbol.list_arguments() if n not in ("data", "softmax_label")]
    factors: Dict[str, float] = {}
    if settings.pretrained_lr_factor != 1:
        _check_pretrained(settings, "pretrained_lr_factor")
        new = classifier_of(symbol)
        factors = {name: settings.pretrained_lr_factor for name in names if name not in new}
    if settings.layer_before_fullc:
        _check_pretrained(settings, "layer_before_fullc")
    factors.update(dict.fromkeys(frozen(settings, names), 0.0))
    return factors


def frozen(settings: FitSettings, names: List[str]) -> List[str]:
    """The parameters whose names start with a match of --freeze."""
    if not settings.freeze:
        return []
    matching = [name for name in names if re.match(settings.freeze, name)]
    if not matching:
        raise InputError(
            f"--freeze {settings.freeze}: matches the start of none of the {len(names)} parameters "
            f"{names[0]}, {names[1]} ... {names[-1]}; to match elsewhere, start with .*"
        )
    if len(matching) == len(names):
        raise InputError(
            f"--freeze {settings.freeze}: matches every parameter, so nothing would be trained; "
            "match fewer"
        )
    return matching


def freeze_messages(settings: FitSettings, symbol: Any) -> List[str]:
    """For the log: how many parameters --freeze matches."""
    if not settings.freeze:
        return []
    shapes, _ = parameter_shapes(symbol, settings.image_shape)
    fixed = frozen(settings, list(shapes))
    numbers = sum(int(np.prod(shapes[name])) for name in fixed)
    total = sum(int(np.prod(shape)) for shape in shapes.values())
    return [
        f"--freeze {settings.freeze}: {len(fixed)} of {len(shapes)} parameters are frozen "
        f"({numbers:,} of {total:,} numbers)"
    ]


def _check_pretrained(settings: FitSettings, field: str) -> None:
    if settings.pretrained is None:
        given = flag_with_value(settings, field)
        raise InputError(f"{given}: needs --pretrained; add it, or omit the flag")
