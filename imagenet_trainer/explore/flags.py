"""The flags of `tools/explore.py` and of the sheet of augmented images."""

import os
from dataclasses import dataclass
from typing import Optional, Tuple

from imagenet_trainer.config import AugmentSettings, MixSettings
from imagenet_trainer.config.data import CacheSettings
from imagenet_trainer.config.flags import option
from imagenet_trainer.config.values import image_shape, integer
from imagenet_trainer.errors import InputError


@dataclass(frozen=True)
class ExploreSettings(CacheSettings):
    """Every flag of `tools/explore.py`."""

    source: str = option(
        "", "a folder or tar of images, a list x.lst, or shards x.rec or their URLs (a pattern in "
        "quotes, or several with commas)", positional="one",
    )  # fmt: skip
    root: str = option("", "folder or tar that contains the images of a list", metavar="PATH")
    label_index: Optional[int] = option(
        None, "which label of a record or line is its class, from 0, where there are several",
        integer(0),
    )  # fmt: skip
    output: str = option("explored", "folder for the page, the table and the plots", metavar="DIR")
    sample: int = option(4000, "number of images to decode for the mean colour; 0: all", integer(0))
    seed: int = option(0, "seed of that sample", integer(0, 2**63 - 1))
    threads: int = option(
        0, "number of reading and decoding threads; 0: one per processor", integer(0, 256)
    )


@dataclass(frozen=True)
class SheetSettings(MixSettings, AugmentSettings):
    """Every flag of the sheet: the augmentation flags of fit, and which images to draw."""

    source: str = option("", "a folder of images, a list x.lst, or shards x.rec", positional="one")
    root: str = option("", "folder that contains the images of a list", metavar="FOLDER")
    show: bool = option(False, "draw the contact sheet")
    output: str = option("augmented.png", "file of the contact sheet", metavar="PNG")
    pictures: int = option(
        6, "number of rows; each shows an image, chosen evenly from the whole set", integer(1, 100)
    )
    epochs: int = option(8, "number of columns; each shows an epoch, from 0 on", integer(1, 100))
    image_shape: Tuple[int, ...] = option(
        (3, 224, 224), "input of the network: channels,height,width in pixels", image_shape
    )
    val_resize: int = option(0, "short side for the first column, as in fit", integer(0))
    seed: int = option(0, "seed of the augmentation, as in fit", integer(0, 2**63 - 1))


def check_root(source: str, root: str) -> None:
    """Raise InputError unless --root is given exactly for a list."""
    if source.endswith(".lst") and not root:
        raise InputError(f"{source}: a list needs --root, the folder or tar of its images")
    if root and not source.endswith(".lst"):
        raise InputError(f"--root {root}: is for lists, and {source} is not a list; omit it")


def check_output(source: str, output: str) -> None:
    """Raise InputError for an output in a folder of images, where it would be images too."""
    folder, target = (os.path.join(os.path.realpath(path), "") for path in (source, output))
    if os.path.isdir(folder) and target.startswith(folder):
        raise InputError(
            f"--output {output}: is in {source}, the folder of the images; choose another folder"
        )
