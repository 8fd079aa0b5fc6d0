"""Carved out of imagenet_trainer/export.py."""

import os
import tempfile
from typing import TYPE_CHECKING, Any, Dict, Tuple

from imagenet_trainer import config
from imagenet_trainer.config import flags
from imagenet_trainer.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from imagenet_trainer.convert.graph import Model
    from imagenet_trainer.data.dataset import Dataset
    from imagenet_trainer.runs.checkpoint import Checkpoint, Preprocessing
    from imagenet_trainer.runs.run import Run


MOST_APART = 1e-4  # two probabilities of one class, by MXNet and by onnxruntime


def write_pair(model: "Model", prefix: str, epoch: int) -> Dict[str, str]:
    """Write PREFIX-symbol.json and PREFIX-0012.params; return their SHA-256 by name."""
    from imagenet_trainer.runs import params
    from imagenet_trainer.system.files import atomic_write

    symbol, arg, aux = model
    names = f"{prefix}-symbol.json", f"{prefix}-{epoch:04d}.params"
    data = params.dumps(params.join(arg, aux))
    with atomic_write(names[0], "w") as file:
        file.write(symbol.tojson())
    with atomic_write(names[1]) as file:
        file.write(data)
    print(f"{names[0]}, {os.path.basename(names[1])}: {len(data) / 1e6:.1f} MB")
    return hashed(*names)


def hashed(*paths: str) -> Dict[str, str]:
    """The SHA-256 of files by their names."""
    from imagenet_trainer.system.files import sha256

    return {os.path.basename(path): sha256(path) for path in paths}


def to_onnx(
    settings: config.ExportSettings,
    run: "Run",
    checkpoint: "Checkpoint",
    model: "Model",
    path: str,
) -> Dict[str, Any]:
    """Write the ONNX file if it answers as MXNet does; return what the card says of it."""
    from imagenet_trainer.convert import onnx_file
    from imagenet_trainer.convert.graph import Predictor, normalise, write_onnx

    how = checkpoint.preprocessing
    assert how is not None
    with tempfile.TemporaryDirectory() as folder:
        rough = os.path.join(folder, "rough.onnx")
        write_onnx(model, how.image_shape, rough)
        graph = onnx_file.tidied(rough)
    if settings.preprocessing:
        graph = onnx_file.with_preprocessing(
            graph, how.image_shape, how.rgb_mean, how.rgb_std, settings.bgr
        )
    dataset = open_images(settings.data_val, "data_val", run, checkpoint)
    images = some_images(dataset, how, settings.check_pictures)
    _, height, width = how.image_shape
    shape = (len(images), height, width, 3)
    colours = (how.rgb_mean, how.rgb_std, settings.bgr)
    engine = Predictor(model, shape, *colours)
    asked = images if settings.preprocessing else normalise(images, *colours)
    (theirs,) = onnx_file.answers(graph, [asked])
    apart = float(abs(theirs - engine.predict(images)).max())
    if not apart <= MOST_APART:
        raise InputError(
            f"{path}: onnxruntime's probabilities differ from MXNet's by {apart:.2g} on images "
            f"of {dataset.path}, more than {MOST_APART:g}; it was not written"
        )
    about = {
        "classes": [list(one) for one in checkpoint.classes],
        "preprocessing": {**vars(how), "bgr": settings.bgr},
    }
    onnx_file.write(graph, path, about)
    print(
        f"{path}: opset {onnx_file.OPSET}, {os.path.getsize(path) / 1e6:.1f} MB; on "
        f"{len(images)} images its probabilities differ from MXNet's by at most {apart:.1e}"
    )
    return {
        "opset": onnx_file.OPSET,
        "input": onnx_file.IMAGES if settings.preprocessing else onnx_file.PLANES,
        "output": onnx_file.PROBABILITIES,
        "largest_difference": apart,
        "checked_pictures": len(images),
    }


