"""What the layer before the classifier computes for each image, for TensorBoard's projector.

The network gets a second output, so every engine computes it, and no engine knows of it.
"""

from pathlib import Path
from typing import Iterator, Tuple

import numpy as np

from imagenet_trainer.config import PreparationSettings
from imagenet_trainer.data.dataset import Classes
from imagenet_trainer.engines import Devices
from imagenet_trainer.engines.symbol import of_network
from imagenet_trainer.errors import ArgumentError, InputError
from imagenet_trainer.eval.inference import ViewBatches
from imagenet_trainer.eval.network import Log, engine_for, read_network
from imagenet_trainer.metrics.predictions import Predictions
from imagenet_trainer.metrics.semantic import short_names
from imagenet_trainer.metrics.taxonomy import taxonomy_of
from imagenet_trainer.runs.run import Run
from imagenet_trainer.symbols.classifier import with_features
from imagenet_trainer.system.arrays import write_arrays
from imagenet_trainer.system.files import atomic_write, make_folder, write_file
from imagenet_trainer.text import printable

MOST_PROJECTED = 10_000
"""Images in the projector's files; TensorBoard shows no more."""


def compute_features(
    run: Run, epoch: int, devices: Devices, batches: ViewBatches, log: Log,
    wanted: PreparationSettings,
) -> np.ndarray:  # fmt: skip
    """The features of all images of a dataset, float32 (n, d), nan for images that were skipped.

    `wanted` are the settings of preprocessing. Raises InputError for several views of an image,
    or a network without a classifier that can be found.
    """
    if batches.transform.views.positions > 1 or batches.transform.views.mirrored:
        raise InputError("--features: needs one view of each image; omit --crops and --flip")
    symbol, checkpoint = read_network(run, epoch, wanted, log)
    try:
        symbol = with_features(symbol)
    except ArgumentError as error:
        raise InputError(f"--features: {run.symbol_path}: {error}") from error
    how = checkpoint.known_preprocessing
    engine = engine_for(symbol, checkpoint, devices, batches.batch)
    engine.set_params(*of_network(symbol, how.image_shape, checkpoint.arg, checkpoint.aux))
    features = np.empty((0, 0), np.float32)
    for positions, images, _ in batches:
        if not len(positions):
            continue
        found = engine.predict(images)
        if not features.size:
            features = np.full((len(batches.dataset), found.shape[1]), np.nan, np.float32)
        features[positions] = found
    return features


def write_features(
    folder: Path, stem: str, features: np.ndarray, predictions: Predictions, classes: Classes
) -> Tuple[Path, Path]:
    """Write STEM.npz and the folder STEM-projector; return both paths.

    `features` are those of the images of the predictions, float32 (n, d).
    """
    path = folder / f"{stem}.npz"
    predicted = predictions.top[:, 0]
    write_arrays(path, {
        "keys": predictions.keys, "labels": predictions.labels, "predicted": predicted,
        "features": features, "key": np.array(predictions.key),
    })  # fmt: skip
    into = make_folder(folder / f"{stem}-projector")
    count = len(features)
    chosen = np.unique(np.linspace(0, count - 1, min(count, MOST_PROJECTED)).round().astype(int))
    with atomic_write(into / "features.tsv", "w") as file:
        np.savetxt(file, features[chosen], "%.5g", "\t")
    with atomic_write(into / "metadata.tsv", "w") as file:
        for row in _metadata(predictions, classes, chosen):
            file.write("\t".join(printable(cell).replace("\t", " ") for cell in row) + "\n")
    config = 'embeddings {\n  tensor_path: "features.tsv"\n  metadata_path: "metadata.tsv"\n}\n'
    write_file(into / "projector_config.pbtxt", config)
    return path, into


def _metadata(
    predictions: Predictions, classes: Classes, chosen: np.ndarray
) -> Iterator[Tuple[str, ...]]:
    """The head and a row for each chosen image."""
    names, taxonomy = short_names(classes), taxonomy_of([one for one, _ in classes])
    head: Tuple[str, ...] = ("class", "predicted", "correct", "key")
    yield (*head, "group") if taxonomy else head
    for image in chosen.tolist():
        label, first = int(predictions.labels[image]), int(predictions.top[image, 0])
        row = names[label], names[first], str(label == first), str(predictions.keys[image])
        yield (*row, taxonomy.group_names[label]) if taxonomy else row
