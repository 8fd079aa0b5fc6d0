"""What the flags of optimisation mean: the schedule of a run, and what its engine is told."""

from typing import List

from imagenet_trainer.config import FitSettings
from imagenet_trainer.errors import InputError
from imagenet_trainer.train.schedule import Schedule, steps_of, updates_in


def schedule_of(settings: FitSettings, images: int) -> Schedule:
    """The learning rates of a run over so many training images.

    Raises InputError where the flags leave a falling schedule no way to go.
    """
    s = settings
    if s.lr_final > s.lr:
        raise InputError(
            f"--lr-final {s.lr_final:g}: is above --lr {s.lr:g}; schedules fall, take it or less"
        )
    if s.lr_schedule != "step" and s.warmup_epochs >= s.num_epochs:
        raise InputError(
            f"--warmup-epochs {s.warmup_epochs:g}: leaves nothing of --num-epochs {s.num_epochs} "
            f"for --lr-schedule {s.lr_schedule}; take fewer"
        )
    if s.lr_schedule != "step" and s.lr_step_every is not None:
        raise InputError(
            f"--lr-step-every {s.lr_step_every:g}: is for --lr-schedule step; leave one of them "
            "away"
        )
    scale = s.batch_size / s.lr_scale_batch if s.lr_scale_batch else 1.0
    every = None
    if s.lr_step_every is not None:
        every = updates_in(s.lr_step_every, images, s.batch_size)
    warmup, total = steps_of((s.warmup_epochs, s.num_epochs), images, s.batch_size)
    return Schedule(
        base=s.lr * scale,
        kind=s.lr_schedule,
        factor=s.lr_factor,
        steps=steps_of(s.lr_step_epochs, images, s.batch_size),
        every=every,
        # Only what depends on it: a longer run with steps is the same run.
        total=total if s.lr_schedule != "step" else 0,
        power=s.lr_power,
        final=s.lr_final * scale,
        warmup=warmup,
        strategy=s.warmup_strategy,
    )


def scaling_in_words(settings: FitSettings) -> List[str]:
    """What --lr-scale-batch made of --lr, for the log; nothing where it is off."""
    s = settings
    if not s.lr_scale_batch:
        return []
    rate = s.lr * s.batch_size / s.lr_scale_batch
    return [
        f"learning rate {rate:g}: --lr {s.lr:g} is for batches of {s.lr_scale_batch}, these are of "
        f"{s.batch_size}"
    ]


def fixes_the_length(settings: FitSettings) -> bool:
    """Whether every rate depends on --num-epochs, so that a resumed run may not change it."""
    return settings.lr_schedule != "step"
