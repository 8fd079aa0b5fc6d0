"""The flags of `tools/im2rec.py`, named as in MXNet's tool where it has them."""

import glob
import os
from dataclasses import dataclass
from typing import Optional, Tuple

from imagenet_trainer.config.flags import option
from imagenet_trainer.config.values import extensions, integer, number
from imagenet_trainer.errors import InputError, attributed_to
from imagenet_trainer.system.files import check_folder

_INTERPOLATIONS = ("nearest", "linear", "cubic", "area", "lanczos")  # by MXNet's number
_SMALLEST_SHARD = 1 << 20


def _share_or_count(text: str) -> str:
    if text.endswith("%"):
        number(0, 100)(text[:-1])
    else:
        integer(0)(text)
    return text


def _interpolation(text: str) -> str:
    if text in _INTERPOLATIONS:
        return text
    if text not in map(str, range(len(_INTERPOLATIONS))):
        raise ValueError(f"must be one of {' '.join(_INTERPOLATIONS)}, or a number from 0 to 4")
    return _INTERPOLATIONS[int(text)]


def _bytes(text: str) -> int:
    unit = text[-1:].upper()
    power = "KMGT".find(unit) + 1 if unit else 0
    value = int(number(0, 2**40)(text[:-1] if power else text) * 1024**power)
    if 0 < value < _SMALLEST_SHARD:
        raise ValueError("must be 1M or more, such as 512M or 1G, or 0 for one shard")
    return value


@dataclass(frozen=True)
class ListSettings:
    """Flags that make lists."""

    list: bool = option(False, "write the list PREFIX.lst of the images in ROOT; do not pack")
    recursive: bool = option(
        False, "each folder below ROOT is a class; labels follow the sorted folder names"
    )
    by_name: bool = option(
        False, "the class of an image is its name without the number, as in cat.0.jpg, dog_12.jpg "
        "and 1-cat.jpg; writes and packs PREFIX, whose name is train, and beside it val",
    )  # fmt: skip
    val_ratio: float = option(
        0.2, "share of the images of each class for val, with --by-name; chosen by --seed",
        number(0, 0.9, above=True),
    )  # fmt: skip
    flat: bool = option(False, "give all images directly in ROOT the label 0")
    exts: str = option(".jpeg,.jpg,.png", "file extensions of images", extensions, metavar="EXT")
    chunks: int = option(
        1, "split the list into N parts PREFIX_0, PREFIX_1 ...; give the same number when packing",
        integer(1),
    )  # fmt: skip
    train_ratio: float = option(
        1.0, "below 1: share of the images for PREFIX_train.lst; the rest goes to PREFIX_val.lst",
        number(0, 1, above=True),
    )  # fmt: skip
    test_ratio: float = option(0.0, "share of the images for PREFIX_test.lst", number(0, 1))
    no_shuffle: bool = option(False, "keep the sorted order")
    seed: int = option(100, "seed of the shuffle; 100 gives the order of MXNet's tool", integer(0))


@dataclass(frozen=True)
class PackSettings:
    """Flags that pack."""

    resize: int = option(
        0, "resize the short side of each image to N pixels; 0: do not resize", integer(0)
    )
    interp: str = option(
        "linear", "interpolation of --resize: nearest, linear, cubic, area, lanczos, or MXNet's "
        "numbers 0 to 4", _interpolation, metavar="NAME",
    )  # fmt: skip
    fast_decode: bool = option(
        False, "decode large JPEGs at 1/2, 1/4 or 1/8 of their size before --resize; faster, with "
        "slightly different pixels",
    )  # fmt: skip
    center_crop: bool = option(False, "crop the centre square before resizing")
    pass_through: bool = option(
        False, "pack the files unchanged, after checking that they can be decoded"
    )
    quality: int = option(
        95, "JPEG quality from 1 to 100, or PNG compression from 1 to 9", integer(1, 100)
    )
    restart: str = option(
        "auto", "auto: JPEGs with restart markers, so that training decodes only the part of an "
        "image that its crop needs; the same pixels, 1 to 2 %% more bytes; off: without markers, "
        "the bytes of MXNet's tool; lossless: with --pass-through, JPEG files are written again "
        "with markers, from the same coefficients", choices=("auto", "off", "lossless"),
    )  # fmt: skip
    encoding: str = option(".jpg", "encoding of the packed images", choices=(".jpg", ".png"))
    color: int = option(
        1, "1: colour; 0: grey; -1: unchanged, with transparency", choices=(-1, 0, 1)
    )
    pack_label: bool = option(False, "pack all labels of a line instead of the first")
    label_index: Optional[int] = option(
        None, "pack this label of a line, from 0, where lines have several; default: the first",
        integer(0),
    )  # fmt: skip
    num_thread: int = option(
        0, "number of threads; 0: one per processor. The packed bytes do not depend on it",
        integer(0, 256),
    )  # fmt: skip
    shards: int = option(
        0, "pack into N shards PREFIX-00000-of-00008.rec and so on, with equal numbers of images; "
        "0: one file PREFIX.rec", integer(0, 99_999),
    )  # fmt: skip
    shard_size: int = option(
        0, "pack into shards of at most this many bytes, such as 512M or 1G; 0: no limit", _bytes,
        metavar="SIZE",
    )  # fmt: skip
    dry_run: bool = option(
        False, "convert every image and report what would be packed and rejected, but write "
        "nothing; with --list, report what would be listed",
    )  # fmt: skip
    max_pixels: int = option(
        178_956_970, "reject images with more pixels than this according to their header, before "
        "decoding them", integer(1, 1 << 30),
    )  # fmt: skip
    max_rejected: str = option(
        "0.1%", "stop when more images than this are rejected: a number, or a share of the list",
        _share_or_count,
    )  # fmt: skip
    classes_from: str = option(
        "", "classes that the labels count, matched by the names of the folders: imagenet; a file "
        "with a class per line or a JSON file of names; the manifest of a pack; the PREFIX of a "
        "run; default: the train.json next to PREFIX, if it exists, whose labels the list must "
        "have; none: the list's own", metavar="NAME",
    )  # fmt: skip


