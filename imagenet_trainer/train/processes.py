"""The processes of one machine that train together with PyTorch, one for each device."""

from typing import Optional, Sequence

from imagenet_trainer.config import FitSettings
from imagenet_trainer.engines.choice import choose_engine, is_torch_worker
from imagenet_trainer.errors import InputError
from imagenet_trainer.launch.torchrun import start
from imagenet_trainer.train.engine import devices_of


def processes_of(settings: FitSettings) -> int:
    """How many `fit` has to start; 1 where it trains by itself."""
    count = len(settings.gpus) or settings.cpus
    if count == 1 or is_torch_worker():
        return 1
    return count if choose_engine(devices_of(settings)).engine == "torch" else 1


def start_each(count: int, argv: Optional[Sequence[str]]) -> int:
    """Run `fit` with these words in each of them, by torchrun; return the exit code."""
    if argv is None:
        raise InputError(
            "--engine torch: several devices take a process each, which the command line starts; "
            "use python -m imagenet_trainer.fit, or one device"
        )
    return start(count, ["-m", "imagenet_trainer.fit", *argv])
