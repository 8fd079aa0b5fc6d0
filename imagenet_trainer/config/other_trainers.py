"""Flags of other trainers, and what to use here instead.

The names are those of timm's `train.py` (1.0) and of torchvision's `references/classification`
(0.20), and others that users try.
"""

from typing import Collection, Dict, Mapping

_NONE = "nothing here does that"

# Our flag: those of the other trainers.
_OURS: Mapping[str, str] = {
    "--engine": "--backend",
    "--gpus": "--gpu",
    "--compile": "--torchcompile --torchscript --torchcompile-mode --fuser",
    "--data-val": "--val-split",
    "--image-shape": "--val-crop-size --train-crop-size --img-size --input-size",
    "--val-resize": "--val-resize-size --crop-pct",
    "--data-nthreads": "--num-workers -j --workers",
    "--data-train": "--data-path --data-dir --dataset --train-split",
    "--repeated-augmentation": "--ra-reps --aug-repeats",
    "--train-fraction": "--train-num-samples",
    "--min-random-area": "--min-crop-size",
    "--max-random-area": "--max-crop-size",
    "--random-mirror": "--hflip",
    "--auto-augment": "--aa",
    "--rand-augment-magnitude": "--ra-magnitude",
    "--random-erasing": "--random-erase --reprob",
    "--train-interp": "--train-interpolation",
    "--network": "--arch -a --model",
    "--stochastic-depth": "--drop-path --drop-connect",
    "--pretrained": "--weights --pretrained-path --initial-checkpoint --no-resume-opt",
    "--lr-schedule": "--lr-scheduler --sched",
    "--lr-step-every": "--lr-step-size --decay-epochs",
    "--lr-power": "--lr-k-decay",
    "--lr-final": "--lr-min --min-lr",
    "--lr-scale-batch": "--lr-base-size",
    "--mixup": "--mixup-alpha",
    "--cutmix": "--cutmix-alpha --cutmix-minmax",
    "--mixup-cutmix-switch": "--mixup-switch-prob",
    "--config": "-c",
    "--clip-gradient-norm": "--clip-grad-norm --clip-grad",
    "--label-smoothing": "--smoothing",
    "--bce-target-threshold": "--bce-target-thresh",
    "--no-bias-decay": "--norm-weight-decay",
    "--accumulate": "--grad-accum-steps",
    "--sync-batch-norm": "--sync-bn",
    "--checkpoint-activations": "--grad-checkpointing",
    "--ema": "--model-ema --model-ema-decay --model-ema-force-cpu",
    "--ema-warmup": "--model-ema-warmup",
    "--optimizer": "--opt",
    "--lr": "--learning-rate",
    "--lr-factor": "--lr-decay --lr-gamma --decay-rate --dr",
    "--lr-step-epochs": "--decay-milestones",
    "--warmup-epochs": "--lr-warmup-epochs",
    "--warmup-strategy": "--lr-warmup-method",
    "--mom": "--momentum",
    "--wd": "--weight-decay",
    "--batch-size": "-b",
    "--initializer": "--head-init-scale --head-init-bias",
    "--dtype": "--fp16 --bf16 --amp --amp-dtype --amp-impl --apex-amp --native-amp --model-dtype",
    "--deterministic": "--use-deterministic-algorithms",
    "--num-epochs": "--epochs --epoch-repeats",
    "--seed": "--worker-seeding",
    "--model-prefix": "--checkpoint --output-dir --output --experiment",
    "--load-epoch": "--start-epoch",
    "--keep": "--checkpoint-hist",
    "--checkpoint-minutes": "--recovery-interval",
    "--disp-batches": "--print-freq --log-interval",
    "--top-k": "--topk",
}

