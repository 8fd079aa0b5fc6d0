"""Flags of training: devices, network, optimizer, and the run."""

from dataclasses import dataclass
from typing import Optional, Tuple

from imagenet_trainer.config.data import AugmentSettings, TrainingDataSettings
from imagenet_trainer.config.flags import option
from imagenet_trainer.config.optimisation import MethodSettings, ScheduleSettings
from imagenet_trainer.config.values import (
    KVSTORES,
    OPTIMIZERS,
    checkpoint,
    command,
    integer,
    integers,
    kvstore,
    losses,
    number,
    numbers,
    optimizer,
    pattern,
    strings,
    subset,
    switch,
    top_k,
)


@dataclass(frozen=True)
class DeviceSettings:
    """Devices, and the engine that drives them."""

    engine: str = option(
        "auto",
        "library that executes the network; auto: that of a resumed run; else MXNet if it supports "
        "the devices, unless doctor --measure found PyTorch faster; else PyTorch",
        choices=("auto", "mxnet", "torch"),
        may_change=True,
        plugins="engines",
    )
    gpus: Tuple[int, ...] = option(
        (),
        "GPUs to use, such as 0 or 0,2,5; by default the CPU",
        integers(0),
        metavar="LIST",
        may_change=True,
    )
    cpus: int = option(
        1,
        "data-parallel CPU contexts without --gpus; more than one is for tests",
        integer(1, 64),
        may_change=True,
    )
    compile: str = option(
        "auto",
        "whether PyTorch compiles the network; auto: on GPUs, except to classify files",
        choices=("auto", "on", "off"),
        may_change=True,
    )


@dataclass(frozen=True)
class NetworkSettings:
    """The network."""

    network: str = option(
        "resnet",
        "name of the network, gluoncv/NAME, or a file of your own: a .py with get_symbol, which is "
        "run, or MXNet's NAME-symbol.json; list prints all names",
        metavar="NAME",
        plugins="networks",
    )
    num_layers: Optional[int] = option(
        None, "depth, for families with several (resnet: 50)", integer(1)
    )
    activation: str = option("relu", "activation function of SqueezeNet", choices=("relu", "elu"))
    blur_pool: bool = option(
        False,
        "1: blur the inputs of strided convolutions of 16 channels or more, and of DenseNet's "
        "average poolings (Zhang 2019)",
        switch,
    )
    stochastic_depth: float = option(
        0.0,
        "probability of dropping the last residual branch in training; it falls linearly to the "
        "first one (Huang et al. 2016)",
        number(0, 1, below=True),
    )


@dataclass(frozen=True)
class TransferSettings:
    """Transfer learning: what is reused from another training, and which of it stays fixed."""

    pretrained: Optional[Tuple[str, int]] = option(
        None,
        "start from the parameters of PREFIX-EPOCH.params with a new classifier; without --network "
        "use the network of PREFIX-symbol.json. EPOCH may be best",
        checkpoint,
        metavar="PREFIX,EPOCH",
    )
    layer_before_fullc: str = option(
        "",
        "with --pretrained: replace everything after this layer by a dense layer; by default "
        "replace the last layer with weights",
        str,
        metavar="NAME",
    )
    freeze: str = option(
        "",
        "do not train parameters whose names match this at their start",
        pattern,
        metavar="REGEX",
    )
    pretrained_lr_factor: float = option(
        1.0, "factor of the learning rate for parameters from --pretrained", number(0, above=True)
    )


@dataclass(frozen=True)
class OptimizerSettings:
    """Optimizer, arithmetic, and the exchange of gradients."""

    optimizer: str = option(
        "sgd",
        "update rule; those of MXNet's optimizers of the same names",
        optimizer,
        choices=OPTIMIZERS,
    )
    lr: float = option(
        0.1, "learning rate; 0.1 suits ResNet with batches of 256", number(0, above=True)
    )
    lr_factor: float = option(
        0.1, "factor of the learning rate at each step", number(0, 1, above=True)
    )
    lr_step_epochs: Tuple[float, ...] = option(
        (30.0, 60.0),
        "epochs at whose start the learning rate is multiplied by --lr-factor",
        numbers(low=0),
        metavar="LIST",
    )
    warmup_epochs: float = option(
        0.0, "epochs over which the learning rate rises from zero", number(0)
    )
    warmup_strategy: str = option(
        "linear",
        "shape of the warm-up; lars: none, with the layer-wise rates that lbsgd always has",
        choices=("linear", "power2", "sqrt", "lars"),
    )
    mom: float = option(
        0.9, "momentum of sgd, nag, lbsgd, signum, rmsproptf, rmsproptorch", number(0, 1)
    )
    wd: float = option(1e-4, "weight decay of weights and gammas", number(0))
    batch_size: int = option(128, "images per update, over all devices of all workers", integer(1))
    initializer: str = option(
        "default",
        "initial parameters; default: as in the network's paper or its MXNet script",
        choices=(
            "default", "xavier", "msra", "orthogonal", "normal", "uniform", "one", "zero",
        ),
    )  # fmt: skip
    dtype: str = option(
        "float32",
        "type of convolutions and dense layers: float16 on GPUs, bfloat16 on CPUs with "
        "instructions for it, all on recent GPUs with PyTorch; tf32: float32 whose products have "
        "10 bits of precision; parameters stay float32",
        choices=("float32", "tf32", "float16", "bfloat16"),
    )
    deterministic: bool = option(
        False,
        "1: only algorithms that repeat a training bit for bit on the same kind of GPU (PyTorch; "
        "on CPUs all are), which may be slower",
        switch,
        may_change=True,
    )
    gc_type: str = option("none", "gradient compression between devices", choices=("none", "2bit"))
    gc_threshold: float = option(
        0.5, "threshold of the gradient compression", number(0, above=True)
    )
    kv_store: str = option(
        "device",
        f"how gradients are summed over devices and workers: {', '.join(KVSTORES)}",
        kvstore,
        metavar="KIND",
        may_change=True,
    )


