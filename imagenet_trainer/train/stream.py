"""The batches of a training, from its next update to its last one."""

from typing import Callable, Generator

from imagenet_trainer.data.loader import Batch, Worker, loader_threads, training_batches
from imagenet_trainer.data.mixup import mixing_of
from imagenet_trainer.train.gpu_decoding import decoded, decodes_on_gpu
from imagenet_trainer.train.image_sizes import segments
from imagenet_trainer.train.session import Session


def stream_batches(session: Session, log: Callable[[str], object]) -> Generator[Batch, None, None]:
    """The batches from update `session.progress.update` on; a loader for each size of images.

    Closing it ends the threads.
    """
    settings, engine = session.settings, session.engine
    updates = range(session.progress.update, session.first_update(settings.num_epochs))
    threads = loader_threads(settings.data_nthreads, bool(settings.gpus), engine.host_memory)
    shards, mixup = session.train.shards, mixing_of(settings, settings.seed)
    for part, size in segments(settings, session.first_update, updates):
        if settings.image_size_schedule:
            log(f"images of {size[0]} x {size[1]} from update {part.start} on")
        with training_batches(
            shards, session.order, session.transform_of(size), len(session.train.classes), part,
            Worker(engine.rank, engine.world_size), threads, mixup,
            encoded=decodes_on_gpu(settings), on_bad=settings.on_bad_record,
        ) as batches:  # fmt: skip
            yield from decoded(batches, settings, shards, threads.count, log)
