"""`predict`: classifies image files and prints, writes or times the predictions."""

import contextlib
import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional, Protocol, Sequence, Tuple

from imagenet_trainer.config import PredictSettings, flags
from imagenet_trainer.config.results import ClassProbability, ImagePrediction, PredictResult
from imagenet_trainer.data.image_files import ImageFile, find_images
from imagenet_trainer.errors import InputError, print_message
from imagenet_trainer.eval import latency
from imagenet_trainer.eval.classify import Classifier, FilePrediction
from imagenet_trainer.eval.submission import (
    ParquetTable,
    PredictionTable,
    Submission,
    check_ids,
    id_of,
)
from imagenet_trainer.metrics.counts import top_classes
from imagenet_trainer.runs.trained import trained_run
from imagenet_trainer.system import parquet
from imagenet_trainer.system.files import atomic_write
from imagenet_trainer.system.progress_bar import progress
from imagenet_trainer.text import csv_cell, printable

log = partial(print_message, "predict")

TopClasses = List[ClassProbability]  # the most probable first


class Writer(Protocol):
    """Writes the predictions of files."""

    def add(self, one: FilePrediction) -> None:
        """Add the prediction of a file."""


def predict(settings: PredictSettings) -> PredictResult:
    """The most probable classes of each file; also writes the requested files.

    Raises InputError for the first file that is not an image, and for --latency.
    """
    check(settings)
    if settings.latency:
        raise InputError("--latency: only the command line measures it; omit it")
    classifier, files = open_classifier(settings)
    found = [
        ImagePrediction(one.path, top_of(one, classifier, settings.top_k))
        for one in _predictions(settings, classifier, files)
    ]
    return PredictResult(found, classifier.prefix, classifier.epoch, **_written(settings))


def _predictions(
    settings: PredictSettings,
    classifier: Classifier,
    files: Sequence[ImageFile],
    damaged: Optional[Callable[[InputError], object]] = None,
) -> Iterator[FilePrediction]:
    """The predictions for files; the requested tables appear after the last one.

    `damaged` as in `Classifier.classify`. Raises InputError if no file is an image.
    """
    with contextlib.ExitStack() as stack:
        writers = _open_writers(settings, classifier, files, stack)
        is_empty = True
        for one in classifier.classify(files, damaged):
            is_empty = False
            for writer in writers:
                writer.add(one)
            yield one
        if is_empty:
            raise InputError(f"none of the {len(files)} files is an image")


def _written(settings: PredictSettings) -> Dict[str, Path]:
    """The requested files, by the names of their flags."""
    table = parquet_path(settings.csv) if settings.parquet else ""
    paths = {"csv": settings.csv, "parquet": table, "submission": settings.submission}
    return {name: Path(path) for name, path in paths.items() if path}


def run_predict(settings: PredictSettings) -> None:
    """Print the latency, print the predictions, or write the requested files."""
    check(settings)
    (print_latency if settings.latency else show)(settings)


def open_classifier(
    settings: PredictSettings, batch_size: Optional[int] = None
) -> Tuple[Classifier, List[ImageFile]]:
    """The network and the files. Batches have at most `batch_size` images, or all files."""
    files = find_images(settings.pictures)
    run = trained_run(settings.model_prefix)
    return Classifier(settings, run, batch_size or len(files), log), files


def top_of(one: FilePrediction, classifier: Classifier, top_k: int) -> TopClasses:
    """The most probable classes of a file."""
    labels = top_classes(one.probabilities[None], top_k)[0]
    named = ((*classifier.classes[label], float(one.probabilities[label])) for label in labels)
    return [ClassProbability(*values) for values in named]


def show(settings: PredictSettings) -> None:
    """Print a paragraph per image, or write the requested files."""
    classifier, files = open_classifier(settings)
    damaged: List[InputError] = []

    def skip(error: InputError) -> None:
        log(f"skipped: {error}")
        damaged.append(error)

    written = _written(settings)
    with contextlib.ExitStack() as stack:
        bar = stack.enter_context(progress("predict", len(files))) if written else None
        # A submission must have a row for every image.
        tolerate = None if settings.submission else skip
        for one in _predictions(settings, classifier, files, tolerate):
            if bar:
                bar(1)
            else:
                print("\n".join(paragraph(one.path, top_of(one, classifier, settings.top_k))))
    count = len(files) - len(damaged)
    for path in written.values():
        print(f"written: {path} ({count} image{'' if count == 1 else 's'})")
    if damaged:
        log(f"skipped {len(damaged)} of {len(files)} files, which are damaged or not images")


