"""Temperatures of checkpoints: NAME-0012.temperature.json, written by `evaluate --calibrate`.

Guo, Pleiss, Sun and Weinberger 2017, "On Calibration of Modern Neural Networks",
arXiv:1706.04599, section 4.2: the logits are divided by one number before the softmax.
"""

from pathlib import Path
from typing import Any, Dict

from imagenet_trainer.errors import InputError
from imagenet_trainer.runs.run import Run
from imagenet_trainer.system.files import write_json
from imagenet_trainer.system.shape import NUMBER

_SHAPE = {"temperature": NUMBER, "params_sha256": str}


def write_temperature(run: Run, epoch: int, fields: Dict[str, Any]) -> Path:
    """Write the temperature of an epoch, and how it was fitted; return the file's path."""
    path = run.temperature_path(epoch)
    write_json(path, {**fields, "params_sha256": run.params_sha256(epoch)})
    return path


def read_temperature(run: Run, epoch: int) -> float:
    """The temperature of an epoch; InputError if there is none for its parameters."""
    path = run.temperature_path(epoch)
    found = run.read_json(path, _SHAPE)
    if not found:
        raise InputError(
            f"--calibrated: {path} does not exist; run first: evaluate --model-prefix "
            f"{run.prefix} --epochs {epoch} --calibrate"
        )
    if found["params_sha256"] != run.params_sha256(epoch):
        raise InputError(
            f"--calibrated: {path} is of other parameters than {run.params_path(epoch).name}; run "
            "evaluate --calibrate again"
        )
    temperature = float(found["temperature"])
    if not 0 < temperature < float("inf"):
        raise InputError(f"{path}: has no temperature above 0; run evaluate --calibrate again")
    return temperature
