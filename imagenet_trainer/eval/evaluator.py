"""Evaluates the epochs of a run on a dataset."""

import contextlib
import hashlib
import json
import math
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from typing import Any, Dict, Iterator, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from imagenet_trainer.config import EvaluateSettings
from imagenet_trainer.config.flags import flag_of
from imagenet_trainer.data.bad_records import STOP, Report, Tally, describe_counts
from imagenet_trainer.data.classes import OtherClasses
from imagenet_trainer.data.dataset import Classes, Dataset
from imagenet_trainer.data.loader import loader_threads
from imagenet_trainer.data.matching import open_matching_dataset, present_classes
from imagenet_trainer.data.views import ViewTransform
from imagenet_trainer.engines.choice import choose_engine, version_of
from imagenet_trainer.engines.symbol import ends_in_sigmoid
from imagenet_trainer.errors import InputError, attributed_to
from imagenet_trainer.eval.features import compute_features
from imagenet_trainer.eval.inference import ViewBatches, predict_dataset, share_of_batch
from imagenet_trainer.eval.labels import all_labels, own_labels, real_labels, table_labels
from imagenet_trainer.eval.network import (
    Log,
    check_softmax,
    devices_of,
    load_trained,
    open_network,
    set_checkpoint,
    views_of,
)
from imagenet_trainer.eval.results import (
    EvaluationInput,
    ResultFiles,
    read_average_precision,
    write_average_precision,
)
from imagenet_trainer.eval.truth import Truth
from imagenet_trainer.metrics.average_precision import PrecisionCollector
from imagenet_trainer.metrics.counts import MEAN_AVERAGE_PRECISION
from imagenet_trainer.metrics.predictions import TOP, Predictions, ProbabilitiesFile
from imagenet_trainer.metrics.right import RightClasses, right_classes
from imagenet_trainer.runs.checkpoint import Checkpoint
from imagenet_trainer.runs.predictions import rename_old_probabilities, save_predictions
from imagenet_trainer.runs.run import Run
from imagenet_trainer.runs.temperature import read_temperature
from imagenet_trainer.system.files import sha256
from imagenet_trainer.system.machine import free_memory
from imagenet_trainer.system.progress_bar import progress
from imagenet_trainer.viz.thumbnails import records_of


class EpochResult(NamedTuple):
    """Predictions and metrics of an epoch."""

    epoch: int
    predictions: Predictions
    metrics: Dict[str, Any]  # as in evaluation.json
    name: str  # of the dataset; '' for the run's own validation images
    classes: Classes
    competing: int = 0  # number of classes that compete; 0: all
    has_several: bool = False  # images may have several right classes, or none
    precision: Optional[np.ndarray] = None  # with --multi-label: float64 (classes,)


