"""What records scalars of a training: TensorBoard's file, and tracking services (--track)."""

from dataclasses import asdict
from typing import List, Union

from imagenet_trainer.config import FitSettings
from imagenet_trainer.runs.logs import RunLog
from imagenet_trainer.runs.tensorboard import ScalarWriter
from imagenet_trainer.runs.tracking import SERVICES, Tracker, check_library
from imagenet_trainer.system import parquet
from imagenet_trainer.train.session import Session


def check_libraries(settings: FitSettings) -> None:
    """InputError if a library is missing that a flag about what is recorded needs."""
    if settings.parquet:
        parquet.library("--parquet 1")
    for name in settings.track:
        if name in SERVICES:
            check_library(name)


def scalar_writers(session: Session, log: RunLog) -> List[Union[ScalarWriter, Tracker]]:
    """TensorBoard's file, and the services of --track."""
    settings, run = session.settings, session.run
    writers: List[Union[ScalarWriter, Tracker]] = []
    if settings.tensorboard or "tensorboard" in settings.track:
        writers = [ScalarWriter(run.tensorboard_path, session.progress.update, log.info)]
    # A command may have a password in its arguments.
    about = {name: value for name, value in asdict(settings).items() if name != "when_done"}
    services = [name for name in settings.track if name in SERVICES]
    return writers + [Tracker(name, run.folder, about, log.info) for name in services]
