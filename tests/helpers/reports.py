"""Reports with random predictions."""

import cv2
import numpy as np

from imagenet_trainer.metrics import evaluation
from imagenet_trainer.metrics.predictions import Collector
from imagenet_trainer.viz.report import Report
from imagenet_trainer.viz.thumbnails import data_uri
from imagenet_trainer.viz.why import Explained, Neighbour

IMAGE = data_uri(memoryview(cv2.imencode(".png", np.zeros((40, 60, 3)))[1].tobytes()))


EVIL = '<script>alert("class")</script> & more'


HISTORY = [
    {
        "epoch": str(epoch), "train_loss": "1.5", "train_rank1": "0.4", "train_rank5": "0.8",
        "val_loss": "1.25", "val_rank1": str(epoch / 10), "val_rank5": "", "learning_rate": "0.1",
        "images_per_second": "9", "seconds": "1", "wait_share": "0",
    }
    for epoch in (1, 2)
]  # fmt: skip


def predictions_of(classes, per_class=6, seed=0, skill=2.0):
    """Random predictions with some structure; keys are not in the order of the images."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), per_class)
    logits = rng.normal(size=(len(labels), classes))
    logits[np.arange(len(labels)), labels] += skill
    odds = np.exp(2 * logits)
    collector = Collector(1000 - np.arange(len(labels)), classes)
    collector.add(
        np.arange(len(labels)), (odds / odds.sum(1, keepdims=True)).astype(np.float32), labels
    )
    return collector.complete("key")


def report_of(classes, predictions=None, per_class=6, **more):
    predictions = predictions or predictions_of(len(classes), per_class)
    values = {
        "title": "a run, epoch 2", "facts": [("network", "resnet 18")], "classes": classes,
        "predictions": predictions, "history": HISTORY,
        "numbers": evaluation.as_json(evaluation.estimates(predictions), predictions),
        "thumbnails": lambda places: dict.fromkeys(places, IMAGE),
        **more,
    }  # fmt: skip
    return Report(**values)


def own_classes(count):
    return [(f"c{n}", f"class {n}, also {n}") for n in range(count)]


def explained_of(count=3, name=EVIL):
    """Errors with two heat-maps and five neighbours, one of which cannot be decoded."""
    rng = np.random.default_rng(0)

    def image():
        return rng.integers(0, 256, (24, 24, 3), np.uint8)

    return [
        Explained(
            position, 1000 - position, "class 1", 0.02, name, 0.9, image(),
            rng.random((2, 3, 3)).astype(np.float32),
            [Neighbour(image() if near else None, near, name, "class 1", 0.8, 0.9, near == 1)
             for near in range(5)],
            [f"Training image 1 looks the same and is labelled {name}."],
        )
        for position in range(count)
    ]  # fmt: skip
