"""Whether threads decode the training images, or the GPUs that train (--decode)."""

import importlib.util
from typing import Callable, Iterator

from imagenet_trainer.config import FitSettings
from imagenet_trainer.config.flags import flag_with_value, is_set
from imagenet_trainer.data.bad_records import ZERO
from imagenet_trainer.data.loader import Batch, Batches
from imagenet_trainer.data.records.shards import Shards
from imagenet_trainer.engines.choice import choose_engine, local_rank
from imagenet_trainer.errors import InputError
from imagenet_trainer.system.wheels import pip_install
from imagenet_trainer.train.engine import devices_of


def decodes_on_gpu(settings: FitSettings) -> bool:
    """Whether GPUs decode the images; InputError where --decode gpu is impossible."""
    if settings.decode == "cpu":
        return False
    if not settings.gpus:
        raise InputError("--decode gpu: this training has no GPU; add --gpus, or use --decode cpu")
    if settings.on_bad_record == ZERO:
        raise InputError("--on-bad-record zero: needs --decode cpu; use it, or skip such records")
    names = "auto_augment", "random_erasing", "train_interp", "cutmix", "decode_scale", "teacher"
    for name in names:
        if is_set(settings, name):
            raise InputError(
                f"{flag_with_value(settings, name)}: needs --decode cpu, whose "
                "threads do it; use it, or omit the flag"
            )
    engine, reason = choose_engine(devices_of(settings))
    if engine != "torch":
        raise InputError(
            f"--decode gpu: needs --engine torch, but the engine is MXNet ({reason}); "
            "add --engine torch, or use --decode cpu"
        )
    if not has_dali():
        raise InputError(
            f"--decode gpu: NVIDIA DALI is not installed; {pip_install('dali')} "
            "(Python 3.10 and above), or use --decode cpu"
        )
    return True


def decoded(
    batches: Batches,
    settings: FitSettings,
    shards: Shards,
    threads: int,
    log: Callable[[str], object],
) -> Iterator[Batch]:
    """The batches of `training_batches(..., encoded=decodes_on_gpu(settings))` as pixels.

    `threads` and `log` are passed to `data.dali.DecodedBatches`. With several GPUs, each process
    decodes on the one on which it trains.
    """
    if not decodes_on_gpu(settings):
        return iter(batches)
    from imagenet_trainer.data.dali import DecodedBatches  # an optional package

    gpu = settings.gpus[local_rank() or 0]
    return _attributed(DecodedBatches(batches, shards, gpu, threads, log))


def _attributed(batches: Iterator[Batch]) -> Iterator[Batch]:
    """The batches; an error of DALI names the flag."""
    from imagenet_trainer.data.dali import DaliError

    try:
        yield from batches
    except DaliError as error:
        raise InputError(f"--decode gpu: {error}; use --decode cpu") from error


def has_dali() -> bool:
    """Whether DALI is installed; does not import it."""
    try:
        return importlib.util.find_spec("nvidia.dali") is not None
    except ModuleNotFoundError:  # the parent package does not exist either
        return False
