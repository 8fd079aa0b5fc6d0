"""Flags of training: devices, network, how the parameters move, and the run around it."""

from dataclasses import dataclass
from typing import Optional, Tuple

from imagenet_trainer.config.data import AugmentSettings, TrainingDataSettings
from imagenet_trainer.config.flags import option
from imagenet_trainer.config.optimisation import MethodSettings, ScheduleSettings
from imagenet_trainer.config.values import (
    checkpoint,
    command,
    integer,
    integers,
    number,
    numbers,
    pattern,
    switch,
)


@dataclass(frozen=True)
class DeviceSettings:
    """Where the network runs."""

    engine: str = option(
        "auto",
        "what executes the network; auto: MXNet where it has code for the devices, else PyTorch",
        choices=("auto", "mxnet", "torch"),
        free=True,
    )

    gpus: Tuple[int, ...] = option(
        (),
        "GPUs, e.g. 0 or 0,2,5; without it the CPU",
        integers(0),
        metavar="LIST",
        free=True,
    )
    cpus: int = option(
        1,
        "data-parallel CPU contexts (without --gpus; more than one is for tests)",
        integer(1, 64),
        free=True,
    )


@dataclass(frozen=True)
class NetworkSettings:
    """Which network."""

    network: str = option("resnet", "its name, or gluoncv/NAME; a wrong one lists the others")
    num_layers: Optional[int] = option(
        None, "its depth, where the family has several (resnet: 50)", integer(1)
    )
    activation: str = option("relu", "SqueezeNet's activation function", choices=("relu", "elu"))


@dataclass(frozen=True)
class TransferSettings:
    """What is taken over from another training, and what of it stays."""

    pretrained: Optional[Tuple[str, int]] = option(
        None,
        "begin with the parameters of PREFIX-EPOCH.params and a new classifier; without --network "
        "the network is that of PREFIX-symbol.json. EPOCH may be best",
        checkpoint,
        metavar="PREFIX,EPOCH",
    )
    layer_before_fullc: str = option(
        "",
        "with --pretrained: everything behind this layer goes and a dense layer comes; without it "
        "the last layer with weights is exchanged",
        str,
        metavar="NAME",
    )
    freeze: str = option(
        "",
        "parameters whose names begin with a match of this do not move",
        pattern,
        metavar="REGEX",
    )
    pretrained_lr_factor: float = option(
        1.0,
        "multiplies the rate of the parameters that --pretrained brought",
        number(0, above=True),
    )


@dataclass(frozen=True)
class OptimizerSettings:
    """How the parameters move."""

    optimizer: str = option("sgd", "the update rule", choices=("sgd", "nag", "adam", "lbsgd"))
    lr: float = option(0.1, "learning rate; 0.1 suits ResNet at batch 256", number(0, above=True))
    lr_factor: float = option(0.1, "multiplies the rate at every step", number(0, 1, above=True))
    lr_step_epochs: Tuple[float, ...] = option(
        (30.0, 60.0), "epochs at whose start the rate drops", numbers(low=0), metavar="LIST"
    )
    warmup_epochs: float = option(
        0.0, "epochs over which the rate rises from nought, with every optimizer", number(0)
    )
    warmup_strategy: str = option(
        "linear", "the shape of that rise", choices=("linear", "power2", "sqrt")
    )
    mom: float = option(0.9, "momentum of sgd, nag and lbsgd", number(0, 1))
    wd: float = option(1e-4, "weight decay of weights and gammas", number(0))
    batch_size: int = option(
        128, "images in an update, over all devices of all workers", integer(1)
    )
    initializer: str = option(
        "default",
        "how parameters begin; default: what the network's paper or its MXNet script says",
        choices=(
            "default", "xavier", "msra", "orthogonal", "normal", "uniform", "one", "zero",
        ),
    )  # fmt: skip
    dtype: str = option(
        "float32",
        "what convolutions and dense layers compute in: float16 on GPUs, bfloat16 on CPUs that "
        "have it; parameters stay float32",
        choices=("float32", "float16", "bfloat16"),
    )
    compile: str = option(
        "auto",
        "whether PyTorch compiles the network for its devices; auto: on GPUs",
        choices=("auto", "on", "off"),
        free=True,
    )
    gc_type: str = option("none", "gradient compression between devices", choices=("none", "2bit"))
    gc_threshold: float = option(0.5, "its threshold", number(0, above=True))
    kv_store: str = option(
        "device",
        "how gradients are added up",
        choices=("local", "device", "nccl", "dist_sync", "dist_device_sync", "dist_async"),
        free=True,
    )


