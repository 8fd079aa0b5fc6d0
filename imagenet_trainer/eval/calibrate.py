"""`evaluate --calibrate`: fits a temperature for checkpoints of a run, and reports what it does."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence

import numpy as np

from imagenet_trainer.config import EvaluateSettings
from imagenet_trainer.data.bad_records import STOP
from imagenet_trainer.data.dataset import Dataset
from imagenet_trainer.data.loader import loader_threads
from imagenet_trainer.data.matching import open_matching_dataset
from imagenet_trainer.data.views import Views, ViewTransform
from imagenet_trainer.errors import InputError, attributed_to
from imagenet_trainer.eval.inference import ViewBatches, predict_dataset
from imagenet_trainer.eval.network import Log, check_softmax, devices_of, open_network
from imagenet_trainer.metrics.counts import loss_of
from imagenet_trainer.metrics.evaluation import calibration
from imagenet_trainer.metrics.predictions import TOP, Collector, Predictions
from imagenet_trainer.metrics.temperature import HIGHEST, LOWEST, fit_temperature, tempered
from imagenet_trainer.runs.checkpoint import Checkpoint
from imagenet_trainer.runs.run import Run
from imagenet_trainer.runs.temperature import write_temperature

MINIVAL = "minival"


class _Kept:
    """A sink that keeps all probabilities."""

    def __init__(self) -> None:
        self.probabilities: List[np.ndarray] = []
        self.labels: List[np.ndarray] = []

    def add(self, positions: np.ndarray, probabilities: np.ndarray, labels: np.ndarray) -> None:
        self.probabilities.append(probabilities.copy())
        self.labels.append(labels.copy())


def calibrate(
    settings: EvaluateSettings, run: Run, epochs: Sequence[int], log: Log
) -> Dict[int, Path]:
    """Fit and write the temperature of each epoch; print the change on the images of the fit.

    Returns the file of each epoch.
    """
    if not os.access(run.folder, os.W_OK):
        raise InputError(
            f"--calibrate: {run.folder} is read-only, and temperatures are written beside the "
            "checkpoints; copy the run"
        )
    paths = {}
    for epoch in epochs:
        fields = _fitted(replace(settings, calibrated=False), run, epoch, log)
        path = paths[epoch] = write_temperature(run, epoch, fields)
        print(f"epoch {epoch}: temperature {fields['temperature']:.4f} -> {path}")
        print(
            f"epoch {epoch}: on the {fields['images']} images of the fit: "
            f"{change_of(fields['before'], fields['after'])}",
            flush=True,
        )
    return paths


def change_of(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """`loss 0.4512 -> 0.4321, calibration error 5.21 % -> 1.90 %`."""
    losses = f"{before['loss']:.4f} -> {after['loss']:.4f}"
    errors = (f"{100 * one['calibration_error']:.2f} %" for one in (before, after))
    return f"loss {losses}, calibration error {' -> '.join(errors)}"


def _fitted(settings: EvaluateSettings, run: Run, epoch: int, log: Log) -> Dict[str, Any]:
    """The temperature of an epoch, and loss and calibration error before and after."""
    engine, symbol, checkpoint = open_network(
        run, epoch, devices_of(settings), settings.batch_size, settings, log
    )
    check_softmax(symbol, "--calibrate", run)
    how = checkpoint.known_preprocessing
    dataset = _open_images(settings, run, checkpoint, log)
    with dataset.shards:
        batches = ViewBatches(
            dataset, ViewTransform(how.image_shape, how.val_resize, Views(), how.val_interp),
            settings.batch_size,
            loader_threads(settings.data_nthreads, bool(settings.gpus), engine.host_memory),
            on_bad=settings.on_bad_record,
        )  # fmt: skip
        kept = _Kept()
        predictions = predict_dataset(engine, batches, TOP, sink=kept)
    probabilities, labels = np.concatenate(kept.probabilities), np.concatenate(kept.labels)
    temperature = fit_temperature(probabilities, labels)
    if temperature in (LOWEST, HIGHEST):
        log(
            f"epoch {epoch}: the loss has no minimum between the temperatures {LOWEST:g} and "
            f"{HIGHEST:g}: the images are too few, or all are predicted right"
        )
    after = Collector(predictions.keys, predictions.classes)
    after.add(np.arange(len(labels)), tempered(probabilities, temperature), labels)
    return {
        "temperature": temperature, "pictures": dataset.path, "images": len(labels),
        "fingerprint": dataset.fingerprint, "before": _scores(predictions),
        "after": _scores(after.complete()),
    }  # fmt: skip


def _open_images(settings: EvaluateSettings, run: Run, checkpoint: Checkpoint, log: Log) -> Dataset:
    """The images of the fit: those of --minival, or the shards that the flag names."""
    path, index = (settings.calibrate, "")
    if path == MINIVAL:
        path, index = run.minival_shard()
        if not path:
            raise InputError(
                f"--calibrate: {run.prefix} was trained without --minival; name shards that it was "
                "not trained on: --calibrate REC"
            )
    with attributed_to("--calibrate", " "):
        dataset = open_matching_dataset(
            path, index, checkpoint.classes, run.prefix, settings.on_bad_record == STOP,
            run.label_index(settings.label_index),
        )  # fmt: skip
    data = run.read_json(run.config_path).get("data", {})
    if dataset.fingerprint == data.get("val"):
        log("--calibrate: these are the validation images, whose score is then optimistic")
    if dataset.fingerprint == data.get("train"):
        log("--calibrate: the network was trained on these images, so it is too sure of them")
    return dataset


def _scores(predictions: Predictions) -> Dict[str, float]:
    bins = calibration(predictions)
    share = bins["images"] / max(len(predictions), 1)
    gaps = np.nan_to_num(np.abs(bins["accuracy"] - bins["confidence"]))
    return {
        "loss": float(loss_of(predictions.true).mean()),
        "calibration_error": float((share * gaps).sum()),
    }
