"""A training before it is opened: complete settings, network, run, initial parameters.

`fit` itself, all of its previews and `benchmark bottleneck` start with `training_setup`. So the
same flags mean the same network in all of them, with --pretrained too.
"""

from dataclasses import dataclass, replace
from typing import Any, List, Optional, Sequence, Tuple

import numpy as np

from imagenet_trainer import symbols
from imagenet_trainer.config import FitSettings
from imagenet_trainer.config.flags import default_of
from imagenet_trainer.data.augment import effective
from imagenet_trainer.engines import Engine
from imagenet_trainer.engines.symbol import ends_in_sigmoid, parameter_shapes, with_sigmoid
from imagenet_trainer.engines.workers import Workers
from imagenet_trainer.errors import InputError
from imagenet_trainer.runs.run import Run, run_of
from imagenet_trainer.system.arrays import Arrays
from imagenet_trainer.train.architecture import refuse_options, with_options
from imagenet_trainer.train.continuation import Continuation, adopted, as_continued, continuation_of
from imagenet_trainer.train.engine import open_training_engine
from imagenet_trainer.train.initializers import initial_parameters
from imagenet_trainer.train.multi_label import check_multi_label
from imagenet_trainer.train.residual import branch_ends
from imagenet_trainer.train.transfer import FineTuning, default_prefix

# The standard deviation that --use-imagenet-data-augmentation sets, unless --rgb-std is given.
IMAGENET_STD = (58.393, 57.12, 57.375)
FEW_IMAGES = 10_000  # training images, below which fine-tuning is recommended
SMALLEST_PRETRAINED = 128  # pixels; published networks are for 224 and more


@dataclass(frozen=True)
class TrainingSetup:
    """A training that is not opened yet.

    `settings` are complete: flags that stand for others are resolved, and with --pretrained they
    contain the preprocessing of the pretrained network.
    """

    settings: FitSettings
    run: Run
    network: symbols.Network  # of --network
    fine_tuning: Optional[FineTuning]  # with --pretrained
    continuation: Optional[Continuation]  # of a network that --network does not name
    adopted: Sequence[str] = ()  # flags that the checkpoint of --load-epoch brought

    @property
    def name(self) -> str:
        """The name of the network in log lines and titles."""
        if self.fine_tuning:
            return self.fine_tuning.network_name(self.network)
        return self.continuation.name if self.continuation else self.network.name

    def symbol(self, classes: int) -> Any:
        """The network with the given number of classes, as an MXNet symbol."""
        symbol = self._classifier(classes)
        if self.settings.multi_label:
            return with_sigmoid(symbol)
        if ends_in_sigmoid(symbol):
            raise InputError(
                f"{self.run.symbol_path}: is for images with several classes; add --multi-label 1"
            )
        return symbol

    def _classifier(self, classes: int) -> Any:
        s = self.settings
        if self.fine_tuning or self.continuation:
            refuse_options(s, "--pretrained" if self.fine_tuning else str(self.run.symbol_path))
        if self.fine_tuning:
            return self.fine_tuning.symbol(s, classes)
        if self.continuation:
            return self.continuation.symbol(classes)
        symbol = symbols.get_symbol(s.network, classes, s.image_shape, s.num_layers, s.activation)
        return with_options(s, symbol, self.name)

    def initial_parameters(self, symbol: Any) -> Tuple[Arrays, Arrays]:
        """Arguments and auxiliary states before the first update."""
        if self.fine_tuning:
            return self.fine_tuning.initial_parameters(self.settings, symbol)
        return untrained_parameters(self.settings, self.network, symbol)

    def open_engine(
        self,
        symbol: Any,
        workers: Optional[Workers] = None,
        class_weights: Sequence[float] = (),
    ) -> Engine:
        """An engine with the initial parameters; joins the workers unless they are given."""
        engine = open_training_engine(
            replace(self.settings, teacher=None),  # previews have none
            symbol, workers, class_weights=class_weights,
        )  # fmt: skip
        engine.set_params(*self.initial_parameters(symbol))
        return engine


def training_setup(settings: FitSettings) -> TrainingSetup:
    """The training that these flags describe; InputError where they contradict each other."""
    network = symbols.find(settings.network, settings.num_layers)
    run = run_for(settings)
    fine_tuning = FineTuning(settings, run) if settings.pretrained else None
    given = settings = resolved(settings)
    if fine_tuning:
        settings = fine_tuning.with_preprocessing(settings)
        return TrainingSetup(settings, run, network, fine_tuning, None)
    settings = as_continued(settings, run)
    continuation = continuation_of(settings, run, network)
    return TrainingSetup(settings, run, network, None, continuation, adopted(given, settings))


def run_for(settings: FitSettings) -> Run:
    """The run in which a training with these settings stores its files."""
    if settings.pretrained:
        return Run(settings.model_prefix or default_prefix(settings.pretrained[0]))
    name = symbols.find(settings.network, settings.num_layers).name
    return run_of(settings.model_prefix, name)


def resolved(settings: FitSettings) -> FitSettings:
    """The settings with flags that stand for others resolved; InputError for contradictions."""
    if settings.pretrained and settings.zero_last_gamma:
        raise InputError(
            "--zero-last-gamma and --pretrained: would overwrite pretrained parameters; omit one"
        )
    check_multi_label(settings)
    settings = effective(settings)
    if settings.use_imagenet_data_augmentation and settings.rgb_std == (1.0, 1.0, 1.0):
        settings = replace(settings, rgb_std=IMAGENET_STD)
    return settings


def untrained_parameters(
    settings: FitSettings, network: symbols.Network, symbol: Any
) -> Tuple[Arrays, Arrays]:
    """Arguments and auxiliary states of an untrained network."""
    default = settings.initializer == "default"
    arg, aux = initial_parameters(
        *parameter_shapes(symbol, settings.image_shape),
        network.initializer if default else settings.initializer,
        settings.seed,
    )
    if settings.zero_last_gamma:
        ends = branch_ends(symbol)
        if not ends:
            raise InputError(
                f"--zero-last-gamma: {network.name} has no residual branches; omit the flag"
            )
        arg.update({name: np.zeros_like(arg[name]) for name in ends})
    return arg, aux


def advice_messages(setup: TrainingSetup, images: int) -> List[str]:
    """For the log: recommend fine-tuning where there are few images of a usual size."""
    small = min(setup.settings.image_shape[1:]) < SMALLEST_PRETRAINED
    if images >= FEW_IMAGES or small or setup.fine_tuning or setup.continuation:
        return []
    return [
        f"{images:,} training images: below {FEW_IMAGES:,} a network that is pretrained on "
        "ImageNet is usually much better; to start from one see python -m "
        "imagenet_trainer.published, then --pretrained PREFIX,0"
    ]


def image_size_messages(setup: TrainingSetup) -> List[str]:
    """For the log: warn if --image-shape is omitted, but the network is for another size."""
    default, own = default_of(FitSettings, "image_shape"), setup.network.image_shape
    named = not (setup.fine_tuning or setup.continuation)
    if not named or setup.settings.image_shape != default or own == default:
        return []
    return [
        f"{setup.name}: was published for images of {own[1]} x {own[2]} and is trained on "
        f"{default[1]} x {default[2]} here; use --image-shape {','.join(map(str, own))} for the "
        "published size"
    ]
