"""Ways to load the same photographs: this package's loader, bare decoding, other libraries."""

import importlib.util
import os
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Tuple

import cv2
import numpy as np

from imagenet_trainer.benchmarks.photographs import make_photographs, write_pack
from imagenet_trainer.config import AugmentSettings
from imagenet_trainer.data.augment import EvalTransform, TrainTransform
from imagenet_trainer.data.images import jpeg_window
from imagenet_trainer.data.loader import (
    ONE_THREAD,
    Batches,
    Threads,
    evaluation_batches,
    training_batches,
)
from imagenet_trainer.data.order import Order, updates_before
from imagenet_trainer.data.records.shards import Shards
from imagenet_trainer.packing.conversion import Conversion

BATCH, SIDE = 64, 224
AREA, ASPECT = (0.08, 1.0), (3 / 4, 4 / 3)  # of random resized crops
SIZES = ("", "_256")
"""Endings of names: photographs of 500 x 375 pixels, and resized to 256 as by im2rec.py."""
LARGE = "_1000"
"""The same of photographs of 1000 x 750 pixels, of which there are fewer."""
_FEWER = 5


class Way(NamedTuple):
    """How this package's loader reads a pack."""

    pack: str
    window: bool  # whether only the part of an image that its crop needs is decoded
    evaluation: bool = False  # the centre crop of evaluation instead of a random resized crop
    half: bool = False  # --decode-scale


WAYS = {
    "whole": Way("plain", False),
    "region_plain": Way("plain", True),
    "region_restart": Way("restart", True),
    "evaluation_whole": Way("plain", False, True),
    "evaluation_region_plain": Way("plain", True, True),
    "evaluation_region_restart": Way("restart", True, True),
}
LARGE_WAYS = {
    "whole": Way("plain", False),
    "region_plain": Way("plain", True),
    "region_restart": Way("restart", True),
    "decode_scale_plain": Way("plain", True, half=True),
    "decode_scale_restart": Way("restart", True, half=True),
}


# --- packs ---------------------------------------------------------------------------------------