class Evaluator:
    """Evaluates some epochs of a run on one dataset, with the same views of each image.

    Parameters
    ----------
    settings, run, epochs
        The settings of `evaluate`, the run, and its epochs.
    log
        Called with a line for everything that the user should know.

    Raises InputError for settings that do not fit: see `open_network`, `open_validation_set`.

    """

    def __init__(
        self, settings: EvaluateSettings, run: Run, epochs: Sequence[int], log: Log
    ) -> None:
        self.settings, self.run, self.epochs, self.log = settings, run, epochs, log
        views = views_of(settings)
        devices = self.devices = devices_of(settings)
        batch, engine_batch = share_of_batch(
            settings.batch_size, views, len(settings.gpus) or settings.cpus
        )
        self._engine, self.symbol, checkpoint = open_network(
            run, epochs[0], devices, engine_batch, settings, log
        )
        engine = choose_engine(devices).engine
        self.engine_version = {"engine": engine, "version": version_of(engine)}
        self._loaded = epochs[0]  # the epoch whose parameters the engine has
        settings = self.settings = for_network(settings, self.symbol, run)
        how = checkpoint.known_preprocessing
        self.dataset, own = open_validation_set(settings, run, checkpoint)
        if self.dataset.note:
            log(self.dataset.note)
        self._truth, scoring = truth_of(settings, self.dataset, log)
        self._precision = None
        if settings.multi_label and self._truth.right is not None:
            self._precision = PrecisionCollector(self._truth.right)
        self.input = EvaluationInput(self.dataset, how, views, scoring)
        self.files = ResultFiles(run, self.input, run.preprocessing(epochs[0]), own)
        if own is False and not settings.data_val:
            log(
                f"{self.dataset.path}: has other images or labels than those on which the run was "
                f"validated; the results are kept apart, as {self.files.name}"
            )
        transform = ViewTransform(how.image_shape, how.val_resize, views, how.val_interp)
        if views.crops == 10 and transform.short_side == max(how.image_shape[1:]):
            log(
                "--crops 10: images are resized to the size of the crop, so all crops of a square "
                "image are the same; --val-resize resizes to a larger size"
            )
        threads = loader_threads(
            settings.data_nthreads, bool(settings.gpus), self._engine.host_memory
        )
        self._batches = ViewBatches(
            self.dataset, transform, batch, threads, on_bad=settings.on_bad_record
        )

    def results(self) -> Iterator[EpochResult]:
        """The result of each epoch, computed or from its files.

        While an epoch is computed, the next checkpoint is read. All files of an epoch are written
        before its result is yielded.
        """
        name, top_k = self.files.name, max((TOP, *self.settings.top_k))
        for epoch in self.epochs:
            rename_old_probabilities(self.run, epoch, name)
        keys = {epoch: self._key(epoch) for epoch in self.epochs}
        saved = {epoch: self._saved(epoch, keys[epoch], top_k) for epoch in self.epochs}
        missing = [epoch for epoch in self.epochs if saved[epoch] is None]
        self._keep_images(len(missing))
        with ThreadPoolExecutor(1) as reader:
            coming: Dict[int, Future] = {}
            for epoch in self.epochs:
                predictions = saved.pop(epoch)
                if predictions is None:
                    if epoch != self._loaded:
                        one = coming.get(epoch) or reader.submit(self._read, epoch)
                        set_checkpoint(self._engine, self.symbol, self.run, one.result())
                        self._loaded = epoch
                    following = missing[missing.index(epoch) + 1 :][:1]
                    coming = {next_: reader.submit(self._read, next_) for next_ in following}
                    predictions = self._predict(epoch, keys[epoch], top_k)
                    save_predictions(self.run, epoch, name, predictions)
                    bad = bad_records(self._batches.reports)
                    now = {"date": date.today().isoformat(), **self.engine_version}
                else:
                    bad, now = self.files.bad_records(epoch), None
                    self.log(f"epoch {epoch}: {_origin(self.files.computed(epoch))}")
                metrics = self.files.record(epoch, predictions, self.settings.top_k, bad, now)
                yield self._result(epoch, predictions, metrics)

    def _result(self, epoch: int, predictions: Predictions, metrics: Dict[str, Any]) -> EpochResult:
        """The result of an epoch whose files are written."""
        name, classes, precision = self.files.name, self.dataset.classes, None
        if self._precision is not None:
            precision = read_average_precision(
                self.run.average_precision_path(epoch, name), len(classes)
            )
            metrics = {**metrics, MEAN_AVERAGE_PRECISION: float(np.nanmean(precision))}
        return EpochResult(
            epoch, predictions, metrics, name, classes, self._truth.competing(len(classes)),
            self._truth.right is not None, precision,
        )  # fmt: skip

    def _saved(self, epoch: int, key: str, top_k: int) -> Optional[Predictions]:
        """The predictions of an earlier evaluation; None if they are to be computed."""
        settings = self.settings
        precision = self.run.average_precision_path(epoch, self.files.name)
        if settings.again or (self._precision is not None and not precision.exists()):
            return None
        return self.files.known(
            epoch, key, top_k, settings.save_predictions, settings.on_bad_record,
            self.engine_version,
        )  # fmt: skip

    def _key(self, epoch: int) -> str:
        """A digest of everything that the predictions of an epoch depend on."""
        key = self.input.key(self.run.params_sha256(epoch))
        if not self.settings.calibrated:
            return key
        temperature = read_temperature(self.run, epoch)
        return hashlib.sha256(f"{key} temperature={temperature!r}".encode()).hexdigest()

    def features(self, one: EpochResult) -> np.ndarray:
        """What the classifier takes, for the images of a result: float32 (n, d)."""
        everything = compute_features(
            self.run, one.epoch, self.devices, self._batches, self.log, self.settings
        )
        return everything[records_of(self.dataset.shards, one.predictions.keys)]

    def _read(self, epoch: int) -> Checkpoint:
        checkpoint = load_trained(self.run, epoch, self.settings)
        if checkpoint.preprocessing != self.input.preprocessing:
            raise InputError(
                f"{self.run.params_path(epoch)}: its preprocessing differs from that of epoch "
                f"{self.epochs[0]}; evaluate it in a separate call"
            )
        return checkpoint

    def _predict(self, epoch: int, key: str, top_k: int) -> Predictions:
        images, classes = len(self.dataset), len(self.dataset.classes)
        with contextlib.ExitStack() as stack:
            advance = stack.enter_context(progress(f"epoch {epoch}", images))
            file = None
            if self.settings.save_predictions:
                path = self.run.probabilities_path(epoch, self.files.name)
                file = stack.enter_context(ProbabilitiesFile(path, images, classes))
            truth = self._truth
            if self._precision is not None:
                truth = replace(truth, observe=self._precision.add)
            predictions = predict_dataset(
                self._engine, self._batches, top_k, key, file, advance, truth
            )
            if file is not None:
                file.finish(predictions)
        if self._precision is not None:
            path = self.run.average_precision_path(epoch, self.files.name)
            write_average_precision(path, self._precision.by_class(), self.dataset.classes)
        tally = Tally(self.log)
        for report in self._batches.reports:
            tally.add(report)
        if tally.counts:
            self.log(f"epoch {epoch}: of {images:,} images, {describe_counts(tally.counts)}")
        return predictions

    def _keep_images(self, epochs: int) -> None:
        """Keep the decoded images in memory if several epochs need them and they fit."""
        share = self.settings.cache_memory
        if epochs < 2 or not share:
            return
        available, size = share * free_memory(), self._batches.size
        if size <= available:
            self._batches.keep = True
            self.log(f"images are decoded once for {epochs} epochs: {_in_mib(size)} of memory")
        else:
            self.log(
                f"images are decoded for every epoch: they need {_in_mib(size)}, and "
                f"--cache-memory {share:g} of the free memory is {_in_mib(available)}"
            )


