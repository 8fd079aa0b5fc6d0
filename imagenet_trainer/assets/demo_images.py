"""Writes the included small images as PNG files, one folder per class.

    python -m imagenet_trainer.assets.demo_images demo/images

writes 3,000 grey images of 28 x 28 pixels to demo/images/train and 1,000 others to
demo/images/val (Xiao, Rasul and Vollgraf 2017, "Fashion-MNIST"): ten classes. With --drawings there
are 841 and 277 drawings of twenty more (Open Clip Art). A complete folder is left unchanged.
"""

import imagenet_trainer.system.interruptible  # noqa: F401

# isort: split
import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Dict, Optional, Sequence

from imagenet_trainer import assets
from imagenet_trainer.config.flags import option, parse
from imagenet_trainer.errors import InputError, run_command

if TYPE_CHECKING:
    import numpy as np

_IMAGES = assets.path("fashion_mnist_small.npz")
_DRAWINGS = assets.path("drawings.webp")  # a row for each class, from left to right
_SIDE = 28  # pixels
_IN_ROW = {
    "arrow": 60, "building": 52, "button": 37, "dessert": 58, "flag": 60, "fruit": 60,
    "hardware": 60, "icon": 60, "instrument": 60, "mammal": 60, "party": 39, "pattern": 60,
    "person": 60, "pictogram": 60, "plant": 60, "playing-card": 60, "road-sign": 41, "sport": 51,
    "tool": 60, "vehicle": 60,
}  # fmt: skip
_VAL_EVERY = 4  # of the drawings


@dataclass(frozen=True)
class DemoSettings:
    """Everything that `demo_images` takes."""

    folder: str = option("", "folder for train/ and val/", positional="one", metavar="FOLDER")
    drawings: bool = option(False, "add drawings, 20 classes, to the 10 classes of Fashion-MNIST")


def write_images(folder: "os.PathLike[str]", drawings: bool = False) -> Dict[str, int]:
    """Write FOLDER/train/CLASS/NNNN.png and FOLDER/val/CLASS/NNNN.png; return their numbers.

    Both folders are written atomically. Raises InputError if one exists with other files, OSError
    if it cannot be written.
    """
    import numpy as np

    counts, drawn = {}, _drawings() if drawings else {}
    with np.load(_IMAGES, allow_pickle=False) as data:
        names = [folder_name(name) for name in data["class_names"]]
        for part in ("train", "val"):
            labels = data[f"{part}_labels"]
            files = [f"{names[label]}/{number:04d}.png" for number, label in enumerate(labels)]
            images = {**dict(zip(files, data[f"{part}_images"])), **drawn.get(part, {})}
            _write_part(Path(folder) / part, images)
            counts[part] = len(images)
    return counts


def _drawings() -> Dict[str, Dict[str, "np.ndarray"]]:
    """The drawings, uint8 (28, 28, 3), by their path, for `train` and `val`."""
    import numpy as np
    from PIL import Image

    with Image.open(_DRAWINGS) as file:
        sheet = np.asarray(file.convert("RGB"))
    found: Dict[str, Dict[str, np.ndarray]] = {"train": {}, "val": {}}
    for row, (name, count) in enumerate(_IN_ROW.items()):
        for column in range(count):
            part = "val" if column % _VAL_EVERY == _VAL_EVERY - 1 else "train"
            top, left = _SIDE * row, _SIDE * column
            tile = sheet[top : top + _SIDE, left : left + _SIDE]
            found[part][f"{name}/{column:04d}.png"] = tile
    return found


def folder_name(class_name: str) -> str:
    """Folder name of a class: `T-shirt/top` is `t-shirt-top`."""
    return re.sub(r"[^a-z0-9]+", "-", class_name.lower()).strip("-")


def _write_part(target: Path, images: Dict[str, "np.ndarray"]) -> None:
    from PIL import Image

    if target.is_file() or (target.is_dir() and any(target.iterdir())):
        existing = {path.relative_to(target).as_posix() for path in target.glob("*/*")}
        if existing != set(images):
            raise InputError(
                f"{target}: exists with files that are not of the demo; remove it or choose "
                "another folder"
            )
        return
    unfinished = target.with_name(f".{target.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)  # left by a killed process
    for name, pixels in images.items():
        path = unfinished / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    os.replace(unfinished, target)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command line; return the exit code."""
    settings = parse(
        DemoSettings, argv, "demo_images", "Write the included small images as PNG files."
    )

    def body() -> None:
        for part, count in write_images(Path(settings.folder), settings.drawings).items():
            print(f"{count:,} images in {os.path.join(settings.folder, part)}")

    return run_command("demo_images", body)


if __name__ == "__main__":
    sys.exit(main())
