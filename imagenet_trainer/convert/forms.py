"""The forms of an export: MXNet pair, ONNX file, 8-bit integers; each checked or scored."""

import os
from typing import Any, Dict, Tuple

from imagenet_trainer import config
from imagenet_trainer.convert import onnx_file
from imagenet_trainer.convert.graph import Model, without_label
from imagenet_trainer.convert.onnx_graph import OPSET, PLANES, PROBABILITIES, to_onnx_model
from imagenet_trainer.convert.samples import open_calibration, open_images, sample_images
from imagenet_trainer.data.dataset import Dataset
from imagenet_trainer.data.loader import loader_threads
from imagenet_trainer.engines import Devices
from imagenet_trainer.engines.choice import TITLES, choose_engine, has_engine, why_not_mxnet
from imagenet_trainer.engines.planes import normalise
from imagenet_trainer.errors import ArgumentError, InputError
from imagenet_trainer.eval.network import engine_for
from imagenet_trainer.eval.validation import predict_batches
from imagenet_trainer.graph import Symbol
from imagenet_trainer.metrics.counts import Scores, has_rank5, score, score_vectors
from imagenet_trainer.runs import params
from imagenet_trainer.runs.checkpoint import Checkpoint
from imagenet_trainer.runs.run import Run
from imagenet_trainer.system.files import sha256, write_file
from imagenet_trainer.system.wheels import how_to_install_mxnet

LARGEST_DIFFERENCE = 1e-4  # of a class's probability between engine and onnxruntime


def write_pair(model: Model, prefix: str, epoch: int) -> Dict[str, str]:
    """Write PREFIX-symbol.json and PREFIX-0012.params; return their SHA-256 by name."""
    symbol, arg, aux = model
    names = f"{prefix}-symbol.json", f"{prefix}-{epoch:04d}.params"
    data = params.dumps(params.join(arg, aux))
    write_file(names[0], symbol.tojson())
    write_file(names[1], data)
    print(f"{names[0]}, {os.path.basename(names[1])}: {len(data) / 1e6:.1f} MB")
    return hashes_of(*names)


def hashes_of(*paths: str) -> Dict[str, str]:
    """The SHA-256 of files by their names."""
    return {os.path.basename(path): sha256(path) for path in paths}


def to_onnx(
    settings: config.ExportSettings, run: Run, checkpoint: Checkpoint, symbol: Symbol, path: str
) -> Dict[str, Any]:
    """Write the ONNX file if its predictions equal the engine's; return its part of the card.

    `symbol` is the network that engines execute. Where none is installed, nothing is compared.
    """
    preprocessing = checkpoint.known_preprocessing
    model = (without_label(symbol, str(run.symbol_path)), checkpoint.arg, checkpoint.aux)
    graph = to_onnx_model(model, preprocessing.image_shape)
    if settings.preprocessing:
        graph = onnx_file.with_preprocessing(
            graph, preprocessing.image_shape, *preprocessing.colours
        )
    dataset = open_images(settings.data_val, "val", run, checkpoint)
    images = sample_images(dataset, preprocessing, settings.check_pictures)
    inputs = images if settings.preprocessing else normalise(images, *preprocessing.colours)
    (probabilities,) = onnx_file.predict(graph, [inputs])
    difference, engine = None, ""
    if has_engine():
        engine = TITLES[choose_engine(Devices()).engine]
        on_cpu = engine_for(symbol, checkpoint, Devices(), len(images))
        on_cpu.set_params(checkpoint.arg, checkpoint.aux)
        difference = float(abs(probabilities - on_cpu.predict(images)).max())
        if not difference <= LARGEST_DIFFERENCE:
            raise InputError(
                f"{path}: onnxruntime's probabilities differ from {engine}'s by {difference:.2g} "
                f"on images of {dataset.path}, more than {LARGEST_DIFFERENCE:g}; it was not written"
            )
    metadata = {
        "classes": [list(one) for one in checkpoint.classes],
        "preprocessing": preprocessing.as_dict(),
    }
    onnx_file.write(graph, path, metadata)
    compared = (
        "not compared with an engine, since none is installed" if difference is None
        else f"on {len(images)} images its probabilities differ from {engine}'s by at most "
        f"{difference:.1e}"
    )  # fmt: skip
    print(f"{path}: opset {OPSET}, {os.path.getsize(path) / 1e6:.1f} MB; {compared}")
    return {
        "opset": OPSET,
        "input": onnx_file.IMAGES if settings.preprocessing else PLANES,
        "output": PROBABILITIES,
        "largest_difference": difference,
        "checked_pictures": len(images) if engine else 0,
    }


