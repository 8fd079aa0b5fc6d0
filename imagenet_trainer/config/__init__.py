"""Every flag once: name, type, default, help, validation, and whether a resumed run may change it.

Groups of flags are dataclasses, which the settings class of a command inherits. `flags` parses
command lines, `values` has the types, `recipes` the named experiments, `python_api` makes commands
callable. What flags do belongs to other rooms: this one imports only system and errors.
"""

from imagenet_trainer.config.comparing import (
    CompareSettings,
    ComparisonSettings,
    LatencySettings,
    MeasureSettings,
)
from imagenet_trainer.config.data import AugmentSettings, DataSettings, TrainingDataSettings
from imagenet_trainer.config.figures import FigureSettings
from imagenet_trainer.config.measuring import BenchmarkSettings, BottleneckSettings
from imagenet_trainer.config.optimisation import MethodSettings, MixSettings, ScheduleSettings
from imagenet_trainer.config.scoring import (
    EvaluateSettings,
    ExportSettings,
    PredictSettings,
    PreparationSettings,
    PublishedSettings,
    ViewSettings,
)
from imagenet_trainer.config.training import (
    DeviceSettings,
    FitSettings,
    NetworkSettings,
    OptimizerSettings,
    RunSettings,
    TransferSettings,
)

__all__ = [
    "AugmentSettings",
    "BenchmarkSettings",
    "BottleneckSettings",
    "CompareSettings",
    "ComparisonSettings",
    "DataSettings",
    "DeviceSettings",
    "EvaluateSettings",
    "ExportSettings",
    "FigureSettings",
    "FitSettings",
    "LatencySettings",
    "MeasureSettings",
    "MethodSettings",
    "MixSettings",
    "NetworkSettings",
    "OptimizerSettings",
    "PredictSettings",
    "PreparationSettings",
    "PublishedSettings",
    "RunSettings",
    "ScheduleSettings",
    "TrainingDataSettings",
    "TransferSettings",
    "ViewSettings",
]
