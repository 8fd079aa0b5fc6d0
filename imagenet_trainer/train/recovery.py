"""What a training does when a write fails, or when numbers are not finite."""

import time
from typing import Callable, TypeVar

from imagenet_trainer.errors import InputError
from imagenet_trainer.system.interrupts import Interrupts
from imagenet_trainer.train.session import Session

T = TypeVar("T")

RATE_AFTER_ROLLBACK = 0.5  # times the rate before


def write_with_retries(
    write: Callable[[], T],
    minutes: float,
    interrupts: Interrupts,
    log: Callable[[str], None],
    pause: float = 1.0,
) -> T:
    """Call `write` until it succeeds, for at most the given minutes; return its result.

    The training waits meanwhile and loses nothing: a network file system may come back, or
    somebody frees disk space. A missing folder is not created, because it may be the mount point
    of a disk. Raises the InputError of the last attempt after that time or after a
    signal, and any other error at once. `pause` is in seconds.
    """
    end = time.monotonic() + 60 * minutes
    refused = False
    while True:
        try:
            result = write()
        except InputError as error:
            left = end - time.monotonic()
            if not isinstance(error.__cause__, OSError) or left <= 0 or interrupts:
                raise
            if not refused:
                log(f"{error}; trying again for {minutes:g} min (--save-patience)")
            refused = True
            time.sleep(min(pause, left))
        else:
            if refused:
                log("The file is written now; the run continues")
            return result


def roll_back(session: Session, problem: str, log: Callable[[str], None]) -> None:
    """Return to the newest numbered checkpoint, or the beginning, at half the learning rate.

    Checkpoints inside an epoch are not used: when they are written depends on the clock, and a run
    that is killed in between must end with the same parameters. `problem` describes what is not
    finite. Raises InputError with `--on-nan stop`, or after `--max-rollbacks`.
    """
    settings, before = session.settings, session.progress
    remedy = (
        "use a lower --lr or more --warmup-epochs, and another --model-prefix; networks without "
        "BatchNorm, such as SqueezeNet, need --lr 0.01"
    )
    if settings.on_nan == "stop":
        raise InputError(
            f"{problem}; the last checkpoint is kept; run the same command with --on-nan rollback "
            f"to continue from it at half the learning rate, or {remedy}"
        )
    if before.rollbacks >= settings.max_rollbacks:
        raise InputError(
            f"{problem}; the run was rolled back {before.rollbacks} times (--max-rollbacks "
            f"{settings.max_rollbacks}) and its learning rate is {before.rate_scale:g} of "
            f"--lr; {remedy}"
        )
    after = session.restore(before.rate_scale * RATE_AFTER_ROLLBACK, before.rollbacks + 1)
    log(
        f"{problem}: back to update {after.update} (epoch {after.epoch}) with {after.rate_scale:g} "
        f"of the learning rate, rollback {after.rollbacks} of {settings.max_rollbacks}"
    )
