"""Flags of optimisation: the learning-rate schedule, and methods beyond plain gradient descent."""

from dataclasses import dataclass
from typing import Optional, Tuple

from imagenet_trainer.config.flags import option
from imagenet_trainer.config.values import checkpoint, integer, number, numbers, switch


@dataclass(frozen=True)
class ScheduleSettings:
    """The learning rate after the warm-up, and its previews."""

    lr_schedule: str = option(
        "step",
        "step: multiplied by --lr-factor at each step; poly, cosine: decays to --lr-final at the "
        "end of the last epoch; triangle, one-cycle: rises from --lr-start to --lr at "
        "--lr-peak-epoch first, on a line or a cosine, and falls the same way",
        choices=("step", "poly", "cosine", "triangle", "one-cycle"),
    )
    lr_step_every: Optional[float] = option(
        None,
        "step the learning rate after every EPOCHS epochs, instead of at --lr-step-epochs",
        number(0, above=True),
        metavar="EPOCHS",
    )
    lr_power: float = option(2.0, "exponent of --lr-schedule poly", number(0, 100, above=True))
    lr_start: Optional[float] = option(
        None, "first learning rate of triangle and one-cycle; by default --lr / 25", number(0)
    )
    lr_peak_epoch: Optional[float] = option(
        None,
        "epoch at which triangle and one-cycle reach --lr; by default 0.3 of --num-epochs",
        number(0),
        metavar="EPOCH",
    )
    lr_final: float = option(
        0.0, "final learning rate of all schedules but step, and lower bound of step", number(0)
    )
    lr_scale_batch: int = option(
        0,
        "batch size for which --lr is meant (without a value: 256): the learning rate is "
        "multiplied by --batch-size / BATCH (Goyal et al. 2017); 0: no scaling",
        integer(0),
        const="256",
        metavar="BATCH",
    )
    show_schedule: bool = option(
        False,
        "print the learning rates and plot them to schedule.png of the run, without training; "
        "with --num-examples it needs no data",
        switch,
        may_change=True,
    )
    find_lr: int = option(
        0,
        "learning-rate range test (Smith 2015): train for UPDATES updates (without a value: 100) "
        "at increasing learning rates and plot the loss to lr-range.png of the run; saves no "
        "parameters",
        integer(0),
        may_change=True,
        const="100",
        metavar="UPDATES",
    )
    find_lr_range: Tuple[float, ...] = option(
        (1e-5, 10.0),
        "first and last learning rate of --find-lr",
        numbers(2, 0, above=True),
        may_change=True,
        metavar="LOW,HIGH",
    )


@dataclass(frozen=True)
class MixSettings:
    """How pairs of images are mixed."""

    mixup: float = option(
        0.0,
        "mix each image with its neighbour in the batch, with weights from Beta(ALPHA, ALPHA) "
        "(Zhang et al. 2017; 0.2 for ImageNet); 0: off",
        number(0, 100),
        metavar="ALPHA",
    )
    cutmix: float = option(
        0.0,
        "replace a rectangle of each image by its neighbour's; the area it leaves is from "
        "Beta(ALPHA, ALPHA) (Yun et al. 2019; 1 for ImageNet); 0: off",
        number(0, 100),
        metavar="ALPHA",
    )
    mixup_cutmix_switch: float = option(
        0.5,
        "with --mixup and --cutmix: the probability that an image is cut instead of blended",
        number(0, 1),
    )


@dataclass(frozen=True)
class MethodSettings(MixSettings):
    """Methods beyond plain gradient descent."""

    config: str = option(
        "",
        "YAML or JSON file of flags, such as config.json of a run; the command line overrides it",
        may_change=True,
        metavar="FILE",
    )
    set: Tuple[str, ...] = option(
        (),
        "values as in a file of --config, which they override, for programs that write NAME=VALUE; "
        "null: as if the file did not have the name",
        lambda text: (text,),
        may_change=True,
        metavar="NAME=VALUE",
        nargs="+",
    )
    recipe: str = option(
        "",
        "flags of a named experiment, which flags on the command line override; list: print all",
        may_change=True,
        metavar="NAME",
    )
    clip_gradient: Optional[float] = option(
        None, "clip every element of the batch's mean gradient to -N ... N", number(0, above=True)
    )
    clip_gradient_norm: Optional[float] = option(
        None,
        "scale the batch's mean gradient of all parameters down to this L2 norm where it is larger "
        "(Pascanu et al. 2013)",
        number(0, above=True),
        metavar="NORM",
    )
    label_smoothing: float = option(
        0.0,
        "fraction of each target spread evenly over all classes (Szegedy et al. 2015)",
        number(0, 1, below=True),
    )
    teacher: Optional[Tuple[str, int]] = option(
        None,
        "knowledge distillation (Hinton et al. 2015): a trained network of the same classes, "
        "PREFIX-EPOCH.params, whose predictions for each augmented image are a part of its target. "
        "EPOCH may be best",
        checkpoint,
        metavar="PREFIX,EPOCH",
    )
    teacher_weight: float = option(
        0.5, "share of the teacher in each target, with --teacher", number(0, 1, above=True)
    )
    class_weights: str = option(
        "",
        "weights of the classes in the loss; inverse: one over their numbers of images; sqrt: one "
        "over its square root; else a CSV file with a line CLASS,WEIGHT for each class. Scaled so "
        "that their mean over the training images is 1",
        metavar="HOW",
    )
    bce_loss: bool = option(
        False,
        "1: the loss is the mean binary cross-entropy of all classes instead of the cross-entropy "
        "of the softmax (Wightman et al. 2021)",
        switch,
    )
    bce_target_threshold: float = option(
        0.0,
        "with --bce-loss: targets above this become 1, the others 0, as both labels of a mixed "
        "image (0.2 in Wightman et al. 2021); 0: targets stay",
        number(0, 1, below=True),
    )
    no_bias_decay: bool = option(
        False, "1: no weight decay of gammas (biases and betas never have any)", switch
    )
    accumulate: int = option(
        1,
        "compute each batch in N parts, one after the other, to save memory; BatchNorm normalises "
        "each part separately",
        integer(1),
    )
    sync_batch_norm: bool = option(
        False,
        "1: BatchNorm normalises over the images of all of PyTorch's processes, instead of each "
        "process's own (Peng et al. 2017)",
        switch,
    )
    checkpoint_activations: bool = option(
        False,
        "1: PyTorch computes activations again in the backward pass instead of keeping them (Chen "
        "et al. 2016): larger batches fit, an update takes longer",
        switch,
        may_change=True,
    )
    ema: float = option(
        0.0,
        "keep an exponential moving average of the parameters with this decay, such as 0.9999; "
        "checkpoints and validation use the average; 0: off",
        number(0, 1, below=True),
        metavar="DECAY",
    )
    ema_warmup: bool = option(
        False,
        "1: with --ema, update t uses the decay (1 + t) / (10 + t) while that is smaller, so that "
        "the first parameters are forgotten early (as in TensorFlow)",
        switch,
    )
    zero_last_gamma: bool = option(
        False,
        "1: initialise residual branches to zero: the gamma of the BatchNorm at their end, or the "
        "weights of the convolution if they end with one, as in ResNet v2 (Goyal et al. 2017)",
        switch,
    )
