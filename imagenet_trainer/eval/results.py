"""What evaluations leave in a run's folder, and when it need not be computed again.

evaluation.json holds the numbers: those of the run's own validation images under `epochs`, and
those of other images, sizes or crops under `sets`, each with a name that is also in the names
of its files (predictions-0012-train-10crop.npz).
"""

import csv
import hashlib
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Dict, Optional, Sequence

import numpy as np

from imagenet_trainer.data.dataset import Dataset
from imagenet_trainer.data.views import Views
from imagenet_trainer.errors import InputError
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
from imagenet_trainer.runs.checkpoint import Preprocessing, read_arrays
from imagenet_trainer.runs.predictions import has_probabilities, load_predictions
from imagenet_trainer.runs.run import Run
from imagenet_trainer.system.files import atomic_write, sha256


@dataclass(frozen=True)
class Shown:
    """What a network was shown: images, their preprocessing, their views."""

    dataset: Dataset
    preprocessing: Preprocessing
    views: Views

    def about(self) -> Dict[str, Any]:
        """For evaluation.json."""
        return {
            "pictures": self.dataset.path,
            "fingerprint": self.dataset.fingerprint,
            "preprocessing": {k: _plain(v) for k, v in asdict(self.preprocessing).items()},
            "views": asdict(self.views),
        }

    def key(self, params_path: Path) -> str:
        """Changes when the parameters, the preprocessing, the views or the images do."""
        parts = [sha256(params_path), repr(self.preprocessing), self.dataset.fingerprint]
        if self.views != Views():
            parts.append(repr(self.views))
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


class Results:
    """The results of one run on one set of images.

    Parameters
    ----------
    run, shown
        whose, and on what.
    trained_with
        preprocessing of the checkpoint; None where nobody knows.
    own
        whether the images are the run's own validation images; None where the run does not
        say which these are: then those that are scored first.

    """

    def __init__(
        self, run: Run, shown: Shown, trained_with: Optional[Preprocessing], own: Optional[bool]
    ):
        self.run, self.shown = run, shown
        self.name = self._name(trained_with, own)

    def _name(self, trained_with: Optional[Preprocessing], own: Optional[bool]) -> str:
        """'' for the default entry, a name of its own for everything else."""
        record, about = self._read(), self.shown.about()
        first = record.get("about", about)
        if own is None:
            own = first["fingerprint"] == about["fingerprint"]
        bgr = trained_with is None and first["views"]["bgr"]
        if trained_with is None:
            trained_with = _prepared(first)
        name = describe(self.shown, Shown(self.shown.dataset, trained_with, Views(bgr=bgr)), own)
        there = record.get("sets", {}).get(name)
        if there and not same(there.get("about", {}), about):
            # Two shards of the same name, or another mean: their results must not mix.
            digest = hashlib.sha256(repr(sorted(_identity(about).items())).encode()).hexdigest()
            name = f"{name}-{digest[:6]}"
        return name

    def known(self, epoch: int, key: str, top_k: int, probabilities: bool) -> Optional[Predictions]:
        """Predictions of an earlier evaluation of the same, if they hold what is wanted now."""
        run, name = self.run, self.name
        if self._numbers_of(epoch).get("key") != key:
            return None
        found = load_predictions(run, epoch, name, key)
        if found is None or found.top.shape[1] < min(top_k, found.classes):
            return None
        if probabilities and not has_probabilities(run, epoch, name, key):
            return None
        return found

    def record(self, epoch: int, predictions: Predictions, top_k: Sequence[int]) -> Dict[str, Any]:
        """Write counts, their image, the table of classes and the numbers, and return these.

        What an earlier evaluation left is not made again, unless something of it is missing,
        damaged, or counted by another version's rules.
        """
        whole = self._is_whole(epoch, predictions)
        found = self._numbers_of(epoch) if whole else {}
        if found.get("key") != predictions.key:
            found = {}
        wanted = {"calibration_error", "confused_pairs", *rank_names(top_k)}
        if not wanted <= found.keys():
            before = (int(name[4:]) for name in found if re.fullmatch(r"rank\d+", name))
            found = as_json(estimates(predictions, [*top_k, *before]), predictions)
            found.update(
                semantic_results(predictions, [one for one, _ in self.shown.dataset.classes])
            )
            found["key"] = predictions.key
        if not whole:
            self._write(epoch, predictions)
        self._note(epoch, found)
        return found

    def _is_whole(self, epoch: int, predictions: Predictions) -> bool:
        """Whether all that follows from these predictions is there."""
        run, name = self.run, self.name
        if not run.confusion_path(epoch, ".png", name).exists():
            return False
        if not run.classes_path(epoch, name).exists():
            return False
        try:
            counts = read_arrays(run.confusion_path(epoch, ".npz", name))
        except ValueError:
            return False
        if str(counts.get("key")) != predictions.key or "matrix" not in counts:
            return False
        return np.array_equal(counts["matrix"], predictions.confusion())

    def _write(self, epoch: int, predictions: Predictions) -> None:
        from imagenet_trainer.viz.confusion import draw, write_png

        run, name, matrix = self.run, self.name, predictions.confusion()
        write_png(run.confusion_path(epoch, ".png", name), draw(matrix))
        with atomic_write(run.classes_path(epoch, name), "w") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(CLASS_COLUMNS)
            writer.writerows(class_rows(class_table(predictions), self.shown.dataset.classes))
        # The counts come last: they say that the others are theirs.
        with atomic_write(run.confusion_path(epoch, ".npz", name)) as file:
            np.savez_compressed(file, matrix=matrix, key=np.array(predictions.key))

    def _note(self, epoch: int, numbers: Dict[str, Any]) -> None:
        record = self._read()
        entry = self._entry(record)
        entry["about"] = self.shown.about()
        entry.setdefault("epochs", {})[str(epoch)] = numbers
        entry["epochs"] = dict(sorted(entry["epochs"].items(), key=lambda item: int(item[0])))
        if self.name:
            record.setdefault("epochs", {})
            record.setdefault("sets", {})[self.name] = entry
        self.run.write_json(self.run.evaluation_path, record)

    def _numbers_of(self, epoch: int) -> Dict[str, Any]:
        """What evaluation.json says of an epoch; {} if nothing."""
        return self._entry(self._read()).get("epochs", {}).get(str(epoch), {})

    def _read(self) -> Dict[str, Any]:
        """evaluation.json; InputError unless it has the form that is written here."""
        record = self.run.read_json(self.run.evaluation_path)
        try:
            for entry in (record, *record.get("sets", {}).values()):
                for epoch, numbers in entry.get("epochs", {}).items():
                    int(epoch), numbers.get("key")
                about = entry.get("about")
                if about is not None:
                    about["fingerprint"], about["views"]["bgr"], _prepared(about)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{self.run.evaluation_path}: is not a file of this program; remove it"
            ) from error
        return record

    def _entry(self, record: Dict[str, Any]) -> Dict[str, Any]:
        return record.get("sets", {}).get(self.name, {}) if self.name else record


