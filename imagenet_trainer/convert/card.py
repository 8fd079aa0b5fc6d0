"""Carved out of imagenet_trainer/export.py."""

from typing import TYPE_CHECKING, Any, Dict

if TYPE_CHECKING:
    from imagenet_trainer.runs.checkpoint import Checkpoint, Preprocessing
    from imagenet_trainer.runs.run import Run


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
    """Pixels to which an image's short side is resized."""
    from imagenet_trainer.data.augment import EvalTransform

    return EvalTransform(how.image_shape, how.val_resize).short_side