def write_packs(folder: str, count: int) -> None:
    """Write `count` photographs, without and with restart markers, at full size and at 256.

    They become plain.rec, restart.rec, plain_256.rec and restart_256.rec, with indexes, and a fifth
    of the number, larger, plain_1000.rec and restart_1000.rec.
    """
    for name, restart in (("plain", "off"), ("restart", "auto")):
        images = os.path.join(folder, name)
        files = make_photographs(images, count, restart=restart)
        resized = Conversion(resize=256, restart=restart)
        write_pack(os.path.join(folder, name), files, Conversion(pass_through=True))
        write_pack(os.path.join(folder, f"{name}_256"), files, resized)
        fewer = max(BATCH, count // _FEWER)
        files = make_photographs(f"{images}{LARGE}", fewer, 1000, 750, restart=restart)
        write_pack(os.path.join(folder, f"{name}{LARGE}"), files, Conversion(pass_through=True))


def open_checked(rec: str) -> Shards:
    """A shard whose records are compared with checksums, as those with a manifest are."""
    shards = Shards([rec])
    (file,) = shards.files
    file.expect(np.array([zlib.crc32(file.raw(n)) for n in range(len(file))], np.uint32), "")
    return shards


# --- this package --------------------------------------------------------------------------------


class Buffers:
    """Memory for the batches of loaders that follow each other.

    A run has one loader. Parts of an epoch have one each, for which the system would have to clear
    new memory, a twentieth of their time.
    """

    def __init__(self) -> None:
        self._arrays: List[np.ndarray] = []
        self._used = 0

    def threads(self, count: int) -> Threads:
        """Threads of a loader with this memory; the loader before must be closed."""
        self._used = 0
        return Threads(count, memory=self._next)

    def _next(self, shape: Tuple[int, ...]) -> np.ndarray:
        if self._used == len(self._arrays):
            self._arrays.append(np.empty(shape, np.uint8))
        array = self._arrays[self._used]
        self._used += 1
        return array if array.shape == shape else np.empty(shape, np.uint8)


def batches(
    shards: Shards, threads: Threads, updates: range, side: int = SIDE, half: bool = False
) -> Batches:
    """Training batches with fit's default augmentation."""
    order = Order(0, len(shards), BATCH)
    transform = TrainTransform(AugmentSettings(decode_scale=half), (3, side, side), seed=0)
    return training_batches(shards, order, transform, 1000, updates, threads=threads)


def load(shards: Shards, threads: int, epoch: int) -> int:
    """Make the batches of an epoch; return the number of images."""
    first, last = (updates_before(e, len(shards), BATCH) for e in (epoch, epoch + 1))
    return images_in(batches(shards, Threads(threads), range(first, last)))


def images_in(loader: Batches) -> int:
    """Read a loader to its end; return the number of images."""
    with loader:
        return sum(len(batch.labels) for batch in loader)


def open_way(
    way: Way, shards: Shards, epoch: int, part: int, parts: int, threads: Threads = ONE_THREAD
) -> Batches:
    """A part of an epoch; this process decodes in that way from now on."""
    jpeg_window.enabled = way.window
    if way.evaluation:
        first, last = (len(shards) * n // parts for n in (part, part + 1))
        transform = EvalTransform((3, SIDE, SIDE))
        return evaluation_batches(shards, transform, 1000, BATCH, threads, range(first, last))
    begin, end = (updates_before(e, len(shards), BATCH) for e in (epoch, epoch + 1))
    first, last = (begin + (end - begin) * n // parts for n in (part, part + 1))
    return batches(shards, threads, range(first, last), half=way.half)


def ways(of: Dict[str, Way] = WAYS) -> Dict[str, Way]:
    """Those of the ways that this installation has."""
    return {name: way for name, way in of.items() if jpeg_window.LIBRARY or not way.window}


# --- others --------------------------------------------------------------------------------------


def imdecode(images: List[np.ndarray]) -> int:
    """Decode all images by OpenCV, and nothing else; return their number."""
    for image in images:
        cv2.imdecode(image, cv2.IMREAD_COLOR)
    return len(images)


def image_record_iter(rec: str) -> Callable[[], int]:
    """A function that reads the next epoch with MXNet, in one thread: its number of images."""
    from imagenet_trainer.engines.mxnet.reference import image_record_reader

    return image_record_reader(rec, SIDE, BATCH, threads=1)


def dali_pipeline(rec: str, threads: int, seed: int, how: Dict[str, Any]) -> Any:
    """NVIDIA DALI on the CPU, which reads a shard; `how` are further arguments of a pipeline."""
    from nvidia.dali import fn, pipeline_def, types

    @pipeline_def(batch_size=BATCH, num_threads=threads, device_id=None, seed=seed)
    def pipeline() -> Any:
        encoded, labels = fn.readers.mxnet(
            path=[rec], index_path=[f"{os.path.splitext(rec)[0]}.idx"], random_shuffle=True,
            name="reader",
        )  # fmt: skip
        images = fn.decoders.image_random_crop(
            encoded, device="cpu", random_area=list(AREA), random_aspect_ratio=list(ASPECT)
        )
        images = fn.resize(
            images, size=[SIDE, SIDE], interp_type=types.INTERP_LINEAR, antialias=False
        )
        return fn.flip(images, horizontal=fn.random.coin_flip()), labels

    pipe = pipeline(**how)
    pipe.build()
    return pipe


def dali(rec: str) -> Callable[[], int]:
    """The same with NVIDIA DALI on the CPU."""
    pipe = dali_pipeline(rec, 1, 0, {})

    def read() -> int:
        runs = pipe.epoch_size("reader") // BATCH
        for _ in range(runs):
            pipe.run()
        return runs * BATCH

    return read


def random_crops() -> Any:
    """Torchvision's random resized crops with mirrors, uint8."""
    from torchvision import transforms

    return transforms.Compose(
        [transforms.RandomResizedCrop(SIDE, AREA, ASPECT), transforms.RandomHorizontalFlip(),
         transforms.PILToTensor()]
    )  # fmt: skip


def torchvision(rec: str) -> Callable[[], int]:
    """The same with PyTorch's DataLoader, a process of torchvision and Pillow."""
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder

    folder = Path(f"{os.path.splitext(rec)[0]}-files", "class")
    folder.mkdir(parents=True, exist_ok=True)
    with Shards([rec]) as shards:
        for number in range(len(shards)):
            (folder / f"{number:05d}.jpg").write_bytes(shards.record(number).image)
    files = ImageFolder(str(folder.parent), random_crops())
    loader: Any = DataLoader(files, BATCH, shuffle=True, num_workers=1)
    return lambda: sum(len(labels) for _, labels in loader)


OTHERS: Dict[str, Callable[[str], Callable[[], int]]] = {
    "image_record_iter": image_record_iter,
    "dali": dali,
    "torchvision": torchvision,
}
LIBRARIES = {
    "image_record_iter": ("mxnet", "imagenet_trainer.engines.mxnet.reference"),
    "dali": ("nvidia", "nvidia.dali"),
    "torchvision": ("torch", "torchvision.datasets"),
}
"""Of each, the package, and what `OTHERS` imports."""


def import_problem(*modules: str) -> str:
    """Why a new process cannot import these modules; "" if it can."""
    code = "; ".join(f"import {module}" for module in modules)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return ""
    return (done.stderr.strip().splitlines() or ["it ends the process"])[-1]


def installed_others() -> List[str]:
    """Names of those libraries that are installed here."""
    return [
        name
        for name, (package, module) in LIBRARIES.items()
        if all(importlib.util.find_spec(one) for one in (package, module.rpartition(".")[0]))
    ]
