"""Results of a comparison, written by hand."""

import numpy as np

from imagenet_trainer.comparison.analysis import BatchSpeed, ClassErrors, Epoch, Result, Timing


def timing(median, device="CPU"):
    speeds = (
        BatchSpeed(1, 1000 / median),
        BatchSpeed(2, 3000 / median),
        BatchSpeed(4, 2000 / median),
    )
    turns = [median + 0.001 * median * n for n in range(-4, 5)]
    whole = [one + 1 for one in turns]
    return Timing(device, speeds, tuple(turns), 2 * median, tuple(whole), 2 * median + 1)


def epochs_of(train, val, seconds=1.0):
    return tuple(
        Epoch(number, a, 0.5, b, 0.5, seconds)
        for number, (a, b) in enumerate(zip(train, val), start=1)
    )


def result(name, hits=8, images=10, median=1.0, parameters=1000, loss=0.5, train_images=60, **more):
    values = {
        "series": name, "flags": "", "image_shape": (3, 16, 16), "train_images": train_images,
        "epochs": epochs_of([3, 2], [3, 2]), "best_epoch": 2, "rank1": hits / images,
        "rank1_interval": (hits / images - 0.1, min(1.0, hits / images + 0.1)), "rank5": 1.0,
        "loss": loss, "parameters": parameters, "multiply_adds": 2_000_000, "file_bytes": 4000,
        "timings": (timing(median),),
        "classes": (ClassErrors("cat", images, images - hits, 0), ClassErrors("dog", 0, 0, 2)),
        "correct": np.arange(images) < hits, "wall_seconds": 9.0, "peak_bytes": 250_000_000, **more,
    }  # fmt: skip
    return Result(name=name, **values)
