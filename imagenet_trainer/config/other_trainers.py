"""Flags of other trainers, and what to use here instead.

The names are those of timm's `train.py` (1.0) and of torchvision's `references/classification`
(0.20), and others that users try. A way out is one of our flags, or a sentence about `fit`.
"""

from typing import Collection, Dict, Mapping

_DEVICE = "--gpus 0 trains on the first GPU; without it the CPU trains"
_DISTRIBUTED = "torchrun or tools/launch.py starts the workers and sets their environment"
_NONE = "nothing here does that"
_NETWORK = "the network's file in symbols/ decides it"
_RUN = "the same command, run again, continues the run of --model-prefix"

_TIMM: Mapping[str, str] = {
    "-c": "--recipe",
    "--config": "--recipe",
    "--data-dir": "--data-train",
    "--dataset": "--data-train",
    "--train-split": "--data-train",
    "--val-split": "--data-val",
    "--dataset-download": f"{_NONE}: tools/imagenet.py packs ImageNet",
    "--class-map": "the order of the classes is in the shard; tools/im2rec.py decides it",
    "--train-num-samples": "--train-fraction",
    "--val-num-samples": f"{_NONE}: all are validated",
    "--model": "--network",
    "--pretrained-path": "--pretrained",
    "--initial-checkpoint": "--pretrained",
    "--resume": _RUN,
    "--no-resume-opt": "--pretrained",
    "--gp": _NETWORK,
    "--img-size": "--image-shape",
    "--input-size": "--image-shape",
    "--in-chans": "--image-shape 3,H,W: images are read as RGB",
    "--crop-pct": "--val-resize",
    "--mean": "--rgb-mean R,G,B is on the scale 0-255",
    "--std": "--rgb-std R,G,B is on the scale 0-255",
    "--interpolation": "--train-interp; validation is bilinear, or averages areas",
    "--train-interpolation": "--train-interp",
    "-vb": "validation uses --batch-size",
    "--validation-batch-size": "validation uses --batch-size",
    "--channels-last": f"{_NONE}: PyTorch always trains in channels_last",
    "--grad-accum-steps": "--accumulate",
    "--grad-checkpointing": "--checkpoint-activations",
    "--torchcompile": "--compile",
    "--torchscript": "--compile",
    "--torchcompile-mode": "--compile",
    "--fuser": "--compile",
    "--device": _DEVICE,
    "--local-rank": _DISTRIBUTED,
    "--local_rank": _DISTRIBUTED,
    "--amp": "--dtype",
    "--amp-dtype": "--dtype",
    "--amp-impl": "--dtype",
    "--model-dtype": "--dtype",
    "--opt": "--optimizer",
    "--opt-eps": f"{_NONE}: MXNet's defaults, docs/methods.md",
    "--opt-betas": f"{_NONE}: MXNet's defaults, docs/methods.md",
    "--momentum": "--mom",
    "--weight-decay": "--wd",
    "--clip-grad": "--clip-gradient-norm",
    "--clip-mode": "--clip-gradient-norm is timm's norm, --clip-gradient its value",
    "--layer-decay": "--pretrained-lr-factor has one factor for all pretrained layers",
    "--sched": "--lr-schedule",
    "--sched-on-updates": "--lr-schedule always follows updates",
    "--lr-base": "--lr together with --lr-scale-batch",
    "--lr-base-size": "--lr-scale-batch",
    "--lr-base-scale": "--lr-scale-batch is linear",
    "--lr-noise": _NONE,
    "--lr-cycle-mul": f"{_NONE}: cosine has one cycle",
    "--lr-cycle-decay": f"{_NONE}: cosine has one cycle",
    "--lr-cycle-limit": f"{_NONE}: cosine has one cycle",
    "--lr-k-decay": "--lr-power",
    "--warmup-lr": "--warmup-epochs begins at zero",
    "--min-lr": "--lr-final",
    "--epochs": "--num-epochs",
    "--epoch-repeats": "--num-epochs",
    "--start-epoch": "--load-epoch",
    "--decay-milestones": "--lr-step-epochs",
    "--decay-epochs": "--lr-step-every",
    "--decay-rate": "--lr-factor",
    "--warmup-prefix": "--warmup-epochs are part of --num-epochs",
    "--cooldown-epochs": "--lr-final is the lowest rate",
    "--patience-epochs": _NONE,
    "--no-aug": "--random-resized-crop 0 and --random-mirror 0",
    "--scale": "--min-random-area and --max-random-area",
    "--ratio": "--min-random-aspect-ratio and --max-random-aspect-ratio",
    "--hflip": "--random-mirror",
    "--vflip": f"{_NONE}: --random-mirror flips left to right",
    "--color-jitter": "--brightness, --contrast and --saturation",
    "--train-crop-mode": "--random-crop or --random-resized-crop",
    "--grayscale-prob": "--auto-augment three",
    "--gaussian-blur-prob": "--auto-augment three",
    "--three-augment": "--auto-augment three is 3-Augment without its colour jitter",
    "--aa": "--auto-augment",
    "--aug-repeats": _NONE,
    "--aug-splits": _NONE,
    "--jsd-loss": _NONE,
    "--bce-loss": f"{_NONE}: the loss is the cross-entropy of a softmax",
    "--reprob": "--random-erasing",
    "--remode": "--random-erasing fills with --fill-value",
    "--mixup-switch-prob": "--mixup-cutmix-switch",
    "--mixup-prob": "--mixup mixes every batch",
    "--mixup-mode": "--mixup mixes every image by its own share",
    "--mixup-off-epoch": _NONE,
    "--smoothing": "--label-smoothing",
    "--drop": _NETWORK,
    "--drop-path": _NETWORK,
    "--bn-momentum": _NETWORK,
    "--bn-eps": _NETWORK,
    "--sync-bn": "--sync-batch-norm",
    "--dist-bn": "statistics are averaged after every epoch, without a flag",
    "--model-ema": "--ema",
    "--model-ema-decay": "--ema",
    "--model-ema-warmup": "--ema-warmup",
    "--log-interval": "--disp-batches",
    "--recovery-interval": "--checkpoint-minutes",
    "--checkpoint-hist": "--keep",
    "-j": "--data-nthreads",
    "--workers": "--data-nthreads",
    "--pin-mem": f"{_NONE}: memory for GPUs is always pinned",
    "--no-prefetcher": "--decode says where images are decoded",
    "--output": "--model-prefix",
    "--experiment": "--model-prefix",
    "--eval-metric": "the best checkpoint is that with the highest rank-1 accuracy",
    "--tta": "evaluate has --flip and --crops 10",
    "--save-images": "--test-io, or imagenet_trainer.explore.augmentation",
    "--log-wandb": "--tensorboard",
    "--worker-seeding": "--seed",
    "-b": "--batch-size",
}

