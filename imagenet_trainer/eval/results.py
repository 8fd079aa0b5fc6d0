"""The files of evaluations in the folder of a run, and whether they are up to date.

evaluation.json has the metrics: those for the run's own validation images under `epochs`, those
for other datasets, sizes or crops under `sets`, each with a name that is also part of the names of
its files (predictions-0012-train-10crop.npz).
"""

import csv
import hashlib
import json
import re
import zlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Dict, Mapping, Optional, Sequence

import numpy as np

from imagenet_trainer.config.values import INTERPOLATIONS
from imagenet_trainer.data.bad_records import STOP, USE
from imagenet_trainer.data.dataset import Classes, Dataset
from imagenet_trainer.data.views import Views
from imagenet_trainer.errors import InputError
from imagenet_trainer.metrics.confusion import arrays_of, equal, matrix_in
from imagenet_trainer.metrics.evaluation import (
    CLASS_COLUMNS,
    as_json,
    class_rows,
    class_table,
    estimates,
    rank_names,
)
from imagenet_trainer.metrics.predictions import Predictions
from imagenet_trainer.metrics.semantic import semantic_results
from imagenet_trainer.runs.checkpoint import PREPROCESSING_SHAPE, Preprocessing, read_arrays
from imagenet_trainer.runs.predictions import has_probabilities, load_predictions, predictions_file
from imagenet_trainer.runs.run import Run
from imagenet_trainer.system.arrays import write_arrays
from imagenet_trainer.system.files import write_csv, write_json
from imagenet_trainer.viz import confusion

_KNOWN = (int, float, type(None))
_ENTRY = {
    "about?": {
        "fingerprint": str, "preprocessing": PREPROCESSING_SHAPE, "views": {"bgr": bool},
    },
    "epochs?": {
        "*": {
            "key?": str, "images?": int, "rank1?": _KNOWN, "rank5?": _KNOWN, "loss?": _KNOWN,
            "intervals?": {"*": [_KNOWN, _KNOWN]},
            "meaning?": {
                "levels": {"*": _KNOWN}, "errors": int, "errors_in_group": _KNOWN,
                "error_distance": _KNOWN, "chance_distance": _KNOWN, "clusters": {"within": _KNOWN},
            },
            "confused_pairs?": [
                {"a": str, "b": str, "a_as_b": int, "b_as_a": int, "a_images?": int,
                 "b_images?": int}
            ],
        },
    },
}  # fmt: skip
_SHAPE = {**_ENTRY, "sets?": {"*": _ENTRY}}

# In every entry that this version wrote.
_ALWAYS = ("images", "loss", "calibration_error", "confused_pairs")

NO_RECORDS: Mapping[str, int] = MappingProxyType({})
# Fields of Preprocessing that every key contains. Keys are those of the first versions, so that
# their results stay valid.
_IN_KEY = ("image_shape", "rgb_mean", "rgb_std", "val_resize")


@dataclass(frozen=True)
class EvaluationInput:
    """What a network is evaluated on: a dataset, its preprocessing, the views of each image.

    `scoring` has a digest for everything else that decides which predictions are right, such as
    `classes`, other names of the network's outputs, or `restricted`, the classes that compete.
    """

    dataset: Dataset
    preprocessing: Preprocessing
    views: Views
    scoring: Mapping[str, str] = field(default_factory=dict)

    def about(self) -> Dict[str, Any]:
        """The description in evaluation.json."""
        how = self.preprocessing.as_dict()
        bgr = how.pop("bgr")  # which was a view in the first versions
        return {
            "pictures": self.dataset.path,
            "fingerprint": self.dataset.fingerprint,
            "preprocessing": how,
            "views": {**asdict(self.views), "bgr": bgr},
            **({"scoring": dict(self.scoring)} if self.scoring else {}),
        }

    def key(self, params_sha256: str) -> str:
        """A digest of the parameters, the preprocessing, the views and the images."""
        how = self.preprocessing
        named = ((name, getattr(how, name)) for name in _IN_KEY)
        prepared = f"Preprocessing({', '.join(f'{name}={value!r}' for name, value in named)})"
        parts = [params_sha256, prepared, self.dataset.fingerprint]
        if self.views != Views() or how.bgr:
            crops, flip = self.views.crops, self.views.flip
            parts.append(f"Views(crops={crops}, flip={flip}, bgr={how.bgr})")
        if how.val_interp != INTERPOLATIONS[0]:
            parts.append(f"val_interp={how.val_interp}")
        if self.scoring:
            parts.append(f"Scoring({sorted(self.scoring.items())})")
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


