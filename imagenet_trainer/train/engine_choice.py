"""What `--engine auto` means for a training: the engine of its run, or the faster one."""

from dataclasses import replace
from typing import Tuple

from imagenet_trainer import symbols
from imagenet_trainer.config import FitSettings
from imagenet_trainer.engines.choice import has_torch
from imagenet_trainer.engines.speeds import WORTH, measured
from imagenet_trainer.train.setup import run_for


def with_engine(settings: FitSettings) -> Tuple[FitSettings, str]:
    """The settings with PyTorch for `auto` where MXNet could train but should not, and why.

    A run keeps the engine with which it began, since only this one continues it bit for bit. A
    new run on one CPU context takes PyTorch if `doctor --measure` found it faster for this network.
    The reason is empty, and the settings are unchanged, where `choose_engine` decides.
    """
    if settings.engine != "auto" or not has_torch():
        return settings, ""
    if settings.kv_store.startswith("dist") or settings.gc_type != "none":
        return settings, ""  # PyTorch cannot
    reason = _why_torch(settings)
    return (replace(settings, engine="torch"), reason) if reason else (settings, "")


def _why_torch(settings: FitSettings) -> str:
    run = run_for(settings)
    if run.own_checkpoints():
        began = run.read_json(run.config_path).get("engine")
        return "this run began with it" if began == "torch" else ""
    if settings.gpus or settings.cpus > 1 or settings.pretrained:
        return ""
    network = symbols.find(settings.network, settings.num_layers).name
    found = measured(network, settings.image_shape)
    gain = found.advantage(settings.dtype) if found else 0.0
    if found is None or gain < WORTH:
        return ""
    return f"{gain:.2f} times MXNet, as doctor --measure found on {found.date}"