# What to do instead, in a sentence about `fit`: flags of the other trainers.
_SENTENCES: Mapping[str, str] = {
    f"{_NONE}: biases never decay": "--bias-weight-decay",
    f"{_NONE}: the networks have no embeddings": "--transformer-embedding-decay",
    f"{_NONE}: the system caches shards": "--cache-dataset",
    _NONE: (
        "--augmix-severity --use-v2 --fast-norm --lr-noise --lr-noise-pct --lr-noise-std "
        "--patience-epochs --aug-splits --jsd-loss --resplit --mixup-off-epoch --split-bn"
    ),
    f"{_NONE}: tools/imagenet.py packs ImageNet": "--dataset-download",
    f"{_NONE}: all are validated": "--val-num-samples",
    f"{_NONE}: PyTorch always trains in channels_last": "--channels-last",
    f"{_NONE}: MXNet's defaults, docs/methods.md": "--opt-eps --opt-betas --opt-kwargs",
    f"{_NONE}: cosine has one cycle": "--lr-cycle-mul --lr-cycle-decay --lr-cycle-limit",
    f"{_NONE}: --random-mirror flips left to right": "--vflip",
    f"{_NONE}: --random-erasing erases one part": "--recount",
    f"{_NONE}: memory for GPUs is always pinned": "--pin-mem",
    f"{_NONE}: threads go on over the ends of epochs": "--use-multi-epochs-loader",
    f"{_NONE}: the host waits only to check the loss": "--synchronize-step",
    "torchrun or tools/launch.py starts the workers and sets their environment": (
        "--rank --world-size --dist-url --dist-backend --local-rank --local_rank"
    ),
    "python -m imagenet_trainer.evaluate validates a trained network": "--evaluate --test-only",
    "--batch-size is that of all workers; --accumulate saves memory": "--macrobatch-size",
    "--warmup-epochs begins at zero": "--lr-warmup-decay --warmup-lr",
    "--repeated-augmentation 3 is torchvision's; without it 1": "--ra-sampler",
    "--ema follows every update": "--model-ema-steps",
    "the order of the classes is in the shard; tools/im2rec.py decides it": "--class-map",
    "the same command, run again, continues the run of --model-prefix": "--resume",
    "the network's file in symbols/ decides it": (
        "--gp --model-kwargs --drop --drop-block --bn-momentum --bn-eps"
    ),
    "--image-shape 3,H,W: images are read as RGB": "--in-chans",
    "--rgb-mean R,G,B is on the scale 0-255": "--mean",
    "--rgb-std R,G,B is on the scale 0-255": "--std",
    "--train-interp and --val-interp": "--interpolation",
    "validation uses --batch-size": "-vb --validation-batch-size",
    "--gpus 0 trains on the first GPU; without it the CPU trains": "--device",
    "--clip-gradient-norm is timm's norm, --clip-gradient its value": "--clip-mode",
    "--pretrained-lr-factor has one factor for all pretrained layers": "--layer-decay",
    "--lr-schedule always follows updates": "--sched-on-updates",
    "--lr together with --lr-scale-batch": "--lr-base",
    "--lr-scale-batch is linear": "--lr-base-scale",
    "--warmup-epochs are part of --num-epochs": "--warmup-prefix",
    "--lr-final is the lowest rate": "--cooldown-epochs",
    "--random-resized-crop 0 and --random-mirror 0": "--no-aug",
    "--min-random-area and --max-random-area": "--scale",
    "--min-random-aspect-ratio and --max-random-aspect-ratio": "--ratio",
    "--brightness, --contrast and --saturation": "--color-jitter",
    "--random-crop or --random-resized-crop": "--train-crop-mode",
    "--track wandb": "--log-wandb",
    "--auto-augment three": "--grayscale-prob --gaussian-blur-prob",
    "--auto-augment three is 3-Augment without its colour jitter": "--three-augment",
    "--random-erasing fills with --fill-value": "--remode",
    "--mixup mixes every batch": "--mixup-prob",
    "--mixup mixes every image by its own share": "--mixup-mode",
    "statistics are averaged after every epoch, without a flag": "--dist-bn --no-ddp-bb",
    "--decode says where images are decoded": "--no-prefetcher",
    "the best checkpoint is that with the highest rank-1 accuracy": "--eval-metric",
    "evaluate has --flip and --crops 10": "--tta",
    "--test-io, or imagenet_trainer.explore.augmentation": "--save-images",
}

# Our flag in commands that use a trained network: those of the other trainers.
_OF_TRAINED: Mapping[str, str] = {
    "--model-prefix": "--model --checkpoint --resume",
    "--data-val": "--data-dir --data-path",
    "--image-shape": "--img-size",
    "--gpus": "--device",
    "--rgb-mean": "--mean",
    "--rgb-std": "--std",
    "--flip": "--tta",
    "--epochs": "--start-epoch",
    "--epoch": "--epochs",
}


def _by_flag(table: Mapping[str, str]) -> Dict[str, str]:
    return {flag: answer for answer, flags in table.items() for flag in flags.split()}


WAYS_OUT: Dict[str, str] = {**_by_flag(_OURS), **_by_flag(_SENTENCES)}
"""By flag; a value without spaces is our flag."""
_WAYS_OUT_OF_TRAINED = _by_flag(_OF_TRAINED)


def way_out(flag: str, ours: Collection[str]) -> str:
    """What to use instead of another trainer's flag in a command with the flags `ours`, or ""."""
    for table in (WAYS_OUT, _WAYS_OUT_OF_TRAINED):
        found = table.get(flag, "")
        if found in ours:
            return f"did you mean {found}?"
        if " " in found and "--network" in ours:  # the command is fit
            return found
    return ""
