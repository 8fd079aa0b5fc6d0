"""An engine's answers to a whole set of pictures, each counted exactly once."""

from typing import Any, Iterator, Optional, Protocol, Tuple

import numpy as np

from imagenet_trainer.data.augment import EvalTransform
from imagenet_trainer.data.loader import evaluation_batches
from imagenet_trainer.data.sets import PictureSet
from imagenet_trainer.engines import Devices, Engine, check_parameters, load_symbol, open_engine
from imagenet_trainer.errors import InputError, NonFiniteError
from imagenet_trainer.flags import BEST
from imagenet_trainer.keeping import best_epoch
from imagenet_trainer.machine import processors
from imagenet_trainer.run import Checkpoint, Preprocessing, Run


class Answering(Protocol):
    """What is asked of an engine for its answers."""

    batch_size: int

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Probabilities float32 (n, classes) of uint8 (n, h, w, 3)."""


def answers(
    engine: Answering, pictures: PictureSet, preprocessing: Preprocessing, threads: int, nice: int
) -> Iterator[Tuple[np.ndarray, np.ndarray]]:
    """Probabilities float32 (n, classes) and labels int64 (n,), batch by batch in shard order.

    Raises InputError if the pictures that came are not as many as the index says, NonFiniteError
    if an answer is infinite or undefined.
    """
    transform = EvalTransform(preprocessing.image_shape, preprocessing.val_resize)
    scored = 0
    with evaluation_batches(
        pictures.shards, transform, len(pictures.classes), engine.batch_size, threads, nice=nice
    ) as batches:
        for batch in batches:
            probabilities = engine.predict(batch.images)
            if not np.isfinite(probabilities).all():
                raise NonFiniteError(
                    "the network's answers are not finite, its parameters are of no use",
                    "train anew with a lower --lr and another --model-prefix",
                )
            yield probabilities, batch.labels
            scored += len(batch.labels)
    if scored != len(pictures):
        raise InputError(
            f"{pictures.path}: {scored} pictures scored, the index has {len(pictures)}"
        )


def loader_threads(asked: int, gpus: bool) -> Tuple[int, int]:
    """Number and niceness of the decoding threads.

    MXNet's OpenMP threads wait for each other after every operator, so beside CPU training one
    thread of the lowest priority decodes; with GPUs all processors but one do.
    """
    if gpus:
        return asked or max(1, min(16, processors() - 1)), 0
    return asked or 1, 19


def open_network(
    run: Run, epoch: Optional[int], devices: Devices, batch_size: int
) -> Tuple[Engine, Any, Checkpoint]:
    """A trained network that answers, at the epoch given (BEST: the best) or the run's newest;
    its symbol; its checkpoint.

    Raises InputError where the run holds no such checkpoint or one that lacks its .npz, without
    which nobody knows its preprocessing.
    """
    symbol = load_symbol(run.read_symbol(), str(run.symbol_path))
    if epoch == BEST:
        epoch = best_epoch(run)
    checkpoint = load_trained(run, newest_epoch(run) if epoch is None else epoch)
    how = checkpoint.preprocessing
    assert how is not None
    _, height, width = how.image_shape
    shape = (batch_size, height, width, 3)
    engine = open_engine(symbol, devices, shape, how.rgb_mean, how.rgb_std)
    set_checkpoint(engine, symbol, run, checkpoint)
    return engine, symbol, checkpoint


def newest_epoch(run: Run) -> int:
    """The last finished epoch of a run; InputError where there is none."""
    epochs = run.epochs()
    if not epochs:
        raise InputError(
            f"{run.folder}: has no finished epoch yet; train with python -m imagenet_trainer.fit"
        )
    return epochs[-1]


def load_trained(run: Run, epoch: int) -> Checkpoint:
    """A checkpoint with its preprocessing; InputError for one that lacks its .npz."""
    checkpoint = run.load(epoch)
    if checkpoint.preprocessing is None:
        raise InputError(
            f"{run.params_path(epoch)}: has no .npz beside it, which says how pictures are "
            "prepared for it; train on from it with --load-epoch"
        )
    return checkpoint


def set_checkpoint(engine: Engine, symbol: Any, run: Run, checkpoint: Checkpoint) -> None:
    """Give an engine the parameters of a checkpoint, if they are of its network."""
    assert checkpoint.preprocessing is not None
    path = str(run.params_path(checkpoint.progress.epoch))
    check_parameters(
        symbol, checkpoint.preprocessing.image_shape, checkpoint.arg, checkpoint.aux, path
    )
    engine.set_params(checkpoint.arg, checkpoint.aux)