class ResultFiles:
    """The files with the results of a run for one evaluation input.

    Parameters
    ----------
    run, input_
        The run, and what it is evaluated on.
    trained_with
        Preprocessing of the checkpoint; None if unknown.
    own
        Whether the dataset is the run's own validation images; None if the run does not know
        them: then those that are evaluated first.

    """

    def __init__(
        self,
        run: Run,
        input_: EvaluationInput,
        trained_with: Optional[Preprocessing],
        own: Optional[bool],
    ):
        self.run, self.input = run, input_
        self.name = self._name(trained_with, own)

    def _name(self, trained_with: Optional[Preprocessing], own: Optional[bool]) -> str:
        """The name of the entry in evaluation.json; '' for the default one."""
        record, about = self._read(), self.input.about()
        first = record.get("about", about)
        if own is None:
            own = first["fingerprint"] == about["fingerprint"]
        if trained_with is None:
            trained_with = _prepared(first)
        usual = EvaluationInput(self.input.dataset, trained_with, Views())
        name = describe(self.input, usual, own)
        existing = record.get("sets", {}).get(name)
        if existing and not same(existing.get("about", {}), about):
            # Two shards with the same file name, or another mean: keep their results apart.
            digest = hashlib.sha256(repr(sorted(_identity(about).items())).encode()).hexdigest()
            name = f"{name}-{digest[:6]}"
        return name

    def known(
        self, epoch: int, key: str, top_k: int, probabilities: bool, on_bad: str = STOP,
        engine: Optional[Mapping[str, str]] = None,
    ) -> Optional[Predictions]:  # fmt: skip
        """Predictions saved by an earlier evaluation, if they are valid and sufficient.

        Those of another engine than `engine` (name and version) do not count, unless it is None.
        Those with records that could not be used count only for the same `on_bad`.
        """
        run, name, metrics = self.run, self.name, self._metrics_of(epoch)
        if metrics.get("key") != key or _part(metrics, "bad_records").keys() - {on_bad, USE}:
            return None
        computed = _part(metrics, "computed")
        if engine and any(computed.get(part, value) != value for part, value in engine.items()):
            return None
        found = load_predictions(run, epoch, name, key)
        if found is None or found.top.shape[1] < min(top_k, found.classes):
            return None
        if probabilities and not has_probabilities(run, epoch, name, key):
            return None
        return found

    def paths(self, epoch: int, probabilities: bool) -> Dict[str, Path]:
        """The files of an epoch that exist, by the fields of `EpochFiles`."""
        run, name = self.run, self.name
        found = {
            "predictions": predictions_file(run, epoch, name),
            "probabilities": run.probabilities_path(epoch, name) if probabilities else None,
            "classes": run.classes_path(epoch, name),
            "average_precision": run.average_precision_path(epoch, name),
            "matrix": run.confusion_path(epoch, ".npz", name),
            "picture": run.confusion_path(epoch, ".png", name),
        }
        return {field: path for field, path in found.items() if path and path.exists()}

    def computed(self, epoch: int) -> Dict[str, str]:
        """When and by which engine an epoch was computed: date, engine, version; {} if unknown."""
        return _part(self._metrics_of(epoch), "computed")

    def bad_records(self, epoch: int) -> Dict[str, int]:
        """The number of records that an evaluation could not use, by what it did instead."""
        return _part(self._metrics_of(epoch), "bad_records")

    def record(
        self,
        epoch: int,
        predictions: Predictions,
        top_k: Sequence[int],
        bad_records: Mapping[str, int] = NO_RECORDS,
        computed: Optional[Mapping[str, str]] = None,
    ) -> Dict[str, Any]:
        """Write metrics, table of classes, confusion matrix and its image; return the metrics.

        `bad_records` is what `bad_records()` returns from now on. `computed` is what `computed()`
        returns, for predictions that are new; None for those of an earlier evaluation.

        Files of an earlier evaluation are kept unless one is missing, damaged, or was computed by
        the rules of another version.
        """
        complete = self._is_complete(epoch, predictions)
        earlier = self._metrics_of(epoch)
        metrics = earlier if complete and computed is None else {}
        computed = _part(earlier, "computed") if computed is None else computed
        if metrics.get("key") != predictions.key:
            metrics = {}
        wanted = {*_ALWAYS, *rank_names(top_k)}
        if not wanted <= metrics.keys():
            before = (int(name[4:]) for name in metrics if re.fullmatch(r"rank\d+", name))
            metrics = as_json(estimates(predictions, [*top_k, *before]), predictions)
            ids = [wnid for wnid, _ in self.input.dataset.classes]
            metrics.update(semantic_results(predictions, ids))
            metrics["key"] = predictions.key
        metrics.pop("bad_records", None)
        if computed:
            metrics["computed"] = dict(computed)
        if bad_records:
            metrics["bad_records"] = dict(bad_records)
        if not complete:
            self._write(epoch, predictions)
        self._save_metrics(epoch, metrics)
        return metrics

    def _is_complete(self, epoch: int, predictions: Predictions) -> bool:
        """Whether all files that follow from these predictions exist and are valid."""
        run, name = self.run, self.name
        if not run.confusion_path(epoch, ".png", name).exists():
            return False
        if not run.classes_path(epoch, name).exists():
            return False
        try:
            counts = read_arrays(run.confusion_path(epoch, ".npz", name))
            matrix = matrix_in(counts)
        except ValueError:
            return False
        return str(counts.get("key")) == predictions.key and equal(matrix, predictions.confusion())

    def _write(self, epoch: int, predictions: Predictions) -> None:
        run, name, matrix = self.run, self.name, predictions.confusion()
        confusion.write_png(run.confusion_path(epoch, ".png", name), confusion.draw(matrix))
        rows = class_rows(class_table(predictions), self.input.dataset.classes)
        write_csv(run.classes_path(epoch, name), CLASS_COLUMNS, rows)
        # The counts are written last: with a valid key the other files are complete.
        arrays = {**arrays_of(matrix), "key": np.array(predictions.key)}
        write_arrays(run.confusion_path(epoch, ".npz", name), arrays)

    def _save_metrics(self, epoch: int, metrics: Dict[str, Any]) -> None:
        record = self._read()
        entry = self._entry(record)
        entry["about"] = self.input.about()
        entry.setdefault("epochs", {})[str(epoch)] = metrics
        entry["epochs"] = dict(sorted(entry["epochs"].items(), key=lambda item: int(item[0])))
        entry["checksums"] = {**_part(entry, "checksums"), str(epoch): _checksum(metrics)}
        if self.name:
            record.setdefault("epochs", {})
            record.setdefault("sets", {})[self.name] = entry
        write_json(self.run.evaluation_path, record)

    def _metrics_of(self, epoch: int) -> Dict[str, Any]:
        """The metrics of an epoch in evaluation.json; {} if there are none, or were changed."""
        entry = self._entry(self._read())
        metrics = entry.get("epochs", {}).get(str(epoch), {})
        if metrics.get("intervals") is None or metrics.get("confused_pairs") is None:
            return {}  # an old version
        # Earlier versions wrote no checksums.
        checksum = _part(entry, "checksums").get(str(epoch), _checksum(metrics))
        ids = {wnid for wnid, _ in self.input.dataset.classes}
        known = all(pair[side] in ids for pair in metrics["confused_pairs"] for side in "ab")
        complete = all(isinstance(metrics.get(name, ""), _KNOWN) for name in metrics["intervals"])
        return metrics if known and complete and checksum == _checksum(metrics) else {}

    def _read(self) -> Dict[str, Any]:
        """The content of evaluation.json; InputError if it is not a file of this program."""
        record = self.run.read_json(self.run.evaluation_path, _SHAPE)
        try:
            for entry in (record, *record.get("sets", {}).values()):
                list(map(int, entry.get("epochs", {})))
                about = entry.get("about")
                if about is not None:
                    about["fingerprint"], _prepared(about)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{self.run.evaluation_path}: was not written by this program; remove it"
            ) from error
        return record

    def _entry(self, record: Dict[str, Any]) -> Dict[str, Any]:
        return record.get("sets", {}).get(self.name, {}) if self.name else record


