"""Every flag once: name, type, default, unit, help, check, and whether a resumed run may change it.

Groups of flags are classes; a command inherits the groups that it takes. `flags` reads them.
"""

from imagenet_trainer.config.comparing import CompareSettings, ContestSettings, MeasureSettings
from imagenet_trainer.config.data import AugmentSettings, DataSettings, TrainingDataSettings
from imagenet_trainer.config.measuring import BenchmarkSettings, BottleneckSettings
from imagenet_trainer.config.optimisation import MethodSettings, ScheduleSettings
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
    "ContestSettings",
    "DataSettings",
    "DeviceSettings",
    "EvaluateSettings",
    "ExportSettings",
    "FitSettings",
    "MeasureSettings",
    "MethodSettings",
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
