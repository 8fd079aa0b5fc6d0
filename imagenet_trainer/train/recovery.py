"""What a training does about trouble: a disk that refuses, numbers that are not finite."""

import time
from typing import TYPE_CHECKING, Callable

from imagenet_trainer.errors import InputError

if TYPE_CHECKING:
    from imagenet_trainer.system.interrupts import Interrupts
    from imagenet_trainer.train.session import Session

RATE_AFTER_ROLLBACK = 0.5  # of what it was


def patiently(
    write: Callable[[], None],
    minutes: float,
    interrupts: "Interrupts",
    say: Callable[[str], None],
    pause: float = 1.0,
) -> None:
    """Call `write` again and again while the file system refuses, for so many minutes.

    The training stands still meanwhile and loses nothing: network file systems come back, disks
    are cleared. Nothing is recreated, because a folder that is gone may be a disk that is not
    mounted. Raises the InputError of the last attempt when the time is over or a signal has come;
    any other error at once. `pause` is in seconds.
    """
    end = time.monotonic() + 60 * minutes
    refused = False
    while True:
        try:
            write()
        except InputError as error:
            left = end - time.monotonic()
            if not isinstance(error.__cause__, OSError) or left <= 0 or interrupts:
                raise
            if not refused:
                say(f"{error}; trying again for {minutes:g} minutes (--save-patience)")
            refused = True
            time.sleep(min(pause, left))
        else:
            if refused:
                say("Written now; the run goes on")
            return


def roll_back(session: "Session", what: str, say: Callable[[str], None]) -> None:
    """Go back to the newest numbered checkpoint, or the beginning, at half the learning rate.

    Not to a checkpoint inside an epoch: when these are written is a matter of the clock, and a run
    that was killed on the way has to end in the same parameters. `what` is what is not finite.
    Raises InputError where --on-nan says stop or --max-rollbacks are used up.
    """
    settings, before = session.settings, session.progress
    lower = (
        "use a lower --lr or more --warmup-epochs, and another --model-prefix; networks without "
        "BatchNorm, such as SqueezeNet, want --lr 0.01"
    )
    if settings.on_nan == "stop":
        raise InputError(
            f"{what}; the last checkpoint is kept; run the same command with --on-nan rollback to "
            f"go on from it at half the rate, or {lower}"
        )
    if before.rollbacks >= settings.max_rollbacks:
        raise InputError(
            f"{what}; the run has gone back {before.rollbacks} times (--max-rollbacks "
            f"{settings.max_rollbacks}), its rate is {before.rate_scale:g} of what was asked for; "
            f"{lower}"
        )
    after = session.go_back(before.rate_scale * RATE_AFTER_ROLLBACK, before.rollbacks + 1)
    say(
        f"{what}: back to update {after.update} (epoch {after.epoch}) with {after.rate_scale:g} of "
        f"the rate, rollback {after.rollbacks} of {settings.max_rollbacks}"
    )