def _checksum(metrics: Mapping[str, Any]) -> str:
    """CRC-32 of the metrics of an epoch as JSON."""
    plain = json.loads(json.dumps(metrics))  # as it is read: keys are text
    return f"{zlib.crc32(json.dumps(plain, sort_keys=True).encode()):08x}"


def _part(metrics: Mapping[str, Any], name: str) -> Dict[str, Any]:
    """A table among the metrics of an epoch; {} if there is none."""
    found = metrics.get(name, {})
    return found if isinstance(found, dict) else {}


def write_average_precision(path: Path, values: np.ndarray, classes: Classes) -> None:
    """Write the average precision of each class, float64 (classes,), nan as an empty cell."""
    rows = (
        (label, *names, "" if np.isnan(value) else repr(value))
        for label, (value, names) in enumerate(zip(values.tolist(), classes))
    )
    write_csv(path, ("class", "id", "name", "average_precision"), rows)


def read_average_precision(path: Path, classes: int) -> np.ndarray:
    """What `write_average_precision` wrote; InputError if it is damaged."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            found = np.array(
                [float(row["average_precision"] or "nan") for row in csv.DictReader(file)]
            )
        if len(found) != classes or np.isnan(found).all():
            raise ValueError(f"has not {classes} classes with images")
        return found
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise InputError(f"{path}: is damaged ({error}); remove it") from error


def describe(input_: EvaluationInput, usual: EvaluationInput, own: bool) -> str:
    """A name for an evaluation input from its differences to the usual one; '' without any.

    `own`: the dataset is the run's own.
    """
    how, trained, views = input_.preprocessing, usual.preprocessing, input_.views
    parts = [] if own else [_stem(input_.dataset.path)]
    if how.image_shape != trained.image_shape:
        parts.append(f"{how.image_shape[1]}x{how.image_shape[2]}")
    if how.val_resize != trained.val_resize:
        parts.append(f"resize{how.val_resize}")
    if how.val_interp != trained.val_interp:
        parts.append(how.val_interp)
    for word in ("mean", "std"):
        values = getattr(how, f"rgb_{word}")
        if values != getattr(trained, f"rgb_{word}"):
            parts.append(word + "_".join(f"{value:g}" for value in values))
    if how.bgr != trained.bgr:
        parts.append("bgr" if how.bgr else "rgb")
    if views.mirrored:
        parts.append("10crop" if views.crops == 10 else "flip")
    parts += [name for name in input_.scoring if name != "classes"]
    return "-".join(parts)


def same(about: Dict[str, Any], other: Dict[str, Any]) -> bool:
    """Whether two entries have the same input; the path does not matter."""
    return _identity(about) == _identity(other)


def _prepared(about: Dict[str, Any]) -> Preprocessing:
    return Preprocessing.of_dict({**about["preprocessing"], "bgr": about["views"]["bgr"]})


def _identity(about: Dict[str, Any]) -> Dict[str, Any]:
    return {key: value for key, value in about.items() if key != "pictures"}


def _stem(path: str) -> str:
    """A name for use in file names, from the path of a shard."""
    stem = re.sub(r"\.rec$", "", Path(path.split(",")[0].strip()).name)
    return re.sub(r"[^\w.]+", "_", stem).strip("_") or "pictures"
