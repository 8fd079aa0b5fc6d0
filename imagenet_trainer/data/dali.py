"""Decoding and transforming encoded batches on a GPU, by NVIDIA DALI.

DALI makes no random choices: the batch has the images, in order, and the steps for each. nvJPEG
decodes JPEGs; images that it cannot decode as OpenCV does are in the batch as bitmaps.
"""

import time
from dataclasses import replace
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional

import numpy as np

from imagenet_trainer.data.encoded import Encoded, as_bitmap
from imagenet_trainer.data.loader import Batch
from imagenet_trainer.data.records.shards import Shards
from imagenet_trainer.data.ring import PACK_AGAIN
from imagenet_trainer.data.transforms import Size
from imagenet_trainer.errors import InputError

Log = Callable[[str], object]


class DaliError(InputError):
    """DALI cannot decode on this machine."""


class DecodedBatches:
    """Iterates over the batches of a loader of encoded images, and decodes them.

    While one batch is used, the next one is decoded. `Batch.images` is uint8
    (n, height, width, 3) RGB: an array, or on a GPU an object for DLPack; `Batch.wait` is the time
    for which the consumer waited. A batch is valid until the next one is requested.

    Parameters
    ----------
    batches
        of `training_batches(..., encoded=True)`.
    shards
        where their images come from, for errors that name one.
    gpu
        the number of the GPU that decodes; None: the CPU decodes, for tests and comparisons.
    threads
        number of DALI's threads, which prepare images for the GPU.
    log
        receives a line when DALI cannot decode an image and OpenCV decodes its batch.

    Raises
    ------
    RecordError
        from `next`: an error of the loader, or an image that OpenCV cannot decode either.
    DaliError
        from `next`: DALI cannot decode on this machine.

    """

    def __init__(
        self,
        batches: Iterator[Batch],
        shards: Shards,
        gpu: Optional[int],
        threads: int = 1,
        log: Log = lambda line: None,
    ):
        self._batches, self._shards, self._log = batches, shards, log
        self._gpu, self._threads = gpu, threads
        self._pipeline: Optional[_Pipeline] = None
        self._begun: Optional[Batch] = None

    def __iter__(self) -> "DecodedBatches":
        return self

    def __next__(self) -> Batch:
        start = time.perf_counter()
        batch = self._begun or self._begin()
        images = self._finish(batch)
        try:
            self._begun = self._begin()
        except StopIteration:
            self._begun = None
        return replace(batch, images=images, wait=time.perf_counter() - start)

    def _begin(self) -> Batch:
        """Take a batch from the loader and begin to decode it."""
        batch = next(self._batches)
        batch = replace(batch, labels=batch.labels.copy())  # the loader reuses its buffer
        self._send(batch.images)
        return batch

    def _send(self, encoded: Encoded) -> None:
        kind = _kind_of(encoded)
        try:
            if self._pipeline is None or self._pipeline.kind != kind:
                self._pipeline = _Pipeline(kind, self._gpu, self._threads)
            self._pipeline.send(encoded)
        except RuntimeError as error:
            raise DaliError(f"DALI: {_reason(error)}") from error

    def _finish(self, batch: Batch) -> Any:
        """The pixels of the batch that was sent last."""
        assert self._pipeline is not None
        try:
            return self._pipeline.take()
        except RuntimeError as error:
            self._pipeline = None  # it is unusable after an error
            bitmaps = [self._bitmap(batch, i) for i in range(len(batch.labels))]
            self._log(f"update {batch.update}: decoded by OpenCV, DALI failed: {_reason(error)}")
            self._send(replace(batch.images, images=bitmaps))
            assert self._pipeline is not None
            try:
                return self._pipeline.take()
            except RuntimeError as again:
                raise DaliError(f"DALI: {_reason(again)}") from again

    def _bitmap(self, batch: Batch, i: int) -> np.ndarray:
        """Image i of the batch, decoded by OpenCV, as a bitmap."""
        try:
            return as_bitmap(batch.images.images[i])[0]
        except ValueError as error:
            index = int(batch.indices[i])
            raise self._shards.error(index, f"{error}; {PACK_AGAIN}") from error


class _Kind(NamedTuple):
    """What a pipeline is built for; the same for all batches of a loader."""

    images: int
    size: Size
    fill: int
    warps: bool
    colours: bool
    mixes: bool


def _kind_of(encoded: Encoded) -> _Kind:
    first = encoded.steps[0]
    return _Kind(
        len(encoded.steps), encoded.size, first.fill, first.warp is not None,
        first.colours is not None, encoded.shares is not None,
    )  # fmt: skip


