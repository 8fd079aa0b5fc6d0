"""The card of an export: network, input, output, scores, training, classes."""

from typing import Any, Dict

from imagenet_trainer.data.augment import EvalTransform
from imagenet_trainer.runs.checkpoint import Checkpoint
from imagenet_trainer.runs.run import Run


def describe(run: Run, epoch: int, checkpoint: Checkpoint) -> Dict[str, Any]:
    """The card of a checkpoint; `files` is empty."""
    preprocessing = checkpoint.known_preprocessing
    config = run.read_json(run.config_path)
    settings = config.get("settings", {})
    rows = {int(row["epoch"]): row for row in run.read_history()}
    scores = {
        name: float(value)
        for name, value in rows.get(epoch, {}).items()
        if name.startswith("val_") and value
    }
    _, height, width = preprocessing.image_shape
    short_side = EvalTransform(preprocessing.image_shape, preprocessing.val_resize).short_side
    return {
        "network": {
            "name": settings.get("network"),
            "num_layers": settings.get("num_layers"),
            "parameters": sum(value.size for value in checkpoint.arg.values()),
            "epoch": epoch,
        },
        "input": {
            "pictures": f"short side to {short_side} pixels, {preprocessing.val_interp}; centre "
            f"{width} x {height}; {'BGR' if preprocessing.bgr else 'RGB'}, 0-255",
            "val_interp": preprocessing.val_interp,
            "rgb_mean": list(preprocessing.rgb_mean),
            "rgb_std": list(preprocessing.rgb_std),
            "shape": ["batch", *preprocessing.image_shape],
        },
        "output": "probability of each class, in the order of `classes`",
        "temperature": checkpoint.temperature,
        "scores": scores,
        "training": {
            "settings": settings,
            "data": config.get("data", {}),
            "versions": config.get("versions", {}),
        },
        "files": {},
        "classes": [{"id": name, "name": title} for name, title in checkpoint.classes],
    }
