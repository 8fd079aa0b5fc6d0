"""The shipped Fashion-MNIST images as folders of PNG files, a folder a class.

    python -m imagenet_trainer.assets.demo_images demo/images

writes 3,000 grey images of 28 x 28 pixels below demo/images/train and 1,000 others below
demo/images/val (Xiao, Rasul and Vollgraf 2017, "Fashion-MNIST"). Images that are there already
are left alone.
"""

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

_SHIPPED = assets.path("fashion_mnist_small.npz")


@dataclass(frozen=True)
class DemoSettings:
    """Everything that `demo_images` takes."""

    folder: str = option("", "where train/ and val/ are written", positional="one")


def write_images(folder: "os.PathLike[str]") -> Dict[str, int]:
    """Write FOLDER/train/CLASS/NNNN.png and FOLDER/val/CLASS/NNNN.png; return how many of each.

    Each of the two appears whole or not at all. Raises InputError when one is there that holds
    anything else, OSError when it cannot be written.
    """
    import numpy as np

    written = {}
    with np.load(_SHIPPED, allow_pickle=False) as shipped:
        names = [folder_name(name) for name in shipped["class_names"]]
        for part in ("train", "val"):
            labels = shipped[f"{part}_labels"]
            files = [f"{names[label]}/{place:04d}.png" for place, label in enumerate(labels)]
            images = dict(zip(files, shipped[f"{part}_images"]))
            _write_part(Path(folder) / part, images)
            written[part] = len(images)
    return written


def folder_name(class_name: str) -> str:
    """A class's name as that of a folder: `T-shirt/top` is `t-shirt-top`."""
    return re.sub(r"[^a-z0-9]+", "-", class_name.lower()).strip("-")


def _write_part(target: Path, images: Dict[str, "np.ndarray"]) -> None:
    from PIL import Image

    if target.exists():
        found = {path.relative_to(target).as_posix() for path in target.glob("*/*")}
        if found != set(images):
            raise InputError(
                f"{target}: is there already and holds other files than the demo's; "
                "remove it or choose another folder"
            )
        return
    unfinished = target.with_name(f".{target.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)  # of a run that was killed
    for name, pixels in images.items():
        path = unfinished / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    os.replace(unfinished, target)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """The command line; returns the exit code."""
    settings = parse(
        DemoSettings,
        argv,
        "demo_images",
        "Write the shipped Fashion-MNIST images as PNG files.",
    )

    def body() -> None:
        for part, count in write_images(Path(settings.folder)).items():
            print(f"{count:,} images in {os.path.join(settings.folder, part)}")

    return run_command("demo_images", body)


if __name__ == "__main__":
    sys.exit(main())
