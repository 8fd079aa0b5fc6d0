"""What all workers must have alike before a training begins: flags, versions, images, folder."""

import hashlib
import secrets
import time
from dataclasses import fields
from typing import Any, Dict

import numpy as np

from imagenet_trainer.config import FitSettings
from imagenet_trainer.engines.workers import Workers, check_equal, gathered, together
from imagenet_trainer.errors import InputError
from imagenet_trainer.runs.checkpoint import Checkpoint
from imagenet_trainer.runs.run import Run

# Flags that a resumed run may change, but that must be equal in all workers: they decide when
# the workers synchronise and what they do then.
_EQUAL_IN_WORKERS = (
    "num_epochs", "load_epoch", "disp_batches", "confusion_gif", "on_nan", "max_rollbacks",
    "top_k", "patience", "monitor",
)  # fmt: skip
_LOOKS = 5  # once a second, for a file that another machine has written


def check_shared(run: Run, workers: Workers) -> None:
    """InputError, in all workers, unless all of them see the folder of worker 0's run.

    Otherwise none could continue it after a restart, days later.
    """
    if workers.world_size == 1:
        return
    number = int(workers.sum(np.array([float(secrets.randbits(48) * (workers.rank == 0))]))[0])
    path = run.folder / f".shared-{number}"  # a new name, which no file system has cached
    with together(workers):
        if workers.rank == 0:
            path.touch()
    for _ in range(_LOOKS):
        if path.exists():
            break
        time.sleep(1)
    missing = np.flatnonzero(gathered(np.array([not path.exists()], np.float64), workers))
    if workers.rank == 0:
        path.unlink()
    if len(missing):
        raise InputError(
            f"worker {missing[0]} of {workers.world_size} does not see {run.folder}, where worker "
            "0 writes the run; --model-prefix must be in a folder that all machines share"
        )


def check_workers_equal(
    workers: Workers, config: Dict[str, Any], checkpoint: Checkpoint, run: Run
) -> None:
    """InputError, in all workers, if one of them would train something else."""
    start = hashlib.sha256(repr(checkpoint.progress).encode())
    for name in sorted(checkpoint.arg):
        start.update(checkpoint.arg[name].tobytes())
    flags = {
        field.name: config["settings"][field.name]
        for field in fields(FitSettings)
        if not field.metadata["may_change"] or field.name in _EQUAL_IN_WORKERS
    }
    check_equal(flags, workers, "has other flags than worker 0; start all with one command")
    versions = ", ".join(
        f"{name} {version}" for name, version in config["versions"].items() if name != "python"
    )
    check_equal(
        versions, workers,
        f"has other versions than worker 0; install the same on all machines; here: {versions}",
    )  # fmt: skip
    check_equal(
        config["data"], workers, "has other images than worker 0; copy them, or share one folder"
    )
    check_equal(
        start.hexdigest(),
        workers,
        f"begins with other parameters than worker 0, though both see {run.folder}; use the same "
        "files of --pretrained, and start again",
    )
