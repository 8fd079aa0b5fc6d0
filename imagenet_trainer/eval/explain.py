"""`evaluate --explain`: why the worst errors of an epoch were made.

The worst errors are the images with the highest probability of a wrong class. For each of them: the
parts of the image that speak for the predicted and for the labelled class, and the nearest training
images with their labels.
"""

import contextlib
import hashlib
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from imagenet_trainer.config import EvaluateSettings
from imagenet_trainer.data.augment import decode
from imagenet_trainer.data.dataset import Dataset
from imagenet_trainer.data.views import Views
from imagenet_trainer.engines.factory import why_no_gradients
from imagenet_trainer.errors import ArgumentError, InputError
from imagenet_trainer.eval.evaluator import EpochResult, Evaluator
from imagenet_trainer.eval.grad_cam import class_maps
from imagenet_trainer.eval.labels import names_by_key
from imagenet_trainer.eval.neighbours import (
    NeighbourSearch,
    features_symbol,
    open_training_images,
    own_records,
)
from imagenet_trainer.eval.network import (
    check_softmax,
    devices_of,
    engine_for,
    own_parameters,
    read_network,
)
from imagenet_trainer.eval.report import title_of
from imagenet_trainer.eval.sample import prepared
from imagenet_trainer.graph import GraphError
from imagenet_trainer.metrics.predictions import Predictions
from imagenet_trainer.metrics.semantic import short_names
from imagenet_trainer.packing.duplicates import looks_same
from imagenet_trainer.symbols.classifier import with_features
from imagenet_trainer.symbols.feature_maps import Split, split_at_maps
from imagenet_trainer.system.arrays import Arrays
from imagenet_trainer.system.files import atomic_write, write_csv
from imagenet_trainer.viz.thumbnails import records_of
from imagenet_trainer.viz.why import Explained, Neighbour, draw_explained

_COLUMNS = (
    "key", "label_id", "label", "label_probability", "predicted_id", "predicted", "probability",
    "nearest", "train_key", "train_file", "train_label_id", "train_label", "train_predicted_id",
    "train_predicted", "train_probability", "similarity", "looks_the_same",
)  # fmt: skip


class _Images(NamedTuple):
    """The errors to explain."""

    positions: np.ndarray  # int64 (n,), in the predictions
    records: List[int]  # in the dataset
    encoded: List[bytes]


def worst_errors(predictions: Predictions) -> np.ndarray:
    """Positions of all errors, int64 (n,), the highest probability of the wrong class first."""
    wrong = np.flatnonzero(predictions.rank > 0)
    return wrong[np.argsort(-predictions.probabilities[wrong, 0], kind="stable")]