def _open_writers(
    settings: PredictSettings,
    classifier: Classifier,
    files: Sequence[ImageFile],
    stack: contextlib.ExitStack,
) -> List[Writer]:
    """Writers of the requested files, which appear when the stack is closed without error."""
    writers: List[Writer] = []
    if settings.csv:
        file = stack.enter_context(atomic_write(settings.csv, "w"))
        writers.append(PredictionTable(file, classifier.classes, settings.top_k))
    if settings.parquet:
        table = ParquetTable(classifier.classes, settings.top_k)
        path = parquet_path(settings.csv)
        stack.push(lambda kind, *_: None if kind else table.write(path))
        writers.append(table)
    if settings.submission:
        check_ids(one.path for one in files)
        _report_changed_ids(settings.submission, [id_of(one.path) for one in files])
        rows = Submission(
            settings.submission_kind, classifier.classes, settings.submission_class, settings.clip,
            classifier.has_several,
        )  # fmt: skip
        output = stack.enter_context(atomic_write(settings.submission, "w"))
        stack.push(lambda kind, *_: None if kind else rows.write(output))  # before it is closed
        writers.append(rows)
    return writers


def parquet_path(csv_path: str) -> str:
    """The file of --parquet, beside that of --csv."""
    return os.path.splitext(csv_path)[0] + ".parquet"


def _report_changed_ids(path: str, ids: Sequence[str]) -> None:
    changed = [name for name in ids if csv_cell(name) != name]
    if changed:
        log(
            f"{path}: {len(changed)} of {len(ids)} ids begin like a formula or hold control "
            f"characters, which spreadsheets execute; {changed[0]} is written as "
            f"{csv_cell(changed[0])}"
        )


def paragraph(path: str, best: TopClasses) -> Iterator[str]:
    """The lines that are printed for an image."""
    yield printable(path)
    for wnid, name, probability in best:
        # The name of a class folder without a known meaning is printed once.
        title = wnid if name == wnid else f"{wnid} {name}"
        yield f"  {title}  {probability:.2f}"


def print_latency(settings: PredictSettings) -> None:
    """Print the latency of inference, for one image and for a batch."""
    single, files = open_classifier(replace(settings, batch_size=1))
    many, _ = open_classifier(settings, settings.batch_size)
    _, high, wide = single.image_shape
    device = "CPU" if not settings.gpus else f"GPU {','.join(map(str, settings.gpus))}"
    paths = [one.path for one in files]
    latencies = latency.of_network(single, many, paths, settings.latency_rounds)
    print(latency.table(f"{device}, {wide} x {high} pixels", latencies))


def check(settings: PredictSettings) -> None:
    """InputError for flags that have no effect together."""
    for name in ("submission_kind", "submission_class", "clip"):
        if flags.is_set(settings, name) and not settings.submission:
            raise InputError(f"{flags.flag_of(name)}: needs --submission FILE")
    if flags.is_set(settings, "latency_rounds") and not settings.latency:
        raise InputError("--latency-rounds: needs --latency")
    if settings.parquet and (not settings.csv or parquet_path(settings.csv) == settings.csv):
        raise InputError("--parquet: is written beside a CSV file; name it with --csv FILE.csv")
    taken: Dict[str, str] = {}
    for name, path in _written(settings).items():
        other = taken.setdefault(os.path.realpath(path), name)
        if other != name:
            raise InputError(
                f"{flags.flag_of(name)} {path}: is also the file of {flags.flag_of(other)}; choose "
                "another"
            )
    if settings.submission_class and settings.submission_kind != "probability":
        raise InputError("--submission-class: needs --submission-kind probability")
    for name in ("csv", "submission"):
        if settings.latency and getattr(settings, name):
            raise InputError(
                f"{flags.flag_of(name)}: --latency writes no file; omit one of the two"
            )
    if settings.parquet:
        parquet.library("--parquet")
