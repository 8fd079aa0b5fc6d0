"""A trained network for use elsewhere: python -m imagenet_trainer.export --to onnx,mxnet,int8

ONNX, compared with onnxruntime on real pictures; a MXNet pair without label input; the same in
8-bit integers with the accuracy before and after; and a card that says what they are.
"""

import json
import os
import sys
import tempfile
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Dict, Mapping, Optional, Sequence, Tuple

from imagenet_trainer import config, flags
from imagenet_trainer.errors import InputError, run_command
from imagenet_trainer.library import callable_module

if TYPE_CHECKING:
    import numpy as np

    from imagenet_trainer.checkpoint import Checkpoint, Preprocessing
    from imagenet_trainer.data.sets import PictureSet
    from imagenet_trainer.engines.deploy import Model
    from imagenet_trainer.run import Run

MOST_APART = 1e-4  # two probabilities of one class, by MXNet and by onnxruntime


def export(settings: config.ExportSettings) -> Dict[str, Any]:
    """Write what is asked for; return the card, which is written as PREFIX-0012.json."""
    from imagenet_trainer import onnx_file
    from imagenet_trainer.engines.deploy import without_label
    from imagenet_trainer.files import atomic_write, make_folder
    from imagenet_trainer.run import Run, newest_run
    from imagenet_trainer.scoring import own_parameters, read_network

    if "onnx" in settings.to:
        onnx_file.needed()
    elif settings.preprocessing:
        raise InputError(
            f"--preprocessing 1: only ONNX files prepare pictures; give --to "
            f"{','.join(('onnx', *settings.to))}, or leave it away"
        )
    run = Run(settings.model_prefix) if settings.model_prefix else newest_run()
    symbol, checkpoint = read_network(run, settings.epoch, settings, tell)
    epoch = checkpoint.progress.epoch
    arg, aux = own_parameters(symbol, run, checkpoint)
    # What is not there is told before anything is written.
    if {"onnx", "int8"} & set(settings.to):
        open_pictures(settings.data_val, "data_val", run, checkpoint).shards.close()
    if "int8" in settings.to:
        open_calibration(settings, run, checkpoint).shards.close()
    checkpoint = replace(checkpoint, arg=arg, aux=aux)
    model = (without_label(symbol, str(run.symbol_path)), arg, aux)
    prefix = prefix_of(settings.output, run)
    make_folder(os.path.dirname(prefix) or ".")
    card = describe(run, epoch, checkpoint, settings.bgr)
    if "mxnet" in settings.to:
        card["files"].update(write_pair(model, f"{prefix}-deploy", epoch))
    if "onnx" in settings.to:
        card["onnx"] = to_onnx(settings, run, checkpoint, model, f"{prefix}-{epoch:04d}.onnx")
        card["files"].update(hashed(f"{prefix}-{epoch:04d}.onnx"))
    if "int8" in settings.to:
        small, card["int8"] = to_int8(settings, run, checkpoint, model)
        card["files"].update(write_pair(small, f"{prefix}-int8", epoch))
    with atomic_write(f"{prefix}-{epoch:04d}.json", "w") as file:
        json.dump(card, file, indent=1)
        file.write("\n")
    print(f"{prefix}-{epoch:04d}.json: what they are: classes, preprocessing, scores")
    return card


def prefix_of(output: str, run: "Run") -> str:
    """What all files are called: --output; in a folder that it names, the run's own name."""
    if not output:
        return str(run.folder / "export" / run.name)
    if os.path.isdir(output) or not os.path.basename(output):
        return os.path.join(output, run.name)
    return output


# --- the forms ---------------------------------------------------------------------------------


def write_pair(model: "Model", prefix: str, epoch: int) -> Dict[str, str]:
    """Write PREFIX-symbol.json and PREFIX-0012.params; return their SHA-256 by name."""
    from imagenet_trainer import params
    from imagenet_trainer.files import atomic_write

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
    from imagenet_trainer.files import sha256

    return {os.path.basename(path): sha256(path) for path in paths}