def describe(shown: Shown, usual: Shown, own: bool) -> str:
    """A name for what a network is shown, from what is not as usual: '' if all is.

    `own`: the images are the run's own.
    """
    how, trained, views = shown.preprocessing, usual.preprocessing, shown.views
    parts = [] if own else [_stem(shown.dataset.path)]
    if how.image_shape != trained.image_shape:
        parts.append(f"{how.image_shape[1]}x{how.image_shape[2]}")
    if how.val_resize != trained.val_resize:
        parts.append(f"resize{how.val_resize}")
    for word in ("mean", "std"):
        values = getattr(how, f"rgb_{word}")
        if values != getattr(trained, f"rgb_{word}"):
            parts.append(word + "_".join(f"{value:g}" for value in values))
    if views.bgr != usual.views.bgr:
        parts.append("bgr" if views.bgr else "rgb")
    if views.mirrored:
        parts.append("10crop" if views.crops == 10 else "flip")
    return "-".join(parts)


def same(about: Dict[str, Any], other: Dict[str, Any]) -> bool:
    """Whether two entries were shown the same; the path does not count."""
    return _identity(about) == _identity(other)


def _prepared(about: Dict[str, Any]) -> Preprocessing:
    """The preprocessing of an entry."""
    return Preprocessing(**{key: _tuple(value) for key, value in about["preprocessing"].items()})


def _identity(about: Dict[str, Any]) -> Dict[str, Any]:
    return {key: value for key, value in about.items() if key != "pictures"}


def _stem(path: str) -> str:
    """A word for file names from what --data-val says."""
    stem = re.sub(r"\.rec$", "", Path(path.split(",")[0].strip()).name)
    return re.sub(r"[^\w.]+", "_", stem).strip("_") or "pictures"


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