@dataclass(frozen=True)
class CheckSettings:
    """Flags that need no ROOT."""

    verify: bool = option(
        False, "check that PREFIX and any further packs are intact: read every record and compare "
        "it with the manifest",
    )  # fmt: skip
    repair: bool = option(
        False, "verify, and rebuild damaged shards from the images in ROOT; default: the images "
        "that were packed",
    )  # fmt: skip
    rebuild_index: bool = option(False, "write the .idx of the shard PREFIX again")
    unpack: bool = option(
        False, "write the images of the pack PREFIX into the folder ROOT, in a folder for each "
        "class, with the names in PREFIX.lst; images that are there already are kept",
    )  # fmt: skip
    to: str = option(
        "folders", "format of --unpack: folders, WebDataset tars, or parquet files of Hugging "
        "Face's datasets", choices=("folders", "webdataset", "parquet"),
    )  # fmt: skip
    drop: str = option(
        "", "write the pack PREFIX as the pack ROOT without the images that this reviewed list "
        "calls wrong or ambiguous", metavar="CSV",
    )  # fmt: skip
    relabel: str = option(
        "", "write the pack PREFIX as the pack ROOT with the proposed class of the images that "
        "this reviewed list calls wrong; with --drop these stay", metavar="CSV",
    )  # fmt: skip
    duplicates: bool = option(
        False, "report images that are packed more than once in PREFIX and any further packs; "
        "write them to --output",
    )  # fmt: skip
    output: str = option(
        "", "file for the groups of --duplicates; default: PREFIX.duplicates.json", metavar="JSON"
    )
    near_duplicates: Optional[int] = option(
        None, "like --duplicates, and report similar images too: difference hashes that differ in "
        "at most N of 64 bits, for example 2", integer(0, 16),
    )  # fmt: skip


@dataclass(frozen=True)
class PackCheckSettings(CheckSettings):
    """The command line with one of the flags of CheckSettings."""

    paths: Tuple[str, ...] = option((), "PREFIX", positional="many", metavar="PREFIX")
    num_thread: int = option(0, "number of threads; 0: one per processor", integer(0, 256))
    label_index: Optional[int] = option(
        None, "--unpack: which label of a record is its class, from 0, where records have several",
        integer(0),
    )  # fmt: skip


@dataclass(frozen=True)
class Im2recSettings(CheckSettings, PackSettings, ListSettings):
    """Every flag of `tools/im2rec.py`."""

    prefix: str = option(
        "", "path without extension, such as data/train for data/train.lst and data/train.rec",
        positional="one",
    )  # fmt: skip
    root: str = option(
        "",
        "folder or tar that contains the images; or WebDataset tars, parquet files of datasets, "
        "TFRecord files or idx files of MNIST: their folder, one of them, or a pattern in quotes",
        positional="one",
    )


def check_root(root: str) -> None:
    """Raise InputError unless ROOT is a folder, a file, or several files (commas, a pattern)."""
    if not os.path.exists(root):
        if root and all(glob.glob(one.strip()) for one in root.split(",")):
            return
        raise InputError(f"root {root}: no such folder or tar; give the one with the images")
    if not os.path.isfile(root):
        with attributed_to("root", " "):
            check_folder(root)


def check_prefix(prefix: str) -> None:
    """Raise InputError unless PREFIX is a path without extension, and not a folder."""
    stem, extension = os.path.splitext(prefix)
    if extension in (".lst", ".rec", ".idx", ".json"):
        raise InputError(f"prefix {prefix}: has the extension {extension}; give {stem}")
    if os.path.isdir(prefix) or not os.path.basename(prefix):
        raise InputError(
            f"prefix {prefix}: is a folder; add the name of the list, such as data/train"
        )
