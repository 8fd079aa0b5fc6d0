"""config.json: the settings, data and versions of a run, and what a resumed run may change."""

import hashlib
import os
import platform
import sys
from dataclasses import asdict, fields
from typing import Any, Dict, List

import cv2
import numpy as np

from imagenet_trainer import __version__
from imagenet_trainer.config import FitSettings, plugins
from imagenet_trainer.config.flags import flag_of, formatted
from imagenet_trainer.data.dataset import Dataset
from imagenet_trainer.engines.choice import choose_engine, version_of
from imagenet_trainer.errors import InputError
from imagenet_trainer.runs.run import Run
from imagenet_trainer.train.datasets import loss_weights, sample_weights
from imagenet_trainer.train.engine import devices_of
from imagenet_trainer.train.schedule_flags import depends_on_num_epochs
from imagenet_trainer.train.teacher import teacher_digest

# What config.json records for information; a difference is logged.
_MAY_DIFFER = ("omp_num_threads", "versions", "workers", "engine", "decode")
# What config.json has a digest of, by the flag that names it.
_CONTENT = {"sample_weights": "weights", "class_weights": "weights", "teacher": "parameters"}
_NEEDED = {"settings": dict, "data": {"train": str}, "versions": dict}
_OF_FIRST_VERSION = {"workers": 1, "engine": "mxnet", "decode": "cpu"}  # which did not write these


def run_configuration(
    settings: FitSettings, train: Dataset, val: Dataset, workers: int
) -> Dict[str, Any]:
    """The content of config.json for a run that these settings open now."""
    engine = choose_engine(devices_of(settings)).engine
    versions = {
        "imagenet_trainer": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        engine: version_of(engine),
        **plugins.loaded(),
    }
    return {
        "settings": asdict(settings),
        "data": {
            "train": train.fingerprint,
            "val": val.fingerprint,
            "train_images": len(train),
            **_digests(settings, train),
        },
        "command": sys.argv,
        "versions": versions,
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
        "workers": workers,
        "engine": engine,
        "decode": settings.decode,
    }


def _digests(settings: FitSettings, train: Dataset) -> Dict[str, str]:
    """Digests of what flags name by files that may change: weights of classes, and a teacher."""
    found = {}
    if settings.sample_weights:
        found["sample_weights"] = sample_weights(settings, train)
    if settings.class_weights:
        found["class_weights"] = np.array(loss_weights(settings, train))
    digests = {
        name: hashlib.sha256(weights.astype("<f8").tobytes()).hexdigest()
        for name, weights in found.items()
    }
    return {**digests, "teacher": teacher_digest(settings)} if settings.teacher else digests


def check_resumable(
    run: Run, settings: FitSettings, config: Dict[str, Any], train: Dataset, val: Dataset
) -> List[str]:
    """Compare with the config.json of an existing run.

    Raises InputError if the run was started with other settings or training images. Returns the
    differences that are allowed, for the log.
    """
    before = run.read_json(run.config_path)
    if not before:
        return []
    before = {**_OF_FIRST_VERSION, **before}
    if not before.keys() >= config.keys():
        raise InputError(
            f"{run.config_path}: belongs to another program; choose another --model-prefix"
        )
    run.read_json(run.config_path, _NEEDED)  # InputError
    if not run.own_checkpoints():
        return []  # nothing was trained with these settings
    check_settings(run, settings, before["settings"])
    if before["data"]["train"] not in (train.fingerprint, train.old_fingerprint):
        raise InputError(
            f"--data-train {settings.data_train}: differs from the images on which {run.folder} "
            "was trained; use the same, or start another run with --model-prefix"
        )
    for name, content in _CONTENT.items():
        digest = before["data"].get(name)
        if digest is not None and digest != config["data"].get(name):
            given = f"{flag_of(name)} {formatted(getattr(settings, name), exact=True)}"
            raise InputError(
                f"{given}: has other {content} than those with which {run.folder} was started; use "
                "the same, or start another run with --model-prefix"
            )
    changes = _differences(before, config)
    if before["data"].get("val") not in (None, val.fingerprint, val.old_fingerprint):
        changes.append(
            f"--data-val {settings.data_val}: has other images than before, so the scores of "
            "earlier epochs are not comparable"
        )
    return changes


def _differences(before: Dict[str, Any], config: Dict[str, Any]) -> List[str]:
    """What differs between two config.json, and may."""
    # Only packages that both have can differ; the engine that trained is listed.
    changed = [n for n, v in config["versions"].items() if before["versions"].get(n, v) != v]
    then, now = (
        {**each, "versions": {name: each["versions"][name] for name in changed}}
        for each in (before, config)
    )
    return [
        f"{name} was {then[name]} and is {now[name]}: the run continues, but not bit for bit"
        for name in _MAY_DIFFER
        if then[name] != now[name]
    ]


def check_settings(run: Run, settings: FitSettings, before: Dict[str, Any]) -> None:
    """InputError for the first flag that differs from `before`, though a resume must keep it."""
    for field in fields(FitSettings):
        fixed_length = field.name == "num_epochs" and depends_on_num_epochs(settings)
        if field.metadata["may_change"] and not fixed_length:
            continue
        # A run of an older version had the default of every flag that did not exist yet.
        old = _as_json(before.get(field.name, field.default))
        new = _as_json(getattr(settings, field.name))
        if new != old:
            reason = ""
            if fixed_length:
                reason = f", on which --lr-schedule {settings.lr_schedule} depends"
            here, there = (formatted(one, exact=True) for one in (new, old))
            raise InputError(
                f"{flag_of(field.name)} {here}: {run.folder} was started with {there}{reason}; use "
                "the same, or start another run with --model-prefix"
            )


def _as_json(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