class _Pipeline:
    """DALI's operators for the steps of an image, in order."""

    def __init__(self, kind: _Kind, gpu: Optional[int], threads: int):
        from nvidia.dali import Pipeline

        self.kind, self._on_gpu = kind, gpu is not None
        # One batch is decoded while another one is used.
        self._pipeline = Pipeline(kind.images, threads, gpu, prefetch_queue_depth=1)
        with self._pipeline:
            self._pipeline.set_outputs(self._images())
        self._pipeline.build()

    def _images(self) -> Any:
        from nvidia.dali import fn, types

        kind = self.kind

        def source(name: str, dtype: Any, dimensions: int) -> Any:
            return fn.external_source(name=name, dtype=dtype, ndim=dimensions)

        def cut(images: Any, name: str) -> Any:
            start, shape = (
                source(f"{name}_start", types.INT32, 1),
                source(f"{name}_shape", types.INT32, 1),
            )
            return fn.slice(
                images, start, shape, axes=(0, 1), out_of_bounds_policy="pad",
                fill_values=[float(kind.fill)],
            )  # fmt: skip

        images = fn.decoders.image(
            source("pictures", types.UINT8, 1), device="mixed" if self._on_gpu else "cpu",
            output_type=types.RGB, adjust_orientation=False,
            # Chroma is upsampled as in libjpeg.
            jpeg_fancy_upsampling=True,
            # Otherwise DALI pins its threads, those of several processes to the same processors.
            affine=False,
        )  # fmt: skip
        # Where areas are averaged, the first resize does everything, elsewhere the second one.
        images = fn.resize(
            cut(images, "cut"), size=source("averaged", types.FLOAT, 1), antialias=True,
            min_filter=types.INTERP_GAUSSIAN,
        )  # fmt: skip
        images = fn.resize(images, size=source("size", types.FLOAT, 1), antialias=False)
        if kind.warps:
            images = fn.warp_affine(
                images, matrix=source("warp", types.FLOAT, 2), size=kind.size,
                fill_value=float(kind.fill), interp_type=types.INTERP_LINEAR,
            )  # fmt: skip
        else:
            images = cut(images, "window")
        images = fn.flip(images, horizontal=source("mirror", types.INT32, 0))
        if kind.colours:
            images = fn.coord_transform(
                images, MT=source("colours", types.FLOAT, 2), dtype=types.UINT8
            )
        if kind.mixes:
            share = source("share", types.FLOAT, 0)
            share = share.gpu() if self._on_gpu else share
            other = fn.permute_batch(images, indices=[i ^ 1 for i in range(kind.images)])
            images = fn.cast(images * share + other * (1 - share), dtype=types.UINT8)
        return images

    def send(self, encoded: Encoded) -> None:
        """Begin to decode a batch; RuntimeError if DALI cannot."""
        for name, values in inputs_of(encoded).items():
            self._pipeline.feed_input(name, values)
        self._pipeline.schedule_run()

    def take(self) -> Any:
        """Wait for the batch; RuntimeError if DALI cannot decode one of its images."""
        (images,) = self._pipeline.share_outputs()
        self._pipeline.release_outputs()
        images = images.as_tensor()
        return images if self._on_gpu else np.array(images)


def inputs_of(encoded: Encoded) -> Dict[str, Any]:
    """The inputs of the operators: arrays with a row for each image, or a list of arrays."""
    steps = encoded.steps
    kind = _kind_of(encoded)
    averaged = [step.size if step.averages else step.cut_size for step in steps]
    inputs: Dict[str, Any] = {
        "pictures": encoded.images,
        "size": np.array([step.size for step in steps], np.float32),
        "averaged": np.array(averaged, np.float32),
        "mirror": np.array([step.mirror for step in steps], np.int32),
    }
    windows = {"cut": [step.cut for step in steps]}
    if kind.warps:
        inputs["warp"] = corner_matrices([step.warp for step in steps])
    else:
        windows["window"] = [step.window for step in steps]
    for name, cuts in windows.items():
        left, top, wide, high = np.array(cuts, np.int32).T
        inputs[f"{name}_start"] = np.stack([top, left], axis=1)
        inputs[f"{name}_shape"] = np.stack([high, wide], axis=1)
    if kind.colours:
        inputs["colours"] = np.array([step.colours for step in steps], np.float32)
    if encoded.shares is not None:
        inputs["share"] = encoded.shares
    return inputs


def corner_matrices(warps: List[Any]) -> np.ndarray:
    """Warps (2, 3) as DALI takes them, float32 (n, 2, 3).

    The origin is the centre of the first pixel here and in OpenCV, its corner in DALI.
    """
    matrices = np.array(warps, np.float64)
    matrices[:, :, 2] += 0.5 - 0.5 * matrices[:, :, :2].sum(axis=2)
    return matrices.astype(np.float32)


def _reason(error: Exception) -> str:
    """DALI's error in one line: the first after its own traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    start = lines.index("encountered:") + 1 if "encountered:" in lines else 0
    return " ".join(lines[start : start + 1])[:300].rstrip(".:; ")
