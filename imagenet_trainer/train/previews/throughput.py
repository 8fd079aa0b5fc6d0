"""`fit --benchmark` and `fit --test-io`: the speed of training alone and of data loading alone."""

import time

import numpy as np

from imagenet_trainer.config import FitSettings
from imagenet_trainer.data.augment import TrainTransform
from imagenet_trainer.data.dataset import IMAGENET_CLASSES
from imagenet_trainer.data.loader import loader_threads, training_batches
from imagenet_trainer.data.mixup import mixing_of
from imagenet_trainer.engines import Mix, wait_for
from imagenet_trainer.engines.factory import join_workers
from imagenet_trainer.metrics.counts import Scores
from imagenet_trainer.runs.logs import RunLog
from imagenet_trainer.train.datasets import open_order, open_training_set
from imagenet_trainer.train.engine import devices_of
from imagenet_trainer.train.gpu_decoding import decoded, decodes_on_gpu
from imagenet_trainer.train.multi_label import made_labels
from imagenet_trainer.train.setup import training_setup

INTERVALS = 5  # of --disp-batches updates each
_QUEUES = 4  # an interval of --test-io has so many times the batches that wait in a full queue


def benchmark_training(settings: FitSettings) -> int:
    """`--benchmark 1`: train on one batch that is held in memory; writes no files."""
    setup = training_setup(settings)
    settings, classes = setup.settings, settings.num_classes or IMAGENET_CLASSES
    workers = join_workers(devices_of(settings))
    engine = setup.open_engine(setup.symbol(classes), workers)
    random = np.random.default_rng(settings.seed)
    _, height, width = settings.image_shape
    images = random.integers(0, 256, (engine.batch_size, height, width, 3), np.uint8)
    labels = made_labels(settings, random.integers(0, classes, engine.batch_size), classes)
    half = np.full(len(labels), 0.5, np.float32)
    mix = Mix(labels[::-1].copy(), half) if mixing_of(settings, settings.seed) else None
    with RunLog(None, engine.rank, settings.top_k, settings.loss, classes) as log:
        for interval in range(INTERVALS):
            began = time.perf_counter()
            for _ in range(settings.disp_batches):
                engine.train_batch(images, labels, settings.lr, mix)
            wait_for(engine)  # the backward pass of the last update belongs to the interval
            first = interval * settings.disp_batches
            scores = Scores(*engine.read_counts(), top_k=settings.top_k or 5)
            seconds = time.perf_counter() - began
            log.batches(0, first, first + settings.disp_batches, scores, seconds, 0.0)
    workers.part()
    return 0


def benchmark_loader(settings: FitSettings) -> int:
    """`--test-io 1`: read and augment images without training; writes no files."""
    settings = training_setup(settings).settings
    train = open_training_set(settings)
    order = open_order(settings, train)
    transform = TrainTransform(settings, settings.image_shape, settings.seed)
    threads = loader_threads(settings.data_nthreads, bool(settings.gpus))
    mixup = mixing_of(settings, settings.seed)
    interval = max(settings.disp_batches, _QUEUES * (threads.prefetch + threads.count))
    updates = INTERVALS * interval
    with (
        RunLog(None, 0) as log,
        training_batches(
            train.shards, order, transform, len(train.classes), range(updates), threads=threads,
            mixup=mixup, encoded=decodes_on_gpu(settings), on_bad=settings.on_bad_record,
        ) as batches,
    ):  # fmt: skip
        stream = decoded(batches, settings, train.shards, threads.count, log.info)
        if interval > settings.disp_batches:
            log.info(
                f"--disp-batches {settings.disp_batches}: intervals have {interval} batches, as "
                "shorter ones measure the queue"
            )
        began, images = time.perf_counter(), 0
        for batch in stream:
            images += len(batch.labels)
            if (batch.update + 1) % interval == 0:
                speed = images / (time.perf_counter() - began)
                first = batch.update + 1 - interval
                log.info(f"Batch [{first}-{batch.update + 1}]\tSpeed: {speed:.2f} samples/sec")
                began, images = time.perf_counter(), 0
    return 0