def check_int8() -> None:
    """Raise ArgumentError if MXNet, which quantises networks, is not installed."""
    problem = why_not_mxnet(())
    if problem:
        raise ArgumentError("to", "int8", f"{problem}; {how_to_install_mxnet()}, or omit int8")


def to_int8(
    settings: config.ExportSettings, run: Run, checkpoint: Checkpoint, model: Model
) -> Tuple[Model, Dict[str, Any]]:
    """The network in 8-bit integers and its part of the card; prints scores before and after."""
    preprocessing = checkpoint.known_preprocessing
    from imagenet_trainer.engines.mxnet.exported import quantised

    calibration = open_calibration(settings, run, checkpoint)
    images = sample_images(calibration, preprocessing, settings.calibration_pictures)
    planes = normalise(images, *preprocessing.colours)
    int8 = quantised(model, planes, min(settings.batch_size, len(planes)), settings.calibration)
    dataset = open_images(settings.data_val, "val", run, checkpoint)
    print(
        f"int8: calibrated ({settings.calibration}) on {len(images)} images of "
        f"{calibration.path}; scored on {len(dataset)} of {dataset.path}, batch "
        f"{settings.batch_size}"
    )
    shown = has_rank5(len(dataset.classes))
    rank5 = f"{'rank-5':>9}" if shown else ""
    print(f"{'':<9}{'rank-1':>9}{rank5}{'loss':>9}{'MB':>8}{'images/s':>10}")
    about: Dict[str, Any] = {}
    for name, one in (("float32", model), ("int8", int8)):
        about[name] = row = scores_of(settings, checkpoint, one, dataset)
        rank5 = f"{row['rank5']:>9.2%}" if shown else ""
        print(
            f"{name:<9}{row['rank1']:>9.2%}{rank5}{row['loss']:>9.4f}"
            f"{row['bytes'] / 1e6:>8.1f}{row['images_per_second']:>10.0f}",
            flush=True,
        )
    about["calibration"] = {"mode": settings.calibration, "pictures": len(images)}
    return int8, about


def scores_of(
    settings: config.ExportSettings, checkpoint: Checkpoint, model: Model, dataset: Dataset
) -> Dict[str, Any]:
    """Rank-1, rank-5, loss, bytes of parameters and speed of a network without label."""
    preprocessing = checkpoint.known_preprocessing
    from imagenet_trainer.engines.mxnet.exported import ExportedNetwork

    _, height, width = preprocessing.image_shape
    shape = (min(settings.batch_size, len(dataset)), height, width, 3)
    engine = ExportedNetwork(model, shape, *preprocessing.colours)
    threads = loader_threads(settings.data_nthreads, False)
    total, count = Scores(), score_vectors if dataset.shards.label_vectors else score
    for probabilities, labels in predict_batches(engine, dataset, preprocessing, threads):
        total += count(probabilities, labels)
    return {
        "rank1": total.rank1_accuracy,
        "rank5": total.rank5_accuracy,
        "loss": total.mean_loss,
        "images": total.images,
        "bytes": sum(value.nbytes for part in model[1:] for value in part.values()),
        "images_per_second": total.images / engine.seconds,
    }