def _origin(computed: Mapping[str, str]) -> str:
    """Where the result of an earlier evaluation comes from, for the log."""
    words = (computed.get("date", "an earlier evaluation"), computed.get("engine"))
    known = ", ".join(word for word in words if word)
    version = f" {computed['version']}" if "version" in computed else ""
    return f"from {known}{version}; --again computes it again"


def _in_mib(size: float) -> str:
    """`2 MiB`, `7.0 GiB`."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{math.ceil(size / 2**20)} MiB"


def bad_records(reports: Sequence[Report]) -> Dict[str, int]:
    """The number of records of each action; {} if all were used."""
    counts = Counter(one.action for one in reports)
    return dict(sorted(counts.items()))


def for_network(settings: EvaluateSettings, symbol: Any, run: Run) -> EvaluateSettings:
    """The settings with --multi-label for a network that was trained with it.

    Unless --label-index chooses one label of each record. InputError for what needs probabilities
    of one class.
    """
    if not ends_in_sigmoid(symbol):
        return settings
    for name in ("restrict_classes", "calibrated"):
        if getattr(settings, name):
            check_softmax(symbol, flag_of(name), run)
    if settings.label_index is not None:
        return settings
    return replace(settings, multi_label=True)


def truth_of(
    settings: EvaluateSettings, dataset: Dataset, log: Log
) -> Tuple[Truth, Dict[str, str]]:
    """How predictions are counted, and the `scoring` of the evaluation's input."""
    scoring: Dict[str, str] = {}
    allowed = None
    if settings.classes:
        ids = json.dumps([one for one, _ in dataset.classes])
        scoring["classes"] = hashlib.sha256(ids.encode()).hexdigest()
    if settings.calibrated:
        scoring["calibrated"] = "by evaluate --calibrate"
    right = _right_classes(settings, dataset, scoring, log)
    if settings.restrict_classes:
        if right is None:
            present = present_classes(dataset)
        else:
            present = np.flatnonzero(right.getnnz(axis=0))
        if len(present) < 2:
            raise InputError(
                f"--restrict-classes: {dataset.path} has images of one class only; omit the flag"
            )
        allowed = np.zeros(len(dataset.classes), bool)
        allowed[present] = True
        scoring["restricted"] = hashlib.sha256(allowed.tobytes()).hexdigest()
        log(f"--restrict-classes: {len(present)} of {len(allowed)} classes compete")
    return Truth(allowed, right), scoring


