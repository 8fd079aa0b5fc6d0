"""Results of a candidate, from the files in its run's folder."""

from dataclasses import replace
from typing import Any, Dict, Mapping, NamedTuple, Sequence, Tuple

from imagenet_trainer.comparison.analysis import BatchSpeed, ClassErrors, Epoch, Result, Timing
from imagenet_trainer.comparison.candidates import Candidate
from imagenet_trainer.errors import InputError
from imagenet_trainer.metrics.evaluation import class_table
from imagenet_trainer.metrics.predictions import Predictions
from imagenet_trainer.runs.predictions import load_predictions
from imagenet_trainer.runs.run import Run
from imagenet_trainer.system.files import write_json
from imagenet_trainer.system.shape import NUMBER


class Measurement(NamedTuple):
    """The result of a network, and the images it was evaluated on."""

    result: Result
    images: str  # describes them
    fingerprint: str


_MILLISECONDS = {"medians": [NUMBER], "high": NUMBER}
_STORED = {
    "training?": {"settings": dict, "seconds": NUMBER, "peak_bytes": int},
    "measured?": {
        "key": str, "parameters": int, "multiply_adds": NUMBER,
        "timings": [{"device": str, "batches": [[int, NUMBER]]}],
    },
    "scored?": {
        "epoch": int, "set": str, "key": str, "image_shape": [int, int, int],
        "numbers": {"rank1": NUMBER, "rank5": NUMBER, "loss": NUMBER, "interval": [NUMBER, NUMBER]},
        "classes": [str], "pictures": str, "fingerprint": str,
    },
    "latency?": {
        "key": str, "devices": {"*": {"alone": _MILLISECONDS, "whole": _MILLISECONDS}},
    },
}  # fmt: skip


def read_stored(run: Run) -> Dict[str, Any]:
    """compare.json of a run; {} before the first measurement.

    `training`, `measured`, `scored`, `latency`. Raises InputError for a file of another program.
    """
    return run.read_json(run.measured_path, _STORED)


def store(run: Run, parts: Mapping[str, Mapping[str, Any]]) -> None:
    """Replace parts of compare.json, by the names that `read_stored` lists."""
    write_json(run.measured_path, {**read_stored(run), **parts})


def read_results(candidate: Candidate) -> Measurement:
    """The results of a measured candidate.

    Raises InputError if its predictions were replaced since.
    """
    run = candidate.run
    stored = read_stored(run)
    scored, measured, training = stored["scored"], stored["measured"], stored.get("training", {})
    epoch, numbers = scored["epoch"], scored["numbers"]
    predictions = load_predictions(run, epoch, scored["set"], scored["key"])
    if predictions is None:
        raise InputError(
            f"{run.folder}: another command evaluates this run; run the same command again"
        )
    config = run.read_json(run.config_path)
    history = run.read_history()
    result = Result(
        name=candidate.name,
        series=candidate.series,
        flags=candidate.own_flags,
        image_shape=tuple(scored["image_shape"]),
        train_images=config.get("data", {}).get("train_images", 0),
        epochs=tuple(map(epoch_of, history)),
        best_epoch=epoch,
        rank1=numbers["rank1"],
        rank1_interval=tuple(numbers["interval"]),
        rank5=numbers["rank5"],
        loss=numbers["loss"],
        parameters=measured["parameters"],
        multiply_adds=measured["multiply_adds"],
        file_bytes=run.params_path(epoch).stat().st_size,
        timings=tuple(_timing(one) for one in measured["timings"]),
        classes=class_errors(predictions, scored["classes"]),
        correct=predictions.rank < 1,
        wall_seconds=training.get("seconds"),
        peak_bytes=max(training.get("peak_bytes", 0), _peak(history, "memory_mb")) or None,
        gpu_peak_bytes=_peak(history, "gpu_memory_mb") or None,
    )
    return Measurement(result, scored["pictures"], scored["fingerprint"])


def class_errors(predictions: Predictions, names: Sequence[str]) -> Tuple[ClassErrors, ...]:
    """False negatives and false positives of every class."""
    counts = class_table(predictions)
    return tuple(
        ClassErrors(name, int(images), int(images - hits), int(predicted - hits))
        for name, images, predicted, hits in zip(
            names, counts.images, counts.predicted, counts.hits
        )
    )


def epoch_of(row: Mapping[str, str]) -> Epoch:
    """A row of history.csv."""

    def number(name: str) -> float:
        return float(row.get(name) or "nan")

    names = ("train_loss", "train_rank1", "val_loss", "val_rank1", "seconds")
    return Epoch(int(row["epoch"]), *map(number, names))


def _peak(history: Sequence[Mapping[str, str]], column: str) -> int:
    """The greatest memory in a column of history.csv, in bytes; 0 if no row has it."""
    megabytes = (float(row.get(column) or 0) for row in history)
    return round(max(megabytes, default=0) * 1e6)


def _timing(values: Mapping[str, Any]) -> Timing:
    batches = tuple(BatchSpeed(int(size), float(speed)) for size, speed in values["batches"])
    return Timing(values["device"], batches)


def with_latencies(result: Result, run: Run) -> Result:
    """The result with the latencies that are stored for the run, for each device."""
    devices = read_stored(run)["latency"]["devices"]
    timings = []
    for one in result.timings:
        alone, whole = devices[one.device]["alone"], devices[one.device]["whole"]
        timings.append(
            replace(
                one, medians=tuple(alone["medians"]), high=alone["high"],
                whole_medians=tuple(whole["medians"]), whole_high=whole["high"],
            )
        )  # fmt: skip
    return replace(result, timings=tuple(timings))