@dataclass(frozen=True)
class RunSettings:
    """How long, where to, and what is said on the way."""

    num_epochs: int = option(
        80,
        "passes over the training images",
        integer(1),
        free=True,
    )
    seed: int = option(0, "every random choice comes from it", integer(0, 2**63 - 1))
    model_prefix: Optional[str] = option(
        None,
        "folder and name of the run's files; by default runs/NETWORK-LAYERS/model. "
        "A run that is already there is continued",
        str,
        metavar="PREFIX",
        free=True,
    )
    load_epoch: Optional[int] = option(
        None,
        "continue from this epoch of the run instead of its newest",
        integer(0),
        free=True,
    )
    save_period: int = option(
        1,
        "epochs between numbered checkpoints",
        integer(1),
        free=True,
    )
    keep: int = option(
        0,
        "numbered checkpoints that stay: the newest so many, and the best one, which then gets a "
        "number whatever --save-period says; 0: all",
        integer(0),
        free=True,
    )
    checkpoint_minutes: float = option(
        10.0,
        "minutes between checkpoints inside an epoch; 0: none",
        number(0),
        free=True,
    )
    save_patience: float = option(
        1.0,
        "minutes for which a file that cannot be written (a full disk, a network file system that "
        "is gone) is tried again before the run stops",
        number(0),
        free=True,
    )
    on_nan: str = option(
        "stop",
        "what happens when the loss or a parameter is infinite or undefined: stop, or rollback to "
        "the newest numbered checkpoint and go on at half the rate",
        choices=("stop", "rollback"),
        free=True,
    )
    max_rollbacks: int = option(3, "so often in a run; then it stops", integer(0), free=True)
    disp_batches: int = option(
        20,
        "batches between log lines",
        integer(1),
        free=True,
    )
    top_k: int = option(
        0, "5: also log top_k_accuracy_5 of the training images", choices=(0, 5), free=True
    )
    loss: str = option(
        "",
        "also log this loss of the training images",
        choices=("", "ce"),
        free=True,
    )
    confusion_gif: bool = option(
        False,
        "1: after each epoch, draw the confusion matrix of the validation images of all epochs "
        "so far as confusion.fit.gif",
        switch,
        free=True,
    )
    find_batch: bool = option(
        False,
        "measure how large a batch the memory holds, train nothing (GPUs: --engine torch)",
        free=True,
    )
    monitor: int = option(
        0,
        "every so many batches, tell the root mean square of every tensor; 0: never",
        integer(0),
        free=True,
    )
    tensorboard: bool = option(
        True, "1: write what TensorBoard reads, into the run's folder", switch, free=True
    )
    when_done: Tuple[str, ...] = option(
        (),
        "a command to run after the run has finished or failed, not after a signal; no shell; "
        "{how}, {exit_code} and {prefix} in its words are filled in",
        command,
        metavar="CMD",
        free=True,
    )
    summary: bool = option(
        False, "print the network's layers and what they cost, without data, and end", free=True
    )


@dataclass(frozen=True)
class FitSettings(
    RunSettings, OptimizerSettings, MethodSettings, ScheduleSettings, TransferSettings,
    NetworkSettings, AugmentSettings, TrainingDataSettings, DeviceSettings,
):  # fmt: skip
    """Everything that `fit` takes."""
