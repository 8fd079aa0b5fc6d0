"""Several processes on one machine: PyTorch trains with one process for each device."""

from typing import Optional, Sequence

from imagenet_trainer.config import FitSettings
from imagenet_trainer.engines.choice import choose_engine, is_torch_worker
from imagenet_trainer.engines.factory import check_gpus_of_torch
from imagenet_trainer.errors import InputError
from imagenet_trainer.launch.torchrun import start
from imagenet_trainer.train.engine import devices_of


def process_count(settings: FitSettings) -> int:
    """The number of processes that `fit` has to start; 1 if it trains in its own process.

    Raises ArgumentError for GPUs that are not there: else each process would.
    """
    count = len(settings.gpus) or settings.cpus
    if count == 1 or is_torch_worker():
        return 1
    if choose_engine(devices_of(settings)).engine != "torch":
        return 1
    check_gpus_of_torch(settings.gpus)
    return count


def run_processes(count: int, argv: Optional[Sequence[str]]) -> int:
    """Run `fit` with these arguments in each process, by torchrun; return the exit code."""
    if argv is None:
        raise InputError(
            "--engine torch: several devices need one process each, which only the command line "
            "starts; run python -m imagenet_trainer.fit, or use one device"
        )
    return start(count, ["-m", "imagenet_trainer.fit", *argv])
