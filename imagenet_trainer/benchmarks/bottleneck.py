"""Measure where the time of a training goes: each of its stages alone, then all together.

Read, decode and augment are measured image by image in one thread; copy, compute, metric and
update on one batch that stays in memory, each waiting for the one before; then all decoding threads
without the network, the network without data, and both. The learning rate is zero, so nothing is
trained; the stages take the same time.
"""

import statistics
import time
from dataclasses import replace
from typing import Callable, Dict, List, Optional, Tuple

import numpy as np

from imagenet_trainer.benchmarks.advice import advise
from imagenet_trainer.config import BottleneckSettings
from imagenet_trainer.config.flags import flag_with_value
from imagenet_trainer.config.measured import BottleneckResult, TrainingProfile
from imagenet_trainer.data.augment import TrainTransform
from imagenet_trainer.data.dataset import Dataset
from imagenet_trainer.data.decoded import decode_for
from imagenet_trainer.data.loader import Batch, Batches, loader_threads, training_batches
from imagenet_trainer.data.mixup import mixing_of
from imagenet_trainer.data.order import Order
from imagenet_trainer.engines import Engine, Mix
from imagenet_trainer.engines.choice import choose_engine
from imagenet_trainer.errors import InputError
from imagenet_trainer.system.block_cache import use_cache
from imagenet_trainer.system.machine import has_bfloat16, keep_freed_memory, processors
from imagenet_trainer.train.datasets import open_order, open_training_set
from imagenet_trainer.train.engine import devices_of
from imagenet_trainer.train.setup import TrainingSetup, training_setup

# Images, labels, rate and mix: the arguments of train_batch.
_Update = Tuple[np.ndarray, np.ndarray, float, Optional[Mix]]

_WARM = 2  # warm-up updates of an engine
_AHEAD = 6  # warm-up batches of a loader, more than it prepares ahead
_ROUNDS = 3
_LEAST = 3  # repetitions, even if they take longer than the time given


def run(settings: BottleneckSettings) -> BottleneckResult:
    """Measure, and print the table, the verdict and the advice; return them."""
    if settings.decode == "gpu":
        raise InputError(
            "--decode gpu: bottleneck measures decoding on the CPU; omit the flag, and measure "
            "decoding on the GPU with fit --test-io 1 --decode gpu"
        )
    if settings.image_size_schedule:
        raise InputError(
            f"{flag_with_value(settings, 'image_size_schedule')}: bottleneck measures one size; "
            "add --image-size-schedule '' and --image-shape 3,H,W with one of these"
        )
    use_cache(settings.cache_dir, settings.cache_size)
    start = training_setup(settings)
    train = open_training_set(settings)
    measured = measure(start, train, settings.seconds)
    print(table(measured, start.name, settings.data_train))
    verdict, *advice = advise(measured)
    print("\n" + verdict)
    for sentence in advice:
        print(f"- {sentence}")
    return BottleneckResult(measured, verdict, advice)


def measure(start: TrainingSetup, train: Dataset, seconds: float) -> TrainingProfile:
    """Measure everything, each item for this many seconds, which takes about seven times that."""
    settings = start.settings
    threads = loader_threads(settings.data_nthreads, bool(settings.gpus))
    order = open_order(settings, train)
    transform = TrainTransform(settings, settings.image_shape, settings.seed)
    mixup = mixing_of(settings, settings.seed)

    def loader() -> Batches:
        return training_batches(
            train.shards, order, transform, len(train.classes), range(1 << 40),
            threads=threads, mixup=mixup,
        )  # fmt: skip

    images, short_side = _images(train, order, transform, seconds)
    with loader() as batches:
        in_memory = _update_of(next(batches))
    engine = start.open_engine(start.symbol(len(train.classes)))
    data, updates, together, waited = [], [], [], []
    for _ in range(_ROUNDS):  # in turns, because the load of other programs varies
        with loader() as batches:
            data.append(_data_rate(batches, seconds / _ROUNDS))
        updates.append(_updates(engine, in_memory, seconds / _ROUNDS))
        with loader() as batches:
            rate, share = _together(engine, batches, seconds / _ROUNDS)
        together.append(rate)
        waited.append(share)
    stages = _stages(engine, in_memory, seconds)
    del engine  # frees its memory before another one is opened
    median = statistics.median
    return TrainingProfile(
        processors=processors(),
        threads=threads.count,
        gpus=len(settings.gpus),
        batch_size=settings.batch_size,
        dtype=settings.dtype,
        faster_dtypes="" if settings.gpus or not has_bfloat16() else "bfloat16",
        short_side=short_side,
        crop_side=max(settings.image_shape[1:]),
        half_batch=_half_batch(start, in_memory, len(train.classes), seconds),
        data_rate=median(data),
        network_rate=settings.batch_size / median(updates),
        together_rate=median(together),
        wait_share=median(waited),
        can_decode=bool(settings.gpus) and choose_engine(devices_of(settings)).engine == "torch",
        **images,
        **stages,
    )


