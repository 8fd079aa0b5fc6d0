"""Knowledge distillation: a trained network whose predictions are a part of the targets.

Hinton, Vinyals and Dean 2015, arXiv:1503.02531, with temperature 1. The teacher sees the images of
the student, cropped, augmented and mixed as they are: Beyer et al. 2021, "Knowledge distillation: A
good teacher is patient and consistent", arXiv:2106.05237.
"""

from dataclasses import replace
from typing import Optional

from imagenet_trainer.config import FitSettings
from imagenet_trainer.config.values import BEST
from imagenet_trainer.data.classes import Classes
from imagenet_trainer.engines import Devices, Engine
from imagenet_trainer.engines.choice import local_rank
from imagenet_trainer.engines.symbol import parameter_shapes
from imagenet_trainer.errors import InputError, attributed_to
from imagenet_trainer.eval.network import check_softmax, engine_for, read_network, set_checkpoint
from imagenet_trainer.graph import GraphError
from imagenet_trainer.runs.retention import best_epoch
from imagenet_trainer.runs.trained import open_run
from imagenet_trainer.train.engine import devices_of
from imagenet_trainer.train.image_sizes import size_at


def open_teacher(settings: FitSettings, classes: Classes, batch_size: int) -> Optional[Engine]:
    """The network of --teacher, which predicts batches of this size; None without the flag.

    Raises InputError if it has other classes, cannot have the student's images, or is missing.
    """
    if settings.teacher is None:
        return None
    prefix, epoch = settings.teacher
    run = open_run(prefix)
    where = f"--teacher {prefix}"
    if not run.epochs():
        raise InputError(f"{where}: has no checkpoints of finished epochs; check the prefix")
    number = best_epoch(run) if epoch == BEST else epoch
    if number in run.epochs() and run.preprocessing(number) is None:
        raise InputError(
            f"{where},{number}: has no .npz with its preprocessing, as networks of other programs; "
            "use one of fit, or of published, which writes it"
        )
    with attributed_to("--teacher", " "):
        symbol, checkpoint = read_network(run, number)
    check_softmax(symbol, where, run)
    if len(checkpoint.classes) != len(classes):
        raise InputError(
            f"{where}: has {len(checkpoint.classes)} classes, but the training images have "
            f"{len(classes)}; use a network that was trained on the same ones"
        )
    if [one[0] for one in checkpoint.classes] != [one[0] for one in classes]:
        raise InputError(
            f"{where}: has other classes than the training images, or another order of them; use "
            "a network that was trained on the same ones"
        )
    how = checkpoint.known_preprocessing
    for size in {size_at(settings, epoch) for epoch in range(settings.num_epochs)}:
        try:
            same = parameter_shapes(symbol, (3, *size)) == parameter_shapes(symbol, how.image_shape)
        except GraphError:
            same = False
        if not same:
            raise InputError(
                f"{where}: does not take the images of {size[0]} x {size[1]} of this training, "
                f"since it was trained on {how.image_shape[1]} x {how.image_shape[2]}; use a "
                "network with global pooling, or --image-shape"
            )
    height, width = size_at(settings, 0)
    seen = replace(checkpoint, preprocessing=replace(how, image_shape=(3, height, width)))
    engine = engine_for(symbol, seen, _devices_here(settings), batch_size)
    set_checkpoint(engine, symbol, run, seen)
    return engine


def teacher_digest(settings: FitSettings) -> str:
    """SHA-256 of the parameters of --teacher, whose `best` epoch may become another one.

    Empty for a missing file, of which `open_teacher` says more.
    """
    assert settings.teacher is not None
    prefix, epoch = settings.teacher
    run = open_run(prefix)
    number = best_epoch(run) if epoch == BEST else epoch
    return run.params_sha256(number) if number in run.epochs() else ""


def _devices_here(settings: FitSettings) -> Devices:
    """The devices of this worker: its teacher predicts its own images, alone."""
    devices = devices_of(settings)
    gpus, rank = devices.gpus, local_rank()
    if gpus and rank is not None:  # one of PyTorch's processes, which has one GPU
        gpus = (gpus[rank],)
    return replace(devices, gpus=gpus, kv_store="device", compression_threshold=None)
