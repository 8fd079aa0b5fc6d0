"""Score trained networks: python -m imagenet_trainer.evaluate --epochs all --gif

Rank-1, rank-5 and loss of the validation pictures, each counted once; the top-5 confusion matrix
as counts, as a picture for each epoch, and as a GIF over the epochs.
"""

import sys
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional, Sequence, Tuple

from imagenet_trainer import config, flags
from imagenet_trainer.errors import InputError, run_command
from imagenet_trainer.library import callable_module

if TYPE_CHECKING:
    import numpy as np

    from imagenet_trainer.data.sets import PictureSet
    from imagenet_trainer.engines import Engine
    from imagenet_trainer.metrics import Scores
    from imagenet_trainer.run import Checkpoint, Run

TOP = 5  # predicted classes that a picture adds to the confusion matrix


def evaluate(settings: config.EvaluateSettings) -> Dict[int, Dict[str, Any]]:
    """Score the epochs asked for; return the numbers of each, as written to evaluation.json.

    An epoch that was scored before, with the same parameters and pictures, is not scored again.
    """
    from imagenet_trainer.engines import Devices
    from imagenet_trainer.run import Run, newest_run
    from imagenet_trainer.scoring import load_trained, open_network, set_checkpoint

    run = Run(settings.model_prefix) if settings.model_prefix else newest_run()
    epochs = chosen_epochs(run, settings.epochs)
    engine, symbol, checkpoint = open_network(
        run, epochs[0], Devices(settings.gpus, settings.cpus), settings.batch_size
    )
    pictures = open_pictures(settings, run, checkpoint)
    held = epochs[0]  # whose parameters the engine has
    results: Dict[int, Dict[str, Any]] = {}
    matrices: List[Tuple[int, Any, float]] = []
    for epoch in epochs:
        if epoch != epochs[0]:
            checkpoint = load_trained(run, epoch)
        key = identity(run, epoch, checkpoint, pictures)
        numbers, matrix = known(run, epoch, key)
        if numbers is None:
            if held != epoch:
                set_checkpoint(engine, symbol, run, checkpoint)
                held = epoch
            scores, matrix = score_epoch(engine, pictures, checkpoint, settings)
            numbers = numbers_of(scores)
            keep(run, epoch, key, numbers, matrix)
        results[epoch] = numbers
        matrices.append((epoch, matrix, numbers["rank1"]))
        print(line(epoch, numbers), flush=True)
    if settings.gif:
        from imagenet_trainer.confusion import draw_gif

        draw_gif(run.gif_path, matrices)
        print(f"drawn: {run.gif_path}")
    return results


def chosen_epochs(run: "Run", asked: Optional[Tuple[int, ...]]) -> Tuple[int, ...]:
    """The epochs to score: all of `asked`, every one of ours for (), the newest for None."""
    from imagenet_trainer.keeping import best_epoch

    found = run.epochs()
    if not found:
        raise InputError(
            f"{run.prefix}: no finished epoch in {run.folder}; train it first with "
            "python -m imagenet_trainer.fit, or name a run with --model-prefix"
        )
    if asked == (flags.BEST,):
        asked = (best_epoch(run),)
    for epoch in asked or ():
        if epoch not in found:
            run.load(epoch)  # says that it is not there, and which are
    if asked == ():
        # A run continued from another program's checkpoint has that one too.
        asked = tuple(epoch for epoch in found if run.state_path(epoch).exists())
    return asked or tuple(found[-1:])


def open_pictures(
    settings: config.EvaluateSettings, run: "Run", checkpoint: "Checkpoint"
) -> "PictureSet":
    """The validation pictures of the run, or others with the same classes."""
    from imagenet_trainer.data.sets import check_same_classes, open_set

    trained_with = run.read_json(run.config_path).get("settings", {})
    value = settings.data_val or trained_with.get("data_val", "data/val.rec")
    index = settings.data_val_idx
    if not settings.data_val:
        index = index or trained_with.get("data_val_idx", "")
    pictures = open_set("--data-val", value, index, len(checkpoint.classes))
    if pictures.has_manifest:
        check_same_classes(pictures, checkpoint.classes, run.prefix)
    return pictures


