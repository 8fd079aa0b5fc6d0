"""Name what pictures show: python -m imagenet_trainer.predict cat.jpg dog.jpg"""

import sys
from typing import Any, List, Mapping, Optional, Sequence, Tuple

from imagenet_trainer import config, flags
from imagenet_trainer.errors import InputError, run_command
from imagenet_trainer.library import callable_module

BATCH = 16  # pictures at a time


def predict(settings: config.PredictSettings) -> List[List[Tuple[str, str, float]]]:
    """The most probable classes of each picture: (id, name, probability), best first.

    Raises InputError naming the first file that is not a picture.
    """
    import numpy as np

    from imagenet_trainer.data.augment import EvalTransform
    from imagenet_trainer.engines import Devices
    from imagenet_trainer.metrics import top_classes
    from imagenet_trainer.run import Run, newest_run
    from imagenet_trainer.scoring import open_network

    pictures = [read_picture(path) for path in settings.pictures]
    run = Run(settings.model_prefix) if settings.model_prefix else newest_run()
    devices = len(settings.gpus) or settings.cpus
    batch = -(-min(BATCH, len(pictures)) // devices) * devices  # what they can share evenly
    where = Devices(settings.gpus, settings.cpus)
    engine, _, checkpoint = open_network(run, settings.epoch, where, batch)
    assert checkpoint.preprocessing is not None
    shape = checkpoint.preprocessing.image_shape
    transform = EvalTransform(shape, checkpoint.preprocessing.val_resize)
    found: List[List[Tuple[str, str, float]]] = []
    for first in range(0, len(pictures), batch):
        part = pictures[first : first + batch]
        images = np.empty((len(part), shape[1], shape[2], 3), np.uint8)
        for place, picture in enumerate(part):
            transform.apply(picture, None, place, images[place])
        probabilities = engine.predict(images)
        for row, best in zip(probabilities, top_classes(probabilities, settings.top_k)):
            found.append([(*checkpoint.classes[label], float(row[label])) for label in best])
    return found


def read_picture(path: str) -> "np.ndarray":  # type: ignore[name-defined]  # noqa: F821
    """Decode a picture file; InputError when it cannot be read or is none."""
    from imagenet_trainer.data.augment import decode
    from imagenet_trainer.files import refusal

    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise refusal(path, error) from error
    try:
        return decode(data)
    except ValueError as error:
        raise InputError(f"{path}: {error}; name JPEG, PNG or other picture files") from error


def show(settings: config.PredictSettings) -> None:
    """Print a paragraph for each picture."""
    for path, classes in zip(settings.pictures, predict(settings)):
        print(path)
        for name, words, probability in classes:
            # Folder names of no known meaning stand for themselves, once.
            title = name if words == name else f"{name} {words}"
            print(f"  {title}  {probability:.2f}")


def main(argv: Optional[Sequence[str]] = None) -> int:
    """The command line."""
    settings = flags.parse(
        config.PredictSettings, argv, "predict", "Print the most probable classes of pictures."
    )
    return run_command("predict", lambda: show(settings))


def call(values: Mapping[str, Any]) -> List[List[Tuple[str, str, float]]]:
    """From Python: `predict(pictures=["cat.jpg"])` returns (id, name, probability) of each."""
    return predict(flags.settings_of(config.PredictSettings, values))


callable_module(__name__)
if __name__ == "__main__":
    sys.exit(main())
