"""Who decodes a training's images: the loader's threads, or the GPUs that train (--decode)."""

import importlib.util
import os
from typing import Callable, Iterator

from imagenet_trainer.config import FitSettings
from imagenet_trainer.data.loader import Batch, Loader
from imagenet_trainer.data.records.shards import Shards
from imagenet_trainer.engines.choice import choose_engine
from imagenet_trainer.errors import InputError
from imagenet_trainer.train.engine import devices_of


def decodes_on_gpu(settings: FitSettings) -> bool:
    """Whether the GPUs decode; InputError where --decode gpu asks for what cannot be."""
    if settings.decode == "cpu":
        return False
    if not settings.gpus:
        raise InputError("--decode gpu: this training has no GPU; add --gpus, or take --decode cpu")
    engine, why = choose_engine(devices_of(settings))
    if engine != "torch":
        raise InputError(
            f"--decode gpu: is for --engine torch, and MXNet trains here ({why}); "
            "add --engine torch, or take --decode cpu"
        )
    if not has_dali():
        raise InputError(
            "--decode gpu: NVIDIA DALI is not installed; in the checkout run: "
            "pip install -e '.[dali]' (Python 3.10 and above), or take --decode cpu"
        )
    return True


def decoded(
    batches: Loader,
    settings: FitSettings,
    shards: Shards,
    threads: int,
    tell: Callable[[str], object],
) -> Iterator[Batch]:
    """The batches of `training_batches(..., encoded=decodes_on_gpu(settings))` with pixels.

    `threads` and `tell` as for `data.dali.DecodedBatches`. On GPUs, each process decodes on the
    one that it trains on.
    """
    if not decodes_on_gpu(settings):
        return iter(batches)
    from imagenet_trainer.data.dali import DecodedBatches

    gpu = settings.gpus[int(os.environ.get("LOCAL_RANK", "0"))]
    return _attributed(DecodedBatches(batches, shards, gpu, threads, tell))


def _attributed(batches: Iterator[Batch]) -> Iterator[Batch]:
    """The batches; an error of DALI names the flag."""
    from imagenet_trainer.data.dali import DaliError

    try:
        yield from batches
    except DaliError as error:
        raise InputError(f"--decode gpu: {error}; use --decode cpu") from error


def has_dali() -> bool:
    """Whether DALI is installed; it is not imported for the answer."""
    try:
        return importlib.util.find_spec("nvidia.dali") is not None
    except ModuleNotFoundError:  # not even its parent
        return False