def to_onnx(
    settings: config.ExportSettings,
    run: "Run",
    checkpoint: "Checkpoint",
    model: "Model",
    path: str,
) -> Dict[str, Any]:
    """Write the ONNX file if it answers as MXNet does; return what the card says of it."""
    from imagenet_trainer import onnx_file
    from imagenet_trainer.engines.deploy import Predictor, normalise, write_onnx

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
    pictures = open_pictures(settings.data_val, "data_val", run, checkpoint)
    images = some_pictures(pictures, how, settings.check_pictures)
    _, height, width = how.image_shape
    shape = (len(images), height, width, 3)
    colours = (how.rgb_mean, how.rgb_std, settings.bgr)
    engine = Predictor(model, shape, *colours)
    asked = images if settings.preprocessing else normalise(images, *colours)
    (theirs,) = onnx_file.answers(graph, [asked])
    apart = float(abs(theirs - engine.predict(images)).max())
    if not apart <= MOST_APART:
        raise InputError(
            f"{path}: onnxruntime's probabilities differ from MXNet's by {apart:.2g} on pictures "
            f"of {pictures.path}, more than {MOST_APART:g}; it was not written"
        )
    about = {
        "classes": [list(one) for one in checkpoint.classes],
        "preprocessing": {**vars(how), "bgr": settings.bgr},
    }
    onnx_file.write(graph, path, about)
    print(
        f"{path}: opset {onnx_file.OPSET}, {os.path.getsize(path) / 1e6:.1f} MB; on "
        f"{len(images)} pictures its probabilities differ from MXNet's by at most {apart:.1e}"
    )
    return {
        "opset": onnx_file.OPSET,
        "input": onnx_file.PICTURES if settings.preprocessing else onnx_file.PLANES,
        "output": onnx_file.PROBABILITIES,
        "largest_difference": apart,
        "checked_pictures": len(images),
    }


def to_int8(
    settings: config.ExportSettings, run: "Run", checkpoint: "Checkpoint", model: "Model"
) -> Tuple["Model", Dict[str, Any]]:
    """The network in 8-bit integers, and the scores before and after, which are printed too."""
    from imagenet_trainer.engines.deploy import normalise, quantised

    how = checkpoint.preprocessing
    assert how is not None
    calibration = open_calibration(settings, run, checkpoint)
    images = some_pictures(calibration, how, settings.calibration_pictures)
    planes = normalise(images, how.rgb_mean, how.rgb_std, settings.bgr)
    small = quantised(model, planes, min(settings.batch_size, len(planes)), settings.calibration)
    pictures = open_pictures(settings.data_val, "data_val", run, checkpoint)
    print(
        f"int8: calibrated ({settings.calibration}) on {len(images)} pictures of "
        f"{calibration.path}; scored on {len(pictures)} of {pictures.path}, batch "
        f"{settings.batch_size}"
    )
    print(f"{'':<9}{'rank-1':>9}{'rank-5':>9}{'loss':>9}{'MB':>8}{'images/s':>10}")
    found: Dict[str, Any] = {}
    for name, one in (("float32", model), ("int8", small)):
        found[name] = numbers = scored(settings, checkpoint, one, pictures)
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
    pictures: "PictureSet",
) -> Dict[str, Any]:
    """Rank-1, rank-5, loss, bytes of parameters and speed of a network without label."""
    from imagenet_trainer.engines.deploy import Predictor
    from imagenet_trainer.metrics import Scores, score
    from imagenet_trainer.scoring import answers, loader_threads

    how = checkpoint.preprocessing
    assert how is not None
    _, height, width = how.image_shape
    shape = (min(settings.batch_size, len(pictures)), height, width, 3)
    engine = Predictor(model, shape, how.rgb_mean, how.rgb_std, settings.bgr)
    threads, nice = loader_threads(settings.data_nthreads, False)
    total = Scores()
    for probabilities, labels in answers(engine, pictures, how, threads, nice):
        total += score(probabilities, labels)
    return {
        "rank1": total.rank1_accuracy,
        "rank5": total.rank5_accuracy,
        "loss": total.mean_loss,
        "images": total.images,
        "bytes": sum(value.nbytes for part in model[1:] for value in part.values()),
        "images_per_second": total.images / engine.seconds,
    }


