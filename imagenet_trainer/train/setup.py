"""What a training begins with: its settings made whole, its network, engine and first parameters.

Everything that trains, or asks what a training would be, begins here: `fit` itself, `--summary`,
`--show-schedule`, `--find-lr`, `--find-batch`, `--benchmark` and `benchmark bottleneck`. So all of
them mean the same network by the same flags, with --pretrained too.
"""

from dataclasses import dataclass, replace
from typing import Any, List, Optional, Tuple

import numpy as np

import symbols
from imagenet_trainer.config import FitSettings
from imagenet_trainer.config.flags import default_of
from imagenet_trainer.data.augment import effective
from imagenet_trainer.engines import Engine
from imagenet_trainer.engines.symbol import parameter_shapes
from imagenet_trainer.engines.workers import Workers
from imagenet_trainer.errors import InputError
from imagenet_trainer.runs.run import Run, run_of
from imagenet_trainer.system.arrays import Arrays
from imagenet_trainer.train.engine import open_training_engine
from imagenet_trainer.train.initializers import initial_parameters
from imagenet_trainer.train.residual import branch_ends
from imagenet_trainer.train.transfer import Source, default_prefix

# What --use-imagenet-data-augmentation divides by, unless --rgb-std says otherwise.
IMAGENET_STD = (58.393, 57.12, 57.375)


@dataclass(frozen=True)
class Start:
    """A training before anything of it is opened.

    `settings` are whole: what flags mean together and what --pretrained brings is filled in.
    """

    settings: FitSettings
    run: Run
    network: symbols.Network  # of --network
    source: Optional[Source]  # with --pretrained

    @property
    def name(self) -> str:
        """What the run says that it trains."""
        return self.source.network_name(self.network) if self.source else self.network.name

    def symbol(self, classes: int) -> Any:
        """The network for so many classes, as an MXNet symbol."""
        if self.source:
            return self.source.symbol(self.settings, classes)
        s = self.settings
        return symbols.get_symbol(s.network, classes, s.image_shape, s.num_layers, s.activation)

    def first_parameters(self, symbol: Any) -> Tuple[Arrays, Arrays]:
        """Arguments and auxiliary states that it begins with."""
        make = self.source.first_parameters if self.source else first_parameters
        return make(self.settings, self.network, symbol)

    def opened(self, symbol: Any, workers: Optional[Workers] = None) -> Engine:
        """An engine that holds the first parameters; the workers are joined if they are not yet."""
        engine = open_training_engine(self.settings, symbol, workers)
        engine.set_params(*self.first_parameters(symbol))
        return engine


def start_of(settings: FitSettings) -> Start:
    """What these flags begin; InputError where they contradict each other or name nothing."""
    network = symbols.find(settings.network, settings.num_layers)
    run = run_for(settings)
    source = Source(settings, run) if settings.pretrained else None
    settings = completed(settings)
    return Start(source.adopted(settings) if source else settings, run, network, source)


def size_notes(start: Start) -> List[str]:
    """A word to who leaves --image-shape away for a network that was published for another size."""
    usual, own = default_of(FitSettings, "image_shape"), start.network.image_shape
    if start.source or start.settings.image_shape != usual or own == usual:
        return []
    return [
        f"{start.name}: was published for images of {own[1]} x {own[2]} and is trained on "
        f"{usual[1]} x {usual[2]} here; --image-shape {','.join(map(str, own))} is its own size"
    ]


def run_for(settings: FitSettings) -> Run:
    """The run that a training with these settings is."""
    if settings.pretrained:
        return Run(settings.model_prefix or default_prefix(settings.pretrained[0]))
    name = symbols.find(settings.network, settings.num_layers).name
    return run_of(settings.model_prefix, name)


def completed(settings: FitSettings) -> FitSettings:
    """The settings with what flags stand for filled in; InputError for flags that contradict."""
    if settings.pretrained and settings.zero_last_gamma:
        raise InputError(
            "--zero-last-gamma and --pretrained: what was learned would be lost; leave one away"
        )
    settings = effective(settings)
    if settings.use_imagenet_data_augmentation and settings.rgb_std == (1.0, 1.0, 1.0):
        settings = replace(settings, rgb_std=IMAGENET_STD)
    return settings


def first_parameters(
    settings: FitSettings, network: symbols.Network, symbol: Any
) -> Tuple[Arrays, Arrays]:
    """Arguments and auxiliary states that an untrained network begins with."""
    default = settings.initializer == "default"
    arg, aux = initial_parameters(
        *parameter_shapes(symbol, settings.image_shape),
        network.initializer if default else settings.initializer,
        settings.seed,
    )
    if settings.zero_last_gamma:
        ends = branch_ends(symbol.tojson())
        if not ends:
            raise InputError(
                f"--zero-last-gamma: {network.name} has no residual branches; leave it away"
            )
        arg.update({name: np.zeros_like(arg[name]) for name in ends})
    return arg, aux
