"""Flags of optimisation: how the rate goes on, and what is done beside plain gradient descent."""

from dataclasses import dataclass
from typing import Optional, Tuple

from imagenet_trainer.config.flags import option
from imagenet_trainer.config.values import integer, number, numbers, switch


@dataclass(frozen=True)
class ScheduleSettings:
    """How the learning rate goes on behind the warm-up, and how it is looked at before."""

    lr_schedule: str = option(
        "step",
        "step: drops by --lr-factor; poly, cosine: falls to --lr-final with the last epoch",
        choices=("step", "poly", "cosine"),
    )
    lr_step_every: Optional[float] = option(
        None,
        "the rate drops at the end of every so many epochs, instead of at --lr-step-epochs",
        number(0, above=True),
        metavar="EPOCHS",
    )
    lr_power: float = option(2.0, "poly: the power", number(0, 100, above=True))
    lr_final: float = option(
        0.0, "where poly and cosine end; step goes no lower than it", number(0)
    )
    lr_scale_batch: int = option(
        0,
        "--lr is meant for batches of so many images (alone: 256): rates are multiplied by "
        "--batch-size over it (Goyal et al. 2017); 0: they are used as they are",
        integer(0),
        bare="256",
        metavar="BATCH",
    )
    show_schedule: bool = option(
        False,
        "print the learning rates and draw them to schedule.png of the run, without training; "
        "with --num-examples no data are needed",
        switch,
        free=True,
    )
    find_lr: int = option(
        0,
        "learning-rate range test (Smith 2015): train so many updates (alone: 100) at rising rates "
        "on the images and draw the loss to lr-range.png of the run; keeps no parameters",
        integer(0),
        free=True,
        bare="100",
        metavar="UPDATES",
    )
    find_lr_range: Tuple[float, ...] = option(
        (1e-5, 10.0),
        "its first and last rate",
        numbers(2, 0, above=True),
        free=True,
        metavar="LOW,HIGH",
    )


@dataclass(frozen=True)
class MethodSettings:
    """What is done beside plain gradient descent."""

    recipe: str = option(
        "",
        "a named experiment, whose flags hold unless they are given too; list: all of them",
        free=True,
        metavar="NAME",
    )
    clip_gradient: Optional[float] = option(
        None,
        "keep every element of the batch's mean gradient between -this and this",
        number(0, above=True),
    )
    label_smoothing: float = option(
        0.0,
        "share of every target that is spread evenly over all classes (Szegedy et al. 2015)",
        number(0, 0.999),
    )
    mixup: float = option(
        0.0,
        "mix neighbours of a batch, with shares of Beta(this, this) (Zhang et al. 2017; 0.2 for "
        "ImageNet); 0: do not",
        number(0, 100),
        metavar="ALPHA",
    )
    no_bias_decay: bool = option(
        False, "1: no weight decay of gammas either (of biases and betas there never is)", switch
    )
    accumulate: int = option(
        1,
        "compute a batch in so many parts, one after the other, to need less memory; BatchNorm "
        "normalises each part by itself",
        integer(1),
    )
    ema: float = option(
        0.0,
        "keep an exponential moving average of the parameters with this decay, such as 0.9999; "
        "checkpoints and validation are of it; 0: none",
        number(0, 0.9999999),
        metavar="DECAY",
    )
    zero_last_gamma: bool = option(
        False,
        "1: residual branches begin as nought: the gamma of the BatchNorm that ends one, or the "
        "weights of the convolution where, as in ResNet v2, one ends it (Goyal et al. 2017)",
        switch,
    )
