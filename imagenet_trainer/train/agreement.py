"""What all workers have alike when a training begins, and decide together after each update."""

import hashlib
import secrets
import signal
import time
from dataclasses import fields
from typing import Any, Dict

import numpy as np

from imagenet_trainer.config import FitSettings
from imagenet_trainer.engines import Engine
from imagenet_trainer.engines.workers import Workers, check_equal, gathered, together
from imagenet_trainer.errors import InputError
from imagenet_trainer.runs.checkpoint import Checkpoint
from imagenet_trainer.runs.run import Run
from imagenet_trainer.system.interrupts import Interrupts

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
    tries = iter(range(_LOOKS))
    while not path.exists() and next(tries, None) is not None:
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


_UPDATES_APART = 20  # between synchronisations of workers that are not in step
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Coordinator:
    """Lets all workers stop after the same update, and save when worker 0 decides.

    A signal reaches workers at different moments, and only worker 0's clock decides when a
    checkpoint is due. So all workers call `synchronise` at the same points and act on the sum of
    what each of them reports.
    """

    def __init__(self, engine: Engine, interrupts: Interrupts) -> None:
        self._engine = engine
        self._calls = 0
        self.interrupts = interrupts  # the signals that this worker received
        self.stopping = False  # whether the workers have agreed to stop

    @property
    def signalled(self) -> bool:
        """Whether this worker received a signal; the others may not know yet."""
        return bool(self.interrupts)

    def synchronise(self, due: bool = False, now: bool = False) -> bool:
        """Update `stopping`; return whether a checkpoint is due by worker 0's clock.

        Workers that are not in step (`--kv-store dist_async`) synchronise only at every twentieth
        call, and if `now` is set.
        """
        self._calls += 1
        if not (self._engine.in_step or now or self._calls % _UPDATES_APART == 0):
            return False
        here = [due and self._engine.rank == 0, *(self.interrupts.signal == s for s in _SIGNALS)]
        everywhere = self._engine.sum_over_workers(np.array(here, np.float64))
        for number, count in zip(_SIGNALS, everywhere[1:]):
            if count and not self.stopping:
                self.stopping = True
                self.interrupts.signal = number  # all end with the same exit code
        return bool(everywhere[0])