def score_epoch(
    engine: "Engine",
    pictures: "PictureSet",
    checkpoint: "Checkpoint",
    settings: config.EvaluateSettings,
) -> Tuple["Scores", "np.ndarray"]:
    """Counts, and the confusion matrix int64 (classes, classes), of one epoch."""
    import numpy as np

    from imagenet_trainer.metrics import Scores, score, top_classes, top_k_confusion
    from imagenet_trainer.scoring import answers, loader_threads

    assert checkpoint.preprocessing is not None
    classes = len(checkpoint.classes)
    scores, matrix = Scores(), np.zeros((classes, classes), np.int64)
    threads, nice = loader_threads(settings.data_nthreads, bool(settings.gpus))
    for probabilities, labels in progress(
        answers(engine, pictures, checkpoint.preprocessing, threads, nice),
        f"epoch {checkpoint.progress.epoch}",
        len(pictures),
    ):
        scores += score(probabilities, labels)
        matrix += top_k_confusion(labels, top_classes(probabilities, TOP), classes)
    return scores, matrix


def progress(batches: Any, title: str, images: int) -> Any:
    """The same batches, with a bar over the images on a terminal."""
    if not sys.stderr.isatty():
        yield from batches
        return
    from tqdm import tqdm

    with tqdm(total=images, desc=title, unit="image", leave=False) as bar:
        for probabilities, labels in batches:
            yield probabilities, labels
            bar.update(len(labels))


# --- numbers, and where they are kept ----------------------------------------------------------


def numbers_of(scores: "Scores") -> Dict[str, Any]:
    """The numbers of an epoch as evaluation.json holds them."""
    return {
        "images": scores.images,
        "rank1": scores.rank1_accuracy,
        "rank5": scores.rank5_accuracy,
        "loss": scores.mean_loss,
        "rank1_count": scores.rank1,
        "rank5_count": scores.rank5,
    }


def line(epoch: int, numbers: Dict[str, Any]) -> str:
    """What is printed of an epoch."""
    rank1, rank5 = 100 * numbers["rank1"], 100 * numbers["rank5"]
    return (
        f"epoch {epoch}: rank-1 {rank1:.2f} %  rank-5 {rank5:.2f} %  loss {numbers['loss']:.4f}"
        f"  ({numbers['images']} pictures)"
    )


def identity(run: "Run", epoch: int, checkpoint: "Checkpoint", pictures: "PictureSet") -> str:
    """Changes when the parameters, the preprocessing or the pictures do."""
    import hashlib

    from imagenet_trainer.files import sha256

    parts = (sha256(run.params_path(epoch)), repr(checkpoint.preprocessing), pictures.fingerprint)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def known(run: "Run", epoch: int, key: str) -> Tuple[Optional[Dict[str, Any]], Any]:
    """Numbers and matrix of an earlier evaluation of the same; (None, None) if there is none."""
    from imagenet_trainer.run import read_arrays

    record = run.read_json(run.evaluation_path).get("epochs", {}).get(str(epoch), {})
    path = run.confusion_path(epoch, ".npz")
    picture = run.confusion_path(epoch, ".png")
    if record.get("key") != key or not path.exists() or not picture.exists():
        return None, None
    try:
        counts = read_arrays(path)
    except ValueError:
        return None, None  # damaged: scored again, written anew
    return (record, counts["matrix"]) if str(counts.get("key")) == key else (None, None)


def keep(run: "Run", epoch: int, key: str, numbers: Dict[str, Any], matrix: "np.ndarray") -> None:
    """Write the counts, the picture and the numbers of an epoch."""
    import numpy as np

    from imagenet_trainer.confusion import draw, write_png
    from imagenet_trainer.files import atomic_write

    with atomic_write(run.confusion_path(epoch, ".npz")) as file:
        np.savez_compressed(file, matrix=matrix, key=np.array(key))
    write_png(run.confusion_path(epoch, ".png"), draw(matrix))
    numbers["key"] = key
    record = run.read_json(run.evaluation_path)
    record.setdefault("epochs", {})[str(epoch)] = numbers
    record["epochs"] = dict(sorted(record["epochs"].items(), key=lambda item: int(item[0])))
    run.write_json(run.evaluation_path, record)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """The command line."""
    settings = flags.parse(
        config.EvaluateSettings, argv, "evaluate", "Score trained networks on validation pictures."
    )

    def body() -> None:
        evaluate(settings)

    return run_command("evaluate", body)


def call(values: Mapping[str, Any]) -> Any:
    """From Python: `evaluate(epochs="all")` returns the numbers of each epoch by its number."""
    return evaluate(flags.settings_of(config.EvaluateSettings, values))


callable_module(__name__)
if __name__ == "__main__":
    sys.exit(main())