def _right_classes(
    settings: EvaluateSettings, dataset: Dataset, scoring: Dict[str, str], log: Log
) -> Optional[RightClasses]:
    """The right classes where they are not the shard's labels, one an image; else None.

    Adds what decides about them to `scoring`.
    """
    if settings.real_labels and settings.labels:
        raise InputError("--real-labels and --labels: each replaces the labels; omit one of them")
    if settings.multi_label:
        rows = all_labels(dataset)
        scoring["multilabel"] = "labels of the records"
    elif settings.real_labels or settings.labels:
        rows = own_labels(dataset)
    else:
        return None
    if settings.real_labels:
        with attributed_to("--real-labels", " "):
            rows = real_labels(settings.real_labels, dataset, rows)
        scoring["real"] = sha256(settings.real_labels)
        several = sum(len({*one}) > 1 for one in rows)
        log(f"--real-labels: {several:,} of {len(dataset):,} images have several right classes")
    elif settings.labels:
        with attributed_to("--labels", " "):
            rows, changed = table_labels(settings.labels, dataset, rows)
        scoring["relabelled"] = sha256(settings.labels)
        log(f"--labels: {changed:,} of {len(dataset):,} images have their label from the file")
    right = right_classes(rows, len(dataset.classes))
    empty = int((right.getnnz(axis=1) == 0).sum())
    if empty == len(dataset):
        raise InputError(f"{dataset.path}: no image has a right class")
    if empty:
        log(f"{empty:,} images have no right class and are left out")
    return right


def open_validation_set(
    settings: EvaluateSettings, run: Run, checkpoint: Checkpoint
) -> Tuple[Dataset, Optional[bool]]:
    """The dataset to evaluate on: the run's validation images, or others with the same classes.

    And whether it is the run's own; None if the run does not know its own.
    """
    path, index = run.validation_shard()
    if settings.data_val:
        path, index = settings.data_val, settings.data_val_idx
    index = settings.data_val_idx or index
    try:
        with attributed_to("--data-val", " "):
            dataset = open_matching_dataset(
                path, index, checkpoint.classes, run.prefix, settings.on_bad_record == STOP,
                0 if settings.multi_label else run.label_index(settings.label_index),
            )  # fmt: skip
    except OtherClasses as error:
        raise InputError(f"{error}; or name the network's outputs with --classes FILE") from error
    known = run.read_json(run.config_path).get("data", {}).get("val")
    if known is None:
        return dataset, None
    if settings.multi_label and not settings.data_val:
        return dataset, True  # opened with another label than in the training
    return dataset, known in (dataset.fingerprint, dataset.old_fingerprint)
