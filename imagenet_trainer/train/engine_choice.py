"""The engine of a training, if it is `auto`, and the number of its OpenMP threads."""

import sys
from dataclasses import replace
from typing import Tuple

from imagenet_trainer import symbols
from imagenet_trainer.config import FitSettings
from imagenet_trainer.engines.choice import has_torch, is_torch_worker, why_not_mxnet
from imagenet_trainer.engines.speeds import WORTH, measured
from imagenet_trainer.system.competition import busy_processors
from imagenet_trainer.system.machine import compute_threads, set_threads, threads_are_given
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


def joins_others(settings: FitSettings) -> bool:
    """Whether this process may join other workers, which loads its engine."""
    return settings.kv_store.startswith("dist") or is_torch_worker()


def choose_threads(settings: FitSettings) -> str:
    """Set the OpenMP threads of a training on the CPU; return a line for the log, or "".

    Call it when the inputs have been checked, as it may take two seconds, and before an engine is
    loaded.

    A run keeps the number with which it began, on which its bits depend. A new run has one thread
    for each processor. With MXNet, whose threads lose much more than their share beside other
    processes, it has one for each processor that these leave. OMP_NUM_THREADS is kept if it is set,
    and so is the number of an engine that is loaded already.
    """
    is_loaded = {"mxnet", "torch"} & set(sys.modules)
    if settings.gpus or settings.cpus > 1 or threads_are_given() or is_loaded:
        return ""
    most, run = compute_threads(), run_for(settings)
    if run.own_checkpoints():
        began = str(run.read_json(run.config_path).get("omp_num_threads"))
        if not began.isdecimal() or not 0 < int(began) < most:
            return ""
        set_threads(int(began))
        return (
            f"OpenMP threads: {began}, as when this run began; OMP_NUM_THREADS={most} uses all "
            "processors, and does not continue it bit for bit"
        )
    if settings.engine not in ("auto", "mxnet") or why_not_mxnet(()):
        return ""
    others = busy_processors()
    count = max(1, most - int(others + 0.5))
    if count == most:
        return ""
    set_threads(count)
    return (
        f"OpenMP threads: {count}, because other processes use {others:.1f} of {most} processors "
        f"and MXNet's threads wait for each other; set OMP_NUM_THREADS={most} if these end soon"
    )


def print_threads(settings: FitSettings) -> None:
    """`choose_threads` where there is no log."""
    line = choose_threads(settings)
    if line:
        print(line, file=sys.stderr)
