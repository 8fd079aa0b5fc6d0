"""What the log of a training says at its start."""

from typing import List

from imagenet_trainer.config import FitSettings
from imagenet_trainer.data.dataset import IMAGENET_CLASSES, Dataset, default_classes
from imagenet_trainer.engines.choice import choose_engine
from imagenet_trainer.engines.mxnet.compression import describe_compression
from imagenet_trainer.engines.workers import Workers
from imagenet_trainer.runs.checkpoint import Progress
from imagenet_trainer.system.block_cache import current_cache
from imagenet_trainer.system.object_storage import is_url
from imagenet_trainer.train.datasets import empty_class_messages, held_back_messages
from imagenet_trainer.train.engine import devices_of
from imagenet_trainer.train.ineffective import ineffective_flags
from imagenet_trainer.train.inputs import Inputs
from imagenet_trainer.train.schedule_flags import rate_messages
from imagenet_trainer.train.setup import TrainingSetup, advice_messages, image_size_messages
from imagenet_trainer.train.transfer import freeze_messages


def messages_of(
    setup: TrainingSetup, inputs: Inputs, workers: Workers, engine_reason: str
) -> List[str]:
    """Consequences of the flags that a user may not expect."""
    settings, symbol, train = setup.settings, inputs.symbol, inputs.train
    messages = list(inputs.messages)
    empty = setup.run.empty_files()
    messages += [f"{setup.run.folder / name}: is empty; it is passed over" for name in empty]
    messages += setup.fine_tuning.messages(settings, symbol) if setup.fine_tuning else []
    messages += setup.continuation.messages if setup.continuation else []
    if setup.adopted:
        messages.append(
            f"--load-epoch {settings.load_epoch}: images are preprocessed as in its training: "
            f"{'; '.join(setup.adopted)}"
        )
    messages += advice_messages(setup, len(train))
    messages += image_size_messages(setup)
    messages += freeze_messages(settings, symbol)
    if settings.keep:
        messages.append(
            f"--keep {settings.keep}: only the newest and the best numbered checkpoints are kept; "
            "run evaluate --epochs all and its --gif before the others are removed"
        )
    messages += empty_class_messages(train)
    messages += held_back_messages(settings, inputs.val, inputs.minival)
    messages += _cache_messages(train)
    messages += rate_messages(settings)
    messages += ineffective_flags(settings, choose_engine(devices_of(settings)).engine)
    messages += _engine_messages(settings, workers, engine_reason)
    is_imagenet = train.classes == default_classes(IMAGENET_CLASSES)
    if not train.has_manifest and settings.num_classes is None and is_imagenet:
        messages.append(
            f"{train.path} has no manifest with its classes: the labels are interpreted as "
            f"ImageNet's {len(train.classes)} classes; --num-classes sets another number"
        )
    return messages


def _cache_messages(train: Dataset) -> List[str]:
    """A message if the cache does not hold shards on an object storage."""
    size = sum(file.size for file in train.shards.files if is_url(file.path))
    cache = current_cache()
    if size <= cache.size or not cache.size:
        return []
    return [
        f"--cache-size: the training shards at URLs have {size / 1e9:,.1f} GB, the cache "
        f"{cache.size / 1e9:,.1f} GB: the rest is fetched in every epoch, with a request for each "
        "image; give a larger one, or --shuffle-window 8192, which makes fewer requests"
    ]


def _engine_messages(settings: FitSettings, workers: Workers, engine_reason: str) -> List[str]:
    messages = []
    if not workers.in_step:
        messages.append(
            f"--kv-store {settings.kv_store}: the servers hold the optimizer's state, which "
            "checkpoints do not contain; a resumed run starts with zero momentum, and no run is "
            "reproducible"
        )
    devices = devices_of(settings)
    engine, reason = choose_engine(devices)
    if engine == "torch":
        messages.append(f"engine: PyTorch ({engine_reason or reason})")
        if devices.is_compiled:
            messages.append(
                "the first update takes a minute or more, because torch.compile builds kernels for "
                "this network (--compile off starts at once, and is slower)"
            )
    if settings.gc_type != "none":
        local = len(settings.gpus) or settings.cpus
        messages.append(describe_compression(local * workers.world_size))
    return messages


def first_message(setup: TrainingSetup, progress: Progress, images: int) -> str:
    """What is trained, or from where on it continues."""
    if not progress.update:
        return f"{setup.name}: {images} training images, files in {setup.run.folder}/"
    return (
        f"{setup.name}: continuing {setup.run.prefix} after epoch {progress.epoch}, "
        f"update {progress.update}"
    )
