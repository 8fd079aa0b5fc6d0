"""The speed of a training from JPEG shards, for tools/gpu_study.py."""

import tempfile
import time
from typing import Any, Iterator, Tuple

from imagenet_trainer.benchmarks.photographs import pack_photographs
from imagenet_trainer.config import FitSettings
from imagenet_trainer.data.augment import TrainTransform
from imagenet_trainer.data.loader import Batch, loader_threads, training_batches
from imagenet_trainer.train.datasets import open_order, open_training_set
from imagenet_trainer.train.gpu_decoding import decoded


def shard_speed(engine: Any, batch: int, study: Any, decode: str) -> Tuple[float, float]:
    """Images/s and share of waiting of a training from JPEG shards, as `fit` reads them.

    `study` is a `gpu_measures.Study`. The shards are packed at the first call.
    """
    workload = study.workload
    settings = FitSettings(
        data_train=_packed(study), batch_size=batch, image_shape=workload.image_shape,
        num_classes=workload.classes, gpus=workload.gpus, engine="torch", decode=decode,
    )  # fmt: skip
    dataset = open_training_set(settings)
    transform = TrainTransform(settings, settings.image_shape, settings.seed)
    threads = loader_threads(0, bool(workload.gpus), engine.host_memory)
    warm, measured = 5 if workload.gpus else 1, workload.updates * workload.rounds
    with training_batches(
        dataset.shards, open_order(settings, dataset), transform, workload.classes,
        range(warm + measured), threads=threads, encoded=decode == "gpu",
    ) as loader:  # fmt: skip
        stream = decoded(loader, settings, dataset.shards, threads.count, print)
        _train_on(engine, stream, warm, study)
        began = time.perf_counter()
        waited = _train_on(engine, stream, measured, study)
        seconds = time.perf_counter() - began
    dataset.shards.close()
    return batch * measured / seconds, waited / seconds


def _packed(study: Any) -> str:
    """The shards, packed unless an earlier step did."""
    found = study.folder / "shards.txt"
    if not found.exists():
        folder = tempfile.mkdtemp(dir=study.folder)
        found.write_text(pack_photographs(folder, study.workload.images))
    return str(found.read_text())


def _train_on(engine: Any, stream: Iterator[Batch], updates: int, study: Any) -> float:
    """Make updates; return the seconds that were spent waiting for batches."""
    waited = 0.0
    for _ in range(updates):
        batch = next(stream)
        waited += batch.wait
        engine.train_batch(batch.images, batch.labels, 1e-3)
    study.wait()
    return waited
