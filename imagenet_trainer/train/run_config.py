"""Carved out of imagenet_trainer/session.py."""

import hashlib
import os
import platform
import sys
from dataclasses import asdict, fields
from typing import Any, Dict, List

import numpy as np

from imagenet_trainer import __version__
from imagenet_trainer.config import FitSettings
from imagenet_trainer.config.flags import flag_of
from imagenet_trainer.data.dataset import Dataset
from imagenet_trainer.engines.choice import choose_engine, torch_version
from imagenet_trainer.engines.workers import Workers, check_equal
from imagenet_trainer.errors import InputError
from imagenet_trainer.runs.checkpoint import Checkpoint
from imagenet_trainer.runs.run import Run
from imagenet_trainer.train.engine import devices_of
from imagenet_trainer.train.schedule_flags import fixes_the_length

# Flags that a resumed run may change and that all workers must have alike: these say when they
# meet, and what they do then.
_IN_STEP = (
    "num_epochs", "load_epoch", "disp_batches", "confusion_gif", "on_nan", "max_rollbacks",
)  # fmt: skip


def _check_equal(
    workers: Workers, config: Dict[str, Any], checkpoint: Checkpoint, run: Run
) -> None:
    """InputError, in all workers alike, if one of them would train something else."""
    begin = hashlib.sha256(repr(checkpoint.progress).encode())
    for name in sorted(checkpoint.arg):
        begin.update(checkpoint.arg[name].tobytes())
    flags = {
        field.name: config["settings"][field.name]
        for field in fields(FitSettings)
        if not field.metadata["may_change"] or field.name in _IN_STEP
    }
    check_equal(flags, workers, "has other flags than worker 0; start all with one command")
    check_equal(
        config["data"], workers, "has other images than worker 0; copy them, or share one folder"
    )
    check_equal(
        begin.hexdigest(),
        workers,
        f"does not see the checkpoint that worker 0 goes on from; {run.folder} must be a folder "
        "that all machines share",
    )


def _configuration(
    settings: FitSettings, train: Dataset, val: Dataset, workers: int
) -> Dict[str, Any]:
    import cv2

    from imagenet_trainer.system.mxnet_import import mx

    engine = choose_engine(devices_of(settings)).engine
    versions = {
        "imagenet_trainer": __version__,
        "python": platform.python_version(),
        "mxnet": mx.__version__,
        "numpy": np.__version__,
        "opencv": cv2.__version__,
    }
    if engine == "torch":
        versions["torch"] = torch_version()
    return {
        "settings": asdict(settings),
        "data": {"train": train.fingerprint, "val": val.fingerprint, "train_images": len(train)},
        "command": sys.argv,
        "versions": versions,
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
        "workers": workers,
        "engine": engine,
        "decode": settings.decode,
    }


def _check_same(run: Run, settings: FitSettings, config: Dict[str, Any]) -> List[str]:
    """InputError if a run that is there was begun with other settings; notes on what may differ."""
    before = run.read_json(run.config_path)
    if not before:
        return []
    # Which the first version did not write.
    before = {"workers": 1, "engine": "mxnet", "decode": "cpu", **before}
    if not before.keys() >= config.keys():
        raise InputError(f"{run.config_path}: is another program's; choose another --model-prefix")
    if not run.own_checkpoints():
        return []  # nothing has been trained with them
    way_out = "use the same, or begin another run with --model-prefix"
    for field in fields(FitSettings):
        length = field.name == "num_epochs" and fixes_the_length(settings)
        if field.metadata["may_change"] and not length:
            continue
        # A run that an older version began has what its flags were fixed to.
        theirs = _listed(before["settings"].get(field.name, field.default))
        ours = _listed(config["settings"][field.name])
        if ours != theirs:
            why = f", and --lr-schedule {settings.lr_schedule} ends with them" if length else ""
            raise InputError(
                f"{flag_of(field.name)} {_words(ours)}: {run.folder} was begun with "
                f"{_words(theirs)}{why}; {way_out}"
            )
    if config["data"]["train"] != before["data"]["train"]:
        raise InputError(
            f"--data-train {config['settings']['data_train']}: is not what {run.folder} was "
            f"trained on so far; {way_out}"
        )
    # PyTorch's is there where it trained; those that are in both can differ.
    changed = [n for n, v in config["versions"].items() if before["versions"].get(n, v) != v]
    then, now = (
        {**each, "versions": {name: each["versions"][name] for name in changed}}
        for each in (before, config)
    )
    return [
        f"{what} was {then[what]} and is {now[what]}: the run goes on, but not to the last bit"
        for what in ("omp_num_threads", "versions", "workers", "engine", "decode")
        if then[what] != now[what]
    ]


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _words(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