def table(m: TrainingProfile, network: str, shard: str) -> str:
    """Format the measurements."""
    where = f"{m.gpus} GPUs" if m.gpus else "the CPU"
    lines = [
        f"{network} on {where} in {m.dtype}, batch {m.batch_size}; {shard}; decoding threads: "
        f"{m.threads}; processors: {m.processors}",
        "",
        f"{'alone':<32}{'ms per image':>14}{'images/s':>12}",
    ]
    for name in ("read", "decode", "augment"):
        seconds = getattr(m, name)
        lines.append(f"{name + ', one thread':<32}{1000 * seconds:>14.3f}{1 / seconds:>12.0f}")
    lines.append(f"{f'all of these, threads: {m.threads}':<32}{'':>14}{m.data_rate:>12.1f}")
    for name, seconds in m.stages.items():
        lines.append(f"{name:<32}{1000 * seconds / m.batch_size:>14.3f}")
    lines.append(f"{'all of these':<32}{'':>14}{m.network_rate:>12.1f}")
    lines.append("")
    lines.append(
        f"{'together':<32}{'':>14}{m.together_rate:>12.1f}   waiting for data {m.wait_share:.1%}"
    )
    return "\n".join(lines)


def _images(
    train: Dataset, order: Order, transform: TrainTransform, seconds: float
) -> Tuple[Dict[str, float], float]:
    """Seconds per image of reading, decoding and augmentation; the median short side."""
    keep_freed_memory()
    spent = {"read": 0.0, "decode": 0.0, "augment": 0.0}
    out = np.empty((*transform.size, 3), np.uint8)
    sides: List[int] = []
    update, end = 0, time.perf_counter() + seconds
    while not sides or time.perf_counter() < end:
        began = time.thread_time()
        indices, epochs = order.batch(update)
        drawn = transform.draw(indices, epochs)
        spent["augment"] += time.thread_time() - began
        for i, index in enumerate(indices.tolist()):
            began = time.perf_counter()
            record, _, trusted = train.shards.example(index, len(train.classes))
            encoded = bytes(record)  # a copy: the record is only a view
            spent["read"] += time.perf_counter() - began
            # These never wait, so processor time is measured.
            began = time.thread_time()
            image, steps = decode_for(encoded, transform, drawn, i, trusted=trusted)
            decoded = time.thread_time()
            transform.execute(steps, image, out)
            spent["decode"] += decoded - began
            spent["augment"] += time.thread_time() - decoded
            sides.append(min(image.shape[:2]))
        update += 1
    return {name: value / len(sides) for name, value in spent.items()}, statistics.median(sides)


def _data_rate(batches: Batches, seconds: float) -> float:
    """Images per second of all decoding threads together."""
    for _ in range(_AHEAD):
        images = len(next(batches).labels)
    times, spent = _repeat(lambda: next(batches), seconds)
    return times * images / spent


def _update_of(batch: Batch) -> _Update:
    """Copy a batch into arguments of train_batch, with a learning rate of zero."""
    mix = Mix(*(part.copy() for part in batch.mix)) if batch.mix else None
    return batch.images.copy(), batch.labels.copy(), 0.0, mix


def _updates(engine: Engine, in_memory: _Update, seconds: float) -> float:
    """Seconds per update."""
    for _ in range(_WARM):
        engine.train_batch(*in_memory)
    times, spent = _repeat(lambda: engine.train_batch(*in_memory), seconds)
    return spent / times


def _stages(engine: Engine, in_memory: _Update, seconds: float) -> Dict[str, float]:
    """Seconds of the stages of an update."""
    engine.stage_seconds = {}
    times, _ = _repeat(lambda: engine.train_batch(*in_memory), seconds)
    seconds_of = {name: value / times for name, value in engine.stage_seconds.items()}
    engine.stage_seconds = None
    return seconds_of


def _half_batch(
    start: TrainingSetup, in_memory: _Update, classes: int, seconds: float
) -> Optional[float]:
    """Seconds of an update with half the batch; None if the devices cannot share it."""
    settings = start.settings
    half, odd = divmod(settings.batch_size, 2)
    if odd or half % ((len(settings.gpus) or settings.cpus) * settings.accumulate):
        return None
    images, labels, rate, mix = in_memory
    mix = mix and Mix(mix.labels[:half], mix.shares[:half])
    start = replace(start, settings=replace(settings, batch_size=half))
    engine = start.open_engine(start.symbol(classes))
    return _updates(engine, (images[:half], labels[:half], rate, mix), seconds)


def _together(engine: Engine, batches: Batches, seconds: float) -> Tuple[float, float]:
    """Images per second and share of waiting of a training as in fit."""
    for _ in range(_AHEAD):
        engine.train_batch(*_update_of(next(batches)))
    images, waited = 0, 0.0

    def update() -> None:
        nonlocal images, waited
        batch = next(batches)
        mix = Mix(*batch.mix) if batch.mix else None
        engine.train_batch(batch.images, batch.labels, 0.0, mix)
        images, waited = images + len(batch.labels), waited + batch.wait

    _, spent = _repeat(update, seconds)
    return images / spent, waited / spent


def _repeat(work: Callable[[], object], seconds: float) -> Tuple[int, float]:
    """Call `work` for this long; return the number of calls and their seconds."""
    began, times = time.perf_counter(), 0
    while times < _LEAST or time.perf_counter() - began < seconds:
        work()
        times += 1
    return times, time.perf_counter() - began