# --- pictures ----------------------------------------------------------------------------------


def open_pictures(value: str, name: str, run: "Run", checkpoint: "Checkpoint") -> "PictureSet":
    """The shards of a flag, or without it those that the run used."""
    from imagenet_trainer.data.sets import check_same_classes, open_set

    used = run.read_json(run.config_path).get("settings", {})
    path = value or used.get(name, f"data/{name[5:]}.rec")
    index = "" if value else used.get(f"{name}_idx", "")
    pictures = open_set(flags.flag_of(name), path, index, len(checkpoint.classes))
    if pictures.has_manifest:
        check_same_classes(pictures, checkpoint.classes, run.prefix)
    return pictures


def open_calibration(
    settings: config.ExportSettings, run: "Run", checkpoint: "Checkpoint"
) -> "PictureSet":
    """The training shard, which the score does not come from; the other where it is not there."""
    if settings.data_train:
        return open_pictures(settings.data_train, "data_train", run, checkpoint)
    try:
        return open_pictures("", "data_train", run, checkpoint)
    except InputError:
        return open_pictures(settings.data_val, "data_val", run, checkpoint)


def some_pictures(pictures: "PictureSet", how: "Preprocessing", count: int) -> "np.ndarray":
    """So many pictures, evenly from the whole set, as evaluation takes them: uint8 (n, h, w, 3)."""
    import numpy as np

    from imagenet_trainer.data.augment import EvalTransform, decode

    transform = EvalTransform(how.image_shape, how.val_resize)
    count = min(count, len(pictures))
    images = np.empty((count, *transform.size, 3), np.uint8)
    for place, number in enumerate(np.linspace(0, len(pictures) - 1, count).astype(int)):
        record = pictures.shards.record(int(number))
        transform.apply(decode(record.picture), None, place, images[place])
    return images


# --- the card ----------------------------------------------------------------------------------


def describe(run: "Run", epoch: int, checkpoint: "Checkpoint", bgr: bool = False) -> Dict[str, Any]:
    """What is known of a checkpoint: network, input, output, classes, scores, training."""
    how = checkpoint.preprocessing
    assert how is not None
    began = run.read_json(run.config_path)
    settings = began.get("settings", {})
    rows = {int(row["epoch"]): row for row in run.read_history()}
    scores = {
        name: float(value)
        for name, value in rows.get(epoch, {}).items()
        if name.startswith("val_") and value
    }
    _, height, width = how.image_shape
    return {
        "network": {
            "name": settings.get("network"),
            "num_layers": settings.get("num_layers"),
            "parameters": sum(value.size for value in checkpoint.arg.values()),
            "epoch": epoch,
        },
        "input": {
            "pictures": f"short side to {short_side(how)} pixels, bilinear; centre "
            f"{width} x {height}; {'BGR' if bgr else 'RGB'}, 0-255",
            "rgb_mean": list(how.rgb_mean),
            "rgb_std": list(how.rgb_std),
            "shape": ["batch", *how.image_shape],
        },
        "output": "probability of each class, in the order of `classes`",
        "scores": scores,
        "training": {
            "settings": settings,
            "data": began.get("data", {}),
            "versions": began.get("versions", {}),
        },
        "files": {},
        "classes": [{"id": name, "name": title} for name, title in checkpoint.classes],
    }


def short_side(how: "Preprocessing") -> int:
    """Pixels to which a picture's short side is resized."""
    from imagenet_trainer.data.augment import EvalTransform

    return EvalTransform(how.image_shape, how.val_resize).short_side


def tell(text: str) -> None:
    """What the user should know beside the files."""
    print(f"export: {text}", file=sys.stderr, flush=True)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """The command line."""
    settings = flags.parse(
        config.ExportSettings, argv, "export", "Write a trained network for use elsewhere."
    )

    def body() -> None:
        export(settings)

    return run_command("export", body)


def call(values: Mapping[str, Any]) -> Dict[str, Any]:
    """From Python: `export(to="onnx")` returns the card."""
    return export(flags.settings_of(config.ExportSettings, values))


callable_module(__name__)
if __name__ == "__main__":
    sys.exit(main())
