"""From flags to the learning-rate schedule of a run."""

from typing import List

from imagenet_trainer.config import FitSettings
from imagenet_trainer.errors import InputError
from imagenet_trainer.train.schedule import CYCLES, Schedule, steps_of, updates_in

# Of triangle and one-cycle; the defaults of PyTorch's OneCycleLR (div_factor, pct_start).
_FULL_BY_START = 25
_PEAK_SHARE = 0.3


def schedule_of(settings: FitSettings, images: int) -> Schedule:
    """The schedule of a run on the given number of training images.

    Raises InputError for flags that exclude each other.
    """
    s = settings
    if s.lr_final > s.lr:
        raise InputError(
            f"--lr-final {s.lr_final:g}: is above --lr {s.lr:g}, the highest rate; use a value "
            "up to that"
        )
    if s.lr_schedule in CYCLES:
        _check_cycle(s)
    if s.lr_schedule != "step" and s.warmup_epochs >= s.num_epochs:
        raise InputError(
            f"--warmup-epochs {s.warmup_epochs:g}: leaves none of --num-epochs {s.num_epochs} "
            f"for --lr-schedule {s.lr_schedule}; use fewer"
        )
    if s.lr_schedule != "step" and s.lr_step_every is not None:
        raise InputError(
            f"--lr-step-every {s.lr_step_every:g}: works with --lr-schedule step only; omit one "
            "of the two flags"
        )
    has_warmup = s.warmup_strategy != "lars"
    if not has_warmup and s.optimizer != "lbsgd":
        raise InputError(
            f"--warmup-strategy lars: is the rule of --optimizer lbsgd, but --optimizer is "
            f"{s.optimizer}; use lbsgd, or linear, power2 or sqrt"
        )
    scale = s.batch_size / s.lr_scale_batch if s.lr_scale_batch else 1.0
    every = None
    if s.lr_step_every is not None:
        every = updates_in(s.lr_step_every, images, s.batch_size)
    warmup, total, peak = steps_of(
        (s.warmup_epochs, s.num_epochs, _peak_epoch(s)), images, s.batch_size
    )
    start = s.lr / _FULL_BY_START if s.lr_start is None else s.lr_start
    return Schedule(
        base=s.lr * scale,
        kind=s.lr_schedule,
        factor=s.lr_factor,
        steps=steps_of(s.lr_step_epochs, images, s.batch_size),
        every=every,
        # Not with steps: there a longer run has the same schedule.
        total=total if s.lr_schedule != "step" else 0,
        power=s.lr_power,
        final=s.lr_final * scale,
        warmup=warmup if has_warmup else 0,
        strategy=s.warmup_strategy if has_warmup else "linear",
        start=start * scale if s.lr_schedule in CYCLES else 0.0,
        peak=peak if s.lr_schedule in CYCLES else 0,
    )


def _check_cycle(s: FitSettings) -> None:
    """InputError for flags that a schedule which rises and falls again cannot have."""
    if s.warmup_epochs:
        raise InputError(
            f"--warmup-epochs {s.warmup_epochs:g}: --lr-schedule {s.lr_schedule} rises by itself, "
            "until --lr-peak-epoch; omit the warm-up"
        )
    if _peak_epoch(s) >= s.num_epochs:
        raise InputError(
            f"--lr-peak-epoch {_peak_epoch(s):g}: leaves none of --num-epochs {s.num_epochs} for "
            "the fall; use less"
        )
    if s.lr_start is not None and s.lr_start > s.lr:
        raise InputError(
            f"--lr-start {s.lr_start:g}: is above --lr {s.lr:g}, the highest rate; use a value up "
            "to that"
        )


def _peak_epoch(s: FitSettings) -> float:
    return round(s.num_epochs * _PEAK_SHARE, 9) if s.lr_peak_epoch is None else s.lr_peak_epoch


def rate_messages(settings: FitSettings) -> List[str]:
    """For the log: the learning rate that --lr-scale-batch sets, or that there is none."""
    s = settings
    if s.optimizer == "adadelta":
        return ["--optimizer adadelta: has no learning rate; --lr and its schedule have no effect"]
    if not s.lr_scale_batch:
        return []
    rate = s.lr * s.batch_size / s.lr_scale_batch
    return [
        f"learning rate {rate:g}: --lr {s.lr:g} is for batches of {s.lr_scale_batch}, and "
        f"--batch-size is {s.batch_size}"
    ]


def depends_on_num_epochs(settings: FitSettings) -> bool:
    """Whether every rate depends on --num-epochs, so that a resumed run cannot change it."""
    return settings.lr_schedule != "step"
