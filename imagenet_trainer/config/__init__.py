"""Every flag once: name, type, default, unit, help, check, and whether a resumed run may change it.

Groups of flags are classes; a command inherits the groups that it takes. `flags` reads them.
"""

from imagenet_trainer.config.data import AugmentSettings, DataSettings, TrainingDataSettings
from imagenet_trainer.config.measuring import BenchmarkSettings
from imagenet_trainer.config.scoring import EvaluateSettings, ExportSettings, PredictSettings
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
    "DataSettings",
    "DeviceSettings",
    "EvaluateSettings",
    "ExportSettings",
    "FitSettings",
    "NetworkSettings",
    "OptimizerSettings",
    "PredictSettings",
    "RunSettings",
    "TrainingDataSettings",
    "TransferSettings",
]
