"""Loaders of other libraries, as their documentation shows them, on the same photographs.

Each gives batches of random resized crops with mirrors, uint8, from seeds that its user can set.
All read the same JPEG files: as shards, class folders or tars, as each library wants them.
"""

import json
import os
import random
import tarfile
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Tuple

import numpy as np

from imagenet_trainer.benchmarks.loading import (
    AREA,
    ASPECT,
    BATCH,
    SIDE,
    dali_pipeline,
    random_crops,
)
from imagenet_trainer.benchmarks.photographs import make_photographs, write_pack
from imagenet_trainer.data import Loader
from imagenet_trainer.packing.conversion import Conversion

SEED, CLASSES, TARS = 1, 10, 4
_SHUFFLED = 1000  # images that webdataset shuffles together
Batches = Iterator[Tuple[np.ndarray, np.ndarray]]


class Opened(NamedTuple):
    """A loader that runs: its batches, and what it saves to continue from the next one."""

    batches: Batches
    save: Callable[[], bytes]  # b"": it saves nothing, so a resume repeats the epoch


class Contestant(NamedTuple):
    """A library's loader. `open` takes folder, threads, and what it saved, or b"" to begin."""

    title: str
    modules: Tuple[str, ...]  # that it imports
    open: Callable[[str, int, bytes], Opened]


def write_inputs(folder: str, count: int) -> None:
    """Write the photographs in the form of every library."""
    images = os.path.join(folder, "images")
    files = make_photographs(images, count)
    write_pack(os.path.join(folder, "train"), files, Conversion(pass_through=True))
    for number, path in enumerate(files):
        target = Path(folder, "folders", str(number % CLASSES))
        target.mkdir(parents=True, exist_ok=True)
        os.link(path, target / f"{number:05d}.jpg")
    for part in range(TARS):
        with tarfile.open(os.path.join(folder, f"train-{part}.tar"), "w") as tar:
            for number in range(part, count, TARS):
                label = Path(folder, f"{number:05d}.cls")
                label.write_text(str(number % CLASSES))
                tar.add(files[number], f"{number:05d}.jpg")
                tar.add(label, label.name)
                label.unlink()


def _nothing() -> bytes:
    return b""


def _ours(folder: str, threads: int, saved: bytes) -> Opened:
    path = os.path.join(folder, "train.rec")
    loader = Loader(path, BATCH, seed=SEED, threads=threads, num_classes=1000)
    if saved:
        loader.load_state_dict(json.loads(saved))
    return Opened(iter(loader), lambda: json.dumps(loader.state_dict()).encode())


def _arrays(loader: Any) -> Batches:
    for images, labels in loader:
        yield images.numpy(), np.asarray(labels)


def _torchvision(folder: str, threads: int, saved: bytes) -> Opened:
    import torch
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder

    dataset = ImageFolder(os.path.join(folder, "folders"), random_crops())
    generator = torch.Generator().manual_seed(SEED)
    loader: Any = DataLoader(
        dataset, BATCH, shuffle=True, num_workers=threads, drop_last=True, generator=generator
    )
    return Opened(_arrays(loader), _nothing)


def _webdataset(folder: str, threads: int, saved: bytes) -> Opened:
    import torch
    import webdataset

    torch.manual_seed(SEED)
    urls = [os.path.join(folder, f"train-{part}.tar") for part in range(TARS)]
    dataset = (
        webdataset.WebDataset(urls, shardshuffle=TARS, detshuffle=True, seed=SEED)
        .shuffle(_SHUFFLED, seed=SEED)
        .decode("pil")
        .to_tuple("jpg", "cls")
        .map_tuple(random_crops(), int)
        .batched(BATCH, partial=False)
    )
    loader = webdataset.WebLoader(dataset, batch_size=None, num_workers=min(threads, TARS))
    return Opened(_arrays(loader), _nothing)


def _dali(folder: str, threads: int, saved: bytes) -> Opened:
    how = {"enable_checkpointing": True, **({"checkpoint": saved} if saved else {})}
    pipe = dali_pipeline(os.path.join(folder, "train.rec"), threads, SEED, how)

    def batches() -> Batches:
        for _ in range(pipe.epoch_size("reader") // BATCH):
            images, labels = pipe.run()
            yield images.as_array(), labels.as_array()

    return Opened(batches(), pipe.checkpoint)


def _spdl(folder: str, threads: int, saved: bytes) -> Opened:
    import spdl.io
    from spdl.pipeline import PipelineBuilder

    # The crops are drawn in the source, one thread, so that they do not depend on the others.
    draw = random.Random(SEED)
    files = sorted(Path(folder, "folders").glob("*/*.jpg"))
    draw.shuffle(files)
    crops = [(path, _filter(draw)) for path in files]
    done = int(saved or b"0")

    def decode(item: Tuple[Path, str]) -> Any:
        path, description = item
        return spdl.io.load_image(str(path), filter_desc=description), int(path.parent.name)

    def together(items: List[Tuple[Any, int]]) -> Tuple[np.ndarray, np.ndarray]:
        images = np.stack([spdl.io.to_numpy(buffer) for buffer, _ in items])
        return images, np.array([label for _, label in items])

    pipe = (
        PipelineBuilder()
        .add_source(crops[done * BATCH :])
        .pipe(decode, concurrency=threads, output_order="input")
        .aggregate(BATCH, drop_last=True)
        .pipe(together)
        .add_sink(4)
        .build(num_threads=threads)
    )
    given = [done]

    def batches() -> Batches:
        with pipe.auto_stop():
            for batch in pipe:
                given[0] += 1
                yield batch

    return Opened(batches(), lambda: str(given[0]).encode())


def _filter(draw: random.Random) -> str:
    """A random resized crop and mirror in FFmpeg's words; the aspect of the images is 4/3."""
    while True:
        area = draw.uniform(*AREA)
        aspect = draw.uniform(*ASPECT) / (4 / 3)
        width, height = (area * aspect) ** 0.5, (area / aspect) ** 0.5
        if width <= 1 and height <= 1:
            break
    x, y = draw.random(), draw.random()
    mirror = ",hflip" if draw.random() < 0.5 else ""
    return (
        f"crop=iw*{width:.4f}:ih*{height:.4f}:(iw-ow)*{x:.4f}:(ih-oh)*{y:.4f},"
        f"scale={SIDE}:{SIDE}:flags=bilinear{mirror},format=pix_fmts=rgb24"
    )


OURS = "imagenet_trainer"
CONTESTANTS: Dict[str, Contestant] = {
    OURS: Contestant("imagenet_trainer.data.Loader", (OURS,), _ours),
    "torchvision": Contestant(
        "torchvision ImageFolder, DataLoader", ("torchvision", "torchvision.datasets"), _torchvision
    ),
    "webdataset": Contestant(
        "webdataset, torchvision", ("webdataset", "torchvision.transforms"),
        _webdataset,
    ),
    "dali": Contestant("DALI on the CPU", ("nvidia.dali", "nvidia.dali.fn"), _dali),
    "spdl": Contestant("SPDL", ("spdl", "spdl.io", "spdl.pipeline"), _spdl),
}  # fmt: skip
# Why a library is never measured.
LEFT_OUT = {
    "ffcv": "its last release, 1.0.2 of 2023, has no wheel and must be compiled against OpenCV and "
    "libturbojpeg, so it was not tried"
}
