"""What records scalars of a training: TensorBoard's file, and tracking services (--track)."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Sequence, Union

from imagenet_trainer.config import FitSettings
from imagenet_trainer.runs.logs import RunLog
from imagenet_trainer.runs.tracking import SERVICES, Tracker, check_library
from imagenet_trainer.system import parquet
from imagenet_trainer.train.session import Session

if TYPE_CHECKING:
    from imagenet_trainer.runs.tensorboard import ScalarWriter


def check_libraries(settings: FitSettings) -> None:
    """InputError if a library is missing that a flag about what is recorded needs."""
    if settings.parquet:
        parquet.library("--parquet 1")
    for name in settings.track:
        if name in SERVICES:
            check_library(name)


def scalar_writers(session: Session, log: RunLog) -> Sequence[Union["ScalarWriter", Tracker]]:
    """TensorBoard's file, and the services of --track."""
    settings, run = session.settings, session.run
    # A command may have a password in its arguments.
    about = {name: value for name, value in asdict(settings).items() if name != "when_done"}
    names = [name for name in settings.track if name in SERVICES]
    services = [Tracker(name, run.folder, about, log.info) for name in names]
    if not settings.tensorboard and "tensorboard" not in settings.track:
        return services
    # TensorBoard's package takes a third of a second, which other workers do not spend.
    from imagenet_trainer.runs.tensorboard import ScalarWriter

    scalars = ScalarWriter(run.tensorboard_path, session.progress.update, log.info)
    return [scalars, *services]