def to_int8(
    settings: config.ExportSettings, run: "Run", checkpoint: "Checkpoint", model: "Model"
) -> Tuple["Model", Dict[str, Any]]:
    """The network in 8-bit integers, and the scores before and after, which are printed too."""
    from imagenet_trainer.convert.graph import normalise, quantised

    how = checkpoint.preprocessing
    assert how is not None
    calibration = open_calibration(settings, run, checkpoint)
    images = some_images(calibration, how, settings.calibration_pictures)
    planes = normalise(images, how.rgb_mean, how.rgb_std, settings.bgr)
    small = quantised(model, planes, min(settings.batch_size, len(planes)), settings.calibration)
    dataset = open_images(settings.data_val, "data_val", run, checkpoint)
    print(
        f"int8: calibrated ({settings.calibration}) on {len(images)} images of "
        f"{calibration.path}; scored on {len(dataset)} of {dataset.path}, batch "
        f"{settings.batch_size}"
    )
    print(f"{'':<9}{'rank-1':>9}{'rank-5':>9}{'loss':>9}{'MB':>8}{'images/s':>10}")
    found: Dict[str, Any] = {}
    for name, one in (("float32", model), ("int8", small)):
        found[name] = numbers = scored(settings, checkpoint, one, dataset)
        print(
            f"{name:<9}{numbers['rank1']:>9.2%}{numbers['rank5']:>9.2%}{numbers['loss']:>9.4f}"
            f"{numbers['bytes'] / 1e6:>8.1f}{numbers['images_per_second']:>10.0f}",
            flush=True,
        )
    found["calibration"] = {"mode": settings.calibration, "pictures": len(images)}
    return small, found


def scored(
    settings: config.ExportSettings,
    checkpoint: "Checkpoint",
    model: "Model",
    dataset: "Dataset",
) -> Dict[str, Any]:
    """Rank-1, rank-5, loss, bytes of parameters and speed of a network without label."""
    from imagenet_trainer.convert.graph import Predictor
    from imagenet_trainer.data.loader import loader_threads
    from imagenet_trainer.eval.validation import predict_batches
    from imagenet_trainer.metrics.counts import Scores, score

    how = checkpoint.preprocessing
    assert how is not None
    _, height, width = how.image_shape
    shape = (min(settings.batch_size, len(dataset)), height, width, 3)
    engine = Predictor(model, shape, how.rgb_mean, how.rgb_std, settings.bgr)
    threads = loader_threads(settings.data_nthreads, False)
    total = Scores()
    for probabilities, labels in predict_batches(engine, dataset, how, threads):
        total += score(probabilities, labels)
    return {
        "rank1": total.rank1_accuracy,
        "rank5": total.rank5_accuracy,
        "loss": total.mean_loss,
        "images": total.images,
        "bytes": sum(value.nbytes for part in model[1:] for value in part.values()),
        "images_per_second": total.images / engine.seconds,
    }


def open_images(value: str, name: str, run: "Run", checkpoint: "Checkpoint") -> "Dataset":
    """The shards of a flag, or without it those that the run used."""
    from imagenet_trainer.data.dataset import open_matching_dataset
    from imagenet_trainer.errors import attributed_to

    used = run.read_json(run.config_path).get("settings", {})
    path = value or used.get(name, f"data/{name[5:]}.rec")
    index = "" if value else used.get(f"{name}_idx", "")
    with attributed_to(flags.flag_of(name), " "):
        return open_matching_dataset(path, index, checkpoint.classes, run.prefix)


def open_calibration(
    settings: config.ExportSettings, run: "Run", checkpoint: "Checkpoint"
) -> "Dataset":
    """The training shard, which the score does not come from; the other where it is not there."""
    if settings.data_train:
        return open_images(settings.data_train, "data_train", run, checkpoint)
    try:
        return open_images("", "data_train", run, checkpoint)
    except InputError:
        return open_images(settings.data_val, "data_val", run, checkpoint)


def some_images(dataset: "Dataset", how: "Preprocessing", count: int) -> "np.ndarray":
    """So many images, evenly from the whole set, as evaluation takes them: uint8 (n, h, w, 3)."""
    import numpy as np

    from imagenet_trainer.data.augment import EvalTransform, decode

    transform = EvalTransform(how.image_shape, how.val_resize)
    count = min(count, len(dataset))
    images = np.empty((count, *transform.size, 3), np.uint8)
    for place, number in enumerate(np.linspace(0, len(dataset) - 1, count).astype(int)):
        record = dataset.shards.record(int(number))
        transform.apply(decode(record.image), None, place, images[place])
    return images
