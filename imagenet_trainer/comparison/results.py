"""What is known of an entrant, from the files in its run's folder: numbers in, an Entry out."""

from typing import Any, Dict, Mapping, NamedTuple, Tuple

from imagenet_trainer.comparison.analysis import Batch, ClassErrors, Entry, Epoch, Timing
from imagenet_trainer.comparison.candidates import Entrant
from imagenet_trainer.errors import InputError
from imagenet_trainer.metrics.evaluation import class_table
from imagenet_trainer.metrics.predictions import Answers, load
from imagenet_trainer.runs.run import Run


class Known(NamedTuple):
    """An entry, and which images its network was asked about."""

    entry: Entry
    images: str  # in words
    fingerprint: str


def kept_of(run: Run) -> Dict[str, Any]:
    """What comparisons kept of it: `training`, `measured` and `scored`; {} at first."""
    return run.read_json(run.measured_path)


def keep(run: Run, **parts: Mapping[str, Any]) -> None:
    """Keep some of these parts anew."""
    run.write_json(run.measured_path, {**kept_of(run), **parts})


def entry_of(entrant: Entrant) -> Known:
    """An entrant that was measured. InputError where its files changed meanwhile."""
    run = entrant.run
    kept = kept_of(run)
    scored, measured, training = kept["scored"], kept["measured"], kept.get("training", {})
    epoch, numbers = scored["epoch"], scored["numbers"]
    answers = load(run.answers_path(epoch, scored["set"]), scored["key"])
    if answers is None:
        raise InputError(f"{run.folder}: another command scores it; run the same command again")
    before = run.read_json(run.config_path)
    history = run.read_history()
    entry = Entry(
        name=entrant.name,
        series=entrant.series,
        flags=entrant.own_flags,
        image_shape=tuple(scored["image_shape"]),
        train_images=before.get("data", {}).get("train_images", 0),
        epochs=tuple(map(epoch_of, history)),
        judged=epoch,
        rank1=numbers["rank1"],
        rank1_interval=tuple(numbers["interval"]),
        rank5=numbers["rank5"],
        loss=numbers["loss"],
        parameters=measured["parameters"],
        multiply_adds=measured["multiply_adds"],
        file_bytes=run.params_path(epoch).stat().st_size,
        timings=tuple(_timing(one) for one in measured["timings"]),
        classes=class_errors(answers, scored["classes"]),
        right=answers.rank < 1,
        wall_seconds=training.get("seconds"),
        peak_bytes=max(training.get("peak_bytes", 0), _most(history, "memory_mb")) or None,
        gpu_peak_bytes=_most(history, "gpu_memory_mb") or None,
    )
    return Known(entry, scored["pictures"], scored["fingerprint"])


def class_errors(answers: Answers, names: Tuple[str, ...]) -> Tuple[ClassErrors, ...]:
    """False negatives and positives of every class."""
    counted = class_table(answers)
    return tuple(
        ClassErrors(name, int(images), int(images - hits), int(predicted - hits))
        for name, images, predicted, hits in zip(
            names, counted.images, counted.predicted, counted.hits
        )
    )


def epoch_of(row: Mapping[str, str]) -> Epoch:
    """A row of history.csv."""

    def number(name: str) -> float:
        return float(row.get(name) or "nan")

    names = ("train_loss", "train_rank1", "val_loss", "val_rank1", "seconds")
    return Epoch(int(row["epoch"]), *map(number, names))


def _most(history: Any, column: str) -> int:
    """The most memory in a column of history.csv, in bytes; 0 for a run that does not say."""
    known = (float(row.get(column) or 0) for row in history)
    return round(max(known, default=0) * 1e6)


def _timing(values: Mapping[str, Any]) -> Timing:
    batches = tuple(Batch(int(size), float(speed)) for size, speed in values["batches"])
    return Timing(**{**values, "batches": batches})