class Explainer:
    """Explains the worst errors of an epoch.

    Parameters
    ----------
    settings, evaluator
        The settings of `evaluate`, and the evaluator of its epochs. What cannot be explained is
        refused, or logged, before epochs are evaluated.

    Raises InputError for several views or labels of an image, shards that cannot be used, and a
    network of which nothing can be explained.

    """

    def __init__(self, settings: EvaluateSettings, evaluator: Evaluator) -> None:
        self._settings, self._evaluator, self._log = settings, evaluator, evaluator.log
        if evaluator.input.views != Views():
            raise InputError("--explain: needs one view of each image; omit --crops and --flip")
        check_softmax(evaluator.symbol, "--explain", evaluator.run)
        if settings.multi_label:
            raise InputError("--explain: is about images with one label; omit --multi-label")
        self._train = self._training_images()
        self._split = self._split_network()
        if self._split is None and self._train is None:
            raise InputError(
                "--explain: neither heat-maps nor nearest training images are possible; omit it"
            )

    def _split_network(self) -> Optional[Split]:
        """The network in two parts, between which are the heat-maps; None if there are none."""
        evaluator, engine = self._evaluator, self._evaluator.engine_version["engine"]
        problem = why_no_gradients(engine)
        if problem:
            self._log(f"--explain: no heat-maps: --engine {engine} {problem}")
            return None
        try:
            shape = evaluator.input.preprocessing.image_shape
            split = split_at_maps(evaluator.symbol, shape)
        except GraphError as error:
            self._log(f"--explain: no heat-maps: {evaluator.run.symbol_path}: {error}")
            return None
        _, height, width = split.shape
        self._log(f"--explain: heat-maps of {height} x {width} positions, from layer {split.layer}")
        return split

    def _training_images(self) -> Optional[Dataset]:
        """The images among which the nearest are looked for; None if there are none."""
        settings, evaluator = self._settings, self._evaluator
        if not settings.explain_nearest:
            return None
        try:
            with_features(evaluator.symbol)
        except ArgumentError:
            self._log(
                f"--explain: no nearest training images: {evaluator.run.symbol_path}: the last "
                "layers are not those of a classifier, so it has no features"
            )
            return None
        found, reason = open_training_images(settings, evaluator.run, evaluator.dataset.classes)
        if found is None:
            self._log(
                f"--explain: no nearest training images: {reason}; name their shard with "
                "--data-train"
            )
        return found

    def explain(self, one: EpochResult) -> List[Explained]:
        """Explain the worst errors of an epoch; writes what is found of the training images."""
        run, predictions, settings = self._evaluator.run, one.predictions, self._settings
        chosen = self._choose(predictions)
        if not chosen.encoded:
            return []
        symbol, checkpoint = read_network(run, one.epoch, settings)
        how = checkpoint.known_preprocessing
        parameters = own_parameters(symbol, run, checkpoint)
        images, devices = prepared(chosen.encoded, how), self._evaluator.devices
        labels = predictions.top[chosen.positions, 0], predictions.labels[chosen.positions]
        maps, found = np.empty((0, len(images), 1, 1), np.float32), {}
        if self._split is not None:
            few = devices_of(settings, few=True)
            maps = class_maps(
                self._split, checkpoint, parameters, few, images, labels, settings.batch_size
            )
        if self._train is not None:
            engine = engine_for(features_symbol(symbol), checkpoint, devices, settings.batch_size)
            engine.set_params(*parameters)
            search = NeighbourSearch(engine, self._train, how, settings)
            own = own_records(self._evaluator.dataset.shards, chosen.records, self._train.shards)
            key = self._key(predictions, chosen, self._train)
            found = search.find(images, own, self._path(one, "npz"), key, self._log)
        return [
            self._explained(one, chosen, number, images[number], maps[:, number], found)
            for number in range(len(images))
        ]

    def _choose(self, predictions: Predictions) -> _Images:
        """The worst errors whose images can be decoded."""
        shards = self._evaluator.dataset.shards
        records = records_of(shards, predictions.keys)
        chosen = _Images(np.empty(0, np.int64), [], [])
        positions: List[int] = []
        for position in worst_errors(predictions).tolist():
            if len(positions) == self._settings.explain:
                break
            record = int(records[position])
            try:
                encoded = bytes(shards.record(record).image)
                decode(encoded)
            except (InputError, ValueError, IndexError):
                continue
            positions.append(position)
            chosen.records.append(record)
            chosen.encoded.append(encoded)
        return chosen._replace(positions=np.array(positions, np.int64))

    def _key(self, predictions: Predictions, chosen: _Images, train: Dataset) -> str:
        """A digest of everything that the nearest training images depend on."""
        parts = [
            predictions.key, train.fingerprint, self._evaluator.engine_version,
            self._settings.on_bad_record, predictions.keys[chosen.positions].tolist(),
        ]  # fmt: skip
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def _path(self, one: EpochResult, ending: str) -> Path:
        """The file of an epoch with this ending; the .npz has what is found of training images."""
        run = self._evaluator.run
        stem = run.predictions_path(one.epoch, one.name).stem.replace("predictions", "explain", 1)
        return run.results / f"{stem}.{ending}"

    def _explained(
        self, one: EpochResult, chosen: _Images, number: int, image: np.ndarray, maps: Any,
        found: Arrays,
    ) -> Explained:  # fmt: skip
        predictions, position = one.predictions, int(chosen.positions[number])
        names = short_names(one.classes)
        label, first = int(predictions.labels[position]), int(predictions.top[position, 0])
        neighbours = self._neighbours(found, number, names, chosen.encoded[number])
        return Explained(
            position, int(predictions.keys[position]), names[label],
            float(predictions.true[position]), names[first],
            float(predictions.probabilities[position, 0]), image, list(maps), neighbours,
            list(_findings(neighbours, names[label], names[first])),
        )  # fmt: skip

    def _neighbours(
        self, found: Arrays, number: int, names: Sequence[str], encoded: bytes
    ) -> List[Neighbour]:
        """The nearest training images of an error, the most similar first."""
        if self._train is None:
            return []
        shards, neighbours = self._train.shards, []
        keys = shards.keys
        for place in np.flatnonzero(np.isfinite(found["similarity"][number])).tolist():
            row = {name: values[number, place].item() for name, values in found.items()}
            record, image, is_same = row["record"], None, False
            with contextlib.suppress(InputError, ValueError):
                other = shards.record(record).image
                image = decode(other)
                is_same = looks_same(memoryview(encoded), other)
            neighbours.append(Neighbour(
                image, int(keys[record]), names[row["label"]], names[row["predicted"]],
                row["probability"], row["similarity"], is_same,
            ))  # fmt: skip
        return neighbours

    def write(self, one: EpochResult, explained: Sequence[Explained]) -> Iterator[Tuple[str, Path]]:
        """Write table and contact sheet; yields the fields of `EvaluateFiles` and the paths."""
        path = self._path(one, "csv")
        names = names_by_key(self._train) if self._train is not None else {}
        ids = dict(zip(short_names(one.classes), (wnid for wnid, _ in one.classes)))
        write_csv(path, _COLUMNS, (row for one in explained for row in _rows(one, ids, names)))
        yield "explanations", path
        path = self._path(one, "jpg")
        with atomic_write(path) as file:
            draw_explained(explained, title_of(self._evaluator.run, one)).save(
                file, "JPEG", quality=88
            )
        yield "explanations_sheet", path
        if self._train is not None:
            yield "neighbours", self._path(one, "npz")