@dataclass(frozen=True)
class RunSettings:
    """Length of the run, files, logging, and previews that replace the training."""

    num_epochs: int = option(
        80,
        "number of epochs: passes over the training images",
        integer(1, 1_000_000),
        may_change=True,
    )
    seed: int = option(0, "seed of all random numbers", integer(0, 2**63 - 1))
    seeds: int = option(
        1,
        "train N runs with the seeds from --seed on, in seed-SEED/ of the run's folder, and report "
        "mean and deviation of their scores",
        integer(1, 1000),
        may_change=True,
    )
    model_prefix: Optional[str] = option(
        None,
        "prefix of the run's files; by default runs/NETWORK-LAYERS/model. An existing run is "
        "continued",
        str,
        metavar="PREFIX",
        may_change=True,
    )
    load_epoch: Optional[int] = option(
        None,
        "continue from this epoch of the run instead of its newest",
        integer(0),
        may_change=True,
    )
    save_period: int = option(1, "epochs between numbered checkpoints", integer(1), may_change=True)
    keep: int = option(
        0,
        "keep only the N newest numbered checkpoints and the best one, which is then numbered "
        "regardless of --save-period; 0: keep all",
        integer(0),
        may_change=True,
    )
    patience: int = option(
        0,
        "stop after N epochs in a row without a better one, by the accuracy on the images of "
        "--minival, or without the flag on the validation images; 0: never",
        integer(0),
        may_change=True,
    )
    checkpoint_minutes: float = option(
        10.0, "minutes between checkpoints within an epoch; 0: none", number(0), may_change=True
    )
    save_patience: float = option(
        1.0,
        "minutes of retries when a file cannot be written (full disk, lost network file system) "
        "before the run stops",
        number(0),
        may_change=True,
    )
    on_nan: str = option(
        "stop",
        "reaction to a loss or a parameter that is infinite or NaN; rollback: continue from the "
        "newest numbered checkpoint at half the learning rate",
        choices=("stop", "rollback"),
        may_change=True,
    )
    max_rollbacks: int = option(
        3, "rollbacks after which the run stops", integer(0), may_change=True
    )
    disp_batches: int = option(20, "batches between two log lines", integer(1), may_change=True)
    top_k: int = option(
        0,
        "also log the top-K accuracy of the training images, such as 5 (top_k_accuracy_5); 0: do "
        "not",
        top_k,
        metavar="K",
        may_change=True,
    )
    loss: Tuple[str, ...] = option(
        (),
        "also log these losses of the training images; ce: cross-entropy, nll: the same as "
        "nll-loss",
        losses,
        metavar="LIST",
        may_change=True,
    )
    confusion_gif: bool = option(
        False,
        "1: after each epoch, draw the validation confusion matrix of all epochs so far to "
        "confusion.fit.gif",
        switch,
        may_change=True,
    )
    find_batch: bool = option(
        False,
        "measure the largest batch that fits into memory, without training (GPUs: --engine torch)",
        may_change=True,
    )
    monitor: int = option(
        0,
        "log the root mean square of every tensor, every N batches; 0: never",
        integer(0),
        may_change=True,
    )
    tensorboard: bool = option(
        True, "1: write TensorBoard event files to the run's folder", switch, may_change=True
    )
    track: Tuple[str, ...] = option(
        (),
        "also record the scalars of TensorBoard by these services, whose own variables (WANDB_..., "
        "MLFLOW_...) apply; tensorboard: as --tensorboard 1. A failure of one stops no training",
        subset("tensorboard", "wandb", "mlflow"),
        metavar="LIST",
        may_change=True,
    )
    parquet: bool = option(
        False, "1: also write history.csv as history.parquet (needs pyarrow)", switch,
        may_change=True,
    )  # fmt: skip
    json: bool = option(
        False,
        "print each event of the run on standard output, as a line of JSON as in events.jsonl",
        may_change=True,
    )
    observers: Tuple[str, ...] = option(
        (),
        "plug-ins that get the events of the run, as events.jsonl does",
        strings,
        metavar="NAME,NAME",
        may_change=True,
        plugins="observers",
    )
    when_done: Tuple[str, ...] = option(
        (),
        "command to run after the run finished or failed, but not after a signal. It runs "
        "without a shell; {how}, {exit_code} and {prefix} in its arguments are replaced",
        command,
        metavar="CMD",
        may_change=True,
    )
    show_config: bool = option(
        False,
        "print every flag with its value and where it is from, as a file for --config, and exit",
        may_change=True,
    )
    summary: bool = option(
        False,
        "print the layers of the network and their cost, without data, and exit",
        may_change=True,
    )


@dataclass(frozen=True)
class FitSettings(
    RunSettings, OptimizerSettings, MethodSettings, ScheduleSettings, TransferSettings,
    NetworkSettings, AugmentSettings, TrainingDataSettings, DeviceSettings,
):  # fmt: skip
    """Everything that `fit` takes."""
