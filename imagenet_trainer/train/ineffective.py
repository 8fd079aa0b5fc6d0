"""Flags that were given, but that other flags deprive of their effect."""

from typing import Callable, List, NamedTuple, Tuple

from imagenet_trainer.config import FitSettings
from imagenet_trainer.config.flags import flag_with_value, is_set
from imagenet_trainer.engines.update_rules import WITH_MOMENTUM
from imagenet_trainer.train.schedule import CYCLES


class _Case(NamedTuple):
    fields: Tuple[str, ...]
    applies: Callable[[FitSettings], bool]
    why: str  # with the fields of the settings in braces


_CASES = (
    _Case(("lr_step_epochs", "lr_factor"), lambda s: s.lr_schedule != "step",
          "with --lr-schedule {lr_schedule}"),
    _Case(("lr_step_epochs",), lambda s: s.lr_step_every is not None,
          "with --lr-step-every {lr_step_every:g}"),
    _Case(("lr_power",), lambda s: s.lr_schedule != "poly", "without --lr-schedule poly"),
    _Case(("lr_start", "lr_peak_epoch"), lambda s: s.lr_schedule not in CYCLES,
          "with --lr-schedule {lr_schedule}"),
    _Case(("warmup_epochs",), lambda s: s.warmup_strategy == "lars",
          "with --warmup-strategy lars"),
    _Case(("warmup_strategy",), lambda s: not s.warmup_epochs and s.warmup_strategy != "lars",
          "without --warmup-epochs"),
    _Case(("mom",), lambda s: s.optimizer not in WITH_MOMENTUM, "with --optimizer {optimizer}"),
    _Case(("mixup_cutmix_switch",), lambda s: not (s.mixup and s.cutmix),
          "without both --mixup and --cutmix"),
    _Case(("rand_augment_magnitude",), lambda s: s.auto_augment != "rand",
          "without --auto-augment rand"),
    _Case(("teacher_weight",), lambda s: s.teacher is None, "without --teacher"),
    _Case(("bce_target_threshold",), lambda s: not s.bce_loss, "without --bce-loss"),
    _Case(("ema_warmup",), lambda s: not s.ema, "without --ema"),
    _Case(("random_crop",), lambda s: s.random_resized_crop,
          "with --random-resized-crop, which is on by default; 0 switches it off"),
    _Case(("min_random_area", "max_random_area", "min_random_aspect_ratio",
           "max_random_aspect_ratio"), lambda s: not s.random_resized_crop,
          "with --random-resized-crop 0"),
    _Case(("pad_size",), lambda s: not s.random_resized_crop and not s.random_crop,
          "without --random-crop 1"),
    _Case(("gc_threshold",), lambda s: s.gc_type == "none", "without --gc-type 2bit"),
    _Case(("max_rollbacks",), lambda s: s.on_nan == "stop", "without --on-nan rollback"),
)  # fmt: skip


def ineffective_flags(settings: FitSettings, engine: str) -> List[str]:
    """For the log: flags with a value other than their default that change nothing.

    `engine` is the name of the engine that trains.
    """
    messages = [
        f"{flag_with_value(settings, name)}: has no effect {case.why.format_map(vars(settings))}"
        for case in _CASES
        for name in case.fields
        if is_set(settings, name) and case.applies(settings)
    ]
    if engine == "mxnet" and settings.compile == "on":
        messages.append("--compile on: has no effect with MXNet; --engine torch has it")
    return messages