def _rows(error: Explained, ids: Dict[str, str], files: Dict[int, str]) -> Iterator[List[Any]]:
    """A row of the table for each nearest training image, or one if there are none."""
    about = [
        error.key, ids[error.true], error.true, f"{error.true_probability:.6f}",
        ids[error.predicted], error.predicted, f"{error.predicted_probability:.6f}",
    ]  # fmt: skip
    for place, other in enumerate(error.neighbours, 1):
        yield [
            *about, place, other.key, files.get(other.key, ""), ids[other.label], other.label,
            ids[other.predicted], other.predicted, f"{other.probability:.6f}",
            f"{other.similarity:.6f}", int(other.is_same),
        ]  # fmt: skip
    if not error.neighbours:
        yield [*about, *[""] * (len(_COLUMNS) - len(about))]


def _findings(neighbours: Sequence[Neighbour], label: str, predicted: str) -> Iterator[str]:
    """Sentences about the labels of the nearest training images."""
    if not neighbours:
        return
    as_predicted = sum(other.label == predicted for other in neighbours)
    as_labelled = sum(other.label == label for other in neighbours)
    yield (
        f"Of the {len(neighbours)} nearest training images, {as_predicted} are labelled "
        f"{predicted} and {as_labelled} {label}."
    )
    for other in neighbours:
        if other.is_same and other.label != label:
            yield f"Training image {other.key} looks the same and is labelled {other.label}."


def summary(explained: Sequence[Explained]) -> str:
    """`24 errors; for 9, most of the nearest training images have the predicted class; ...`."""
    if not explained:
        return "no image is misclassified"
    parts = [f"{len(explained):,} errors"]
    if any(one.neighbours for one in explained):
        like = sum(
            2 * sum(other.label == one.predicted for other in one.neighbours) > len(one.neighbours)
            for one in explained
        )
        same = sum(
            any(other.is_same and other.label != one.true for other in one.neighbours)
            for one in explained
        )
        doubt = sum(any(other.in_doubt for other in one.neighbours) for one in explained)
        parts += [
            f"for {like}, most of the nearest training images have the predicted class",
            f"for {same}, one looks the same and has another label",
            f"for {doubt}, the network contradicts the label of one",
        ]
    return "; ".join(parts)