_TORCHVISION: Mapping[str, str] = {
    "--data-path": "--data-train",
    "--lr-scheduler": "--lr-schedule",
    "--lr-gamma": "--lr-factor",
    "--lr-step-size": "--lr-step-every",
    "--lr-min": "--lr-final",
    "--lr-warmup-epochs": "--warmup-epochs",
    "--lr-warmup-method": "--warmup-strategy",
    "--lr-warmup-decay": "--warmup-epochs begins at zero",
    "--norm-weight-decay": "--no-bias-decay",
    "--bias-weight-decay": f"{_NONE}: biases never decay",
    "--mixup-alpha": "--mixup",
    "--cutmix-alpha": "--cutmix",
    "--print-freq": "--disp-batches",
    "--output-dir": "--model-prefix",
    "--cache-dataset": f"{_NONE}: the system caches shards",
    "--test-only": "python -m imagenet_trainer.evaluate validates a trained network",
    "--ra-magnitude": "--rand-augment-magnitude",
    "--random-erase": "--random-erasing",
    "--world-size": _DISTRIBUTED,
    "--dist-url": _DISTRIBUTED,
    "--dist-backend": _DISTRIBUTED,
    "--use-deterministic-algorithms": "--deterministic",
    "--val-resize-size": "--val-resize",
    "--val-crop-size": "--image-shape",
    "--train-crop-size": "--image-shape",
    "--clip-grad-norm": "--clip-gradient-norm",
    "--ra-sampler": _NONE,
    "--model-ema-steps": "--ema follows every update",
    "--weights": "--pretrained",
    "--backend": "--engine",
    "--use-v2": _NONE,
}

_OTHERS: Mapping[str, str] = {
    "--arch": "--network",
    "-a": "--network",
    "--learning-rate": "--lr",
    "--gpu": "--gpus",
    "--rank": _DISTRIBUTED,
    "--evaluate": "python -m imagenet_trainer.evaluate validates a trained network",
    "--macrobatch-size": "--batch-size is that of all workers; --accumulate saves memory",
    "--num-workers": "--data-nthreads",
    "--lr-decay": "--lr-factor",
    "--max-crop-size": "--max-random-area",
    "--min-crop-size": "--min-random-area",
    "--checkpoint": "--model-prefix",
    "--topk": "--top-k",
    "--fp16": "--dtype",
    "--bf16": "--dtype",
}

_EVERYWHERE = {"--version": "pip show imagenet-trainer prints it"}
# Of commands that use a trained network.
_OF_TRAINED: Mapping[str, str] = {
    "--model": "--model-prefix",
    "--checkpoint": "--model-prefix",
    "--resume": "--model-prefix",
    "--data-dir": "--data-val",
    "--data-path": "--data-val",
    "--img-size": "--image-shape",
    "--device": "--gpus",
    "--mean": "--rgb-mean",
    "--std": "--rgb-std",
    "--tta": "--flip",
    "--start-epoch": "--epochs",
    "--epochs": "--epoch",
}

WAYS_OUT: Dict[str, str] = {**_OTHERS, **_TORCHVISION, **_TIMM}
"""By flag; a value without spaces is our flag."""


def way_out(flag: str, ours: Collection[str]) -> str:
    """What to use instead of another trainer's flag in a command with the flags `ours`, or ""."""
    if flag in _EVERYWHERE:
        return _EVERYWHERE[flag]
    for table in (WAYS_OUT, _OF_TRAINED):
        found = table.get(flag, "")
        if found in ours:
            return f"did you mean {found}?"
        if " " in found and "--network" in ours:  # the command is fit
            return found
    return ""
