"""Named experiments: flags, hardware, duration, and the accuracy to expect.

`fit --recipe NAME` inserts a recipe's flags before those of the command line, which therefore
override them. Durations and accuracies are those of the named sources, except those of
Fashion-MNIST, which were measured here. docs/recipes.md is the output of this module:

    python -m imagenet_trainer.config.recipes > docs/recipes.md
"""

import difflib
import shlex
import textwrap
from dataclasses import dataclass
from typing import List, Optional, Sequence, Tuple

from imagenet_trainer.config.flags import texts_of
from imagenet_trainer.errors import InputError

_MXNET_WEIGHTS = "MXNet's published weights, docs/networks.md"
_HE_2016 = "He et al. 2016, arXiv:1603.05027"
_TRICKS = "He et al. 2018, arXiv:1812.01187"
_NO_SCORE = "none published for these flags"


@dataclass(frozen=True)
class Recipe:
    """One experiment. Its texts name their sources."""

    name: str
    about: str
    paper: str
    flags: str  # of fit
    hardware: str
    hours: str
    score: str  # ImageNet top-1 / top-5 in %, single centre crop, unless stated otherwise

    @property
    def arguments(self) -> List[str]:
        """The flags as arguments of a command line."""
        return shlex.split(self.flags)

    @property
    def command(self) -> str:
        """The same command without --recipe."""
        return f"python -m imagenet_trainer.fit {self.flags}"


def _squeezenet(version: str, score: str) -> Recipe:
    return Recipe(
        name=f"squeezenet{version}" if version != "1.0" else "squeezenet",
        about=f"SqueezeNet {version}, with a low learning rate: at 0.04 or 0.1 it diverges",
        paper="Iandola et al. 2016, arXiv:1602.07360",
        flags=f"--network squeezenet{version} --batch-size 128 --num-epochs 80 --lr 0.01 "
        "--lr-step-epochs 50,65,75 --lr-factor 0.1 --wd 2e-4",
        hardware="1 GPU",
        hours="37 on a V100 (28 minutes per epoch), 187 on a K80 (140 minutes)"
        if version == "1.0"
        else "unknown; 2.4 times fewer operations than 1.0",
        score=f"{score} (torchvision's own training)",
    )


def _steps(depth: int, score: str, hours: str) -> Recipe:
    return Recipe(
        name=f"resnet{depth}-90",
        about=f"ResNet-v2 {depth}, the usual 90 epochs with three steps",
        paper=f"{_HE_2016}; schedule: Goyal et al. 2017, arXiv:1706.02677",
        flags=f"--network resnet --num-layers {depth} --batch-size 256 --num-epochs 90 --lr 0.1 "
        "--lr-scale-batch 256 --lr-step-epochs 30,60,80 --lr-factor 0.1 --wd 1e-4",
        hardware="4 to 8 GPUs",
        hours=hours,
        score=f"{score} ({_MXNET_WEIGHTS}; their training is not documented)",
    )


def _cosine(depth: int, score: str, hours: str, hardware: str) -> Recipe:
    return Recipe(
        name=f"resnet{depth}-120",
        about=f"ResNet-v2 {depth} as trained by GluonCV: large batch, warm-up, cosine schedule",
        paper=_TRICKS,
        flags=f"--network resnet --num-layers {depth} --batch-size 1024 --num-epochs 120 --lr 0.4 "
        "--lr-schedule cosine --warmup-epochs 5 --wd 1e-4 --optimizer nag "
        "--use-imagenet-data-augmentation 1",
        hardware=hardware,
        hours=hours,
        score=f"{score} (GluonCV, docs/networks.md)",
    )


def _cifar(depth: int, score: str) -> Recipe:
    return Recipe(
        name=f"resnet{depth}-cifar10",
        about=f"ResNet-v2 {depth} on CIFAR-10 as in MXNet's train_cifar10.py, crops of 28 pixels",
        paper=_HE_2016,
        flags=f"--network resnet --num-layers {depth} --image-shape 3,28,28 --pad-size 4 "
        "--random-resized-crop 0 --random-crop 1 --max-random-h 36 --max-random-s 50 "
        "--max-random-l 50 --batch-size 128 --num-epochs 300 --lr 0.05 --lr-step-epochs 200,250",
        hardware="1 GPU",
        hours="unknown",
        score=score,
    )


def _fashion(
    name: str, about: str, epochs: int, peak: int, flags: str, hours: str, score: str
) -> Recipe:
    return Recipe(
        name=f"fashion-mnist-{name}",
        about=f"fast-cnn on Fashion-MNIST, {about}",
        paper="data: Xiao, Rasul and Vollgraf 2017, arXiv:1708.07747; network after Jordan 2024, "
        "arXiv:2404.00498; schedule: Leclerc et al. 2023, arXiv:2306.12517",
        flags=f"--network fast-cnn --image-shape 3,28,28 --engine torch --dtype bfloat16 {flags} "
        f"--num-epochs {epochs} --optimizer nag --lr-schedule triangle --lr-peak-epoch {peak} "
        "--wd 5e-4 --label-smoothing 0.1 --random-resized-crop 0 --random-crop 1 --pad-size 2 "
        "--fill-value 0 --rgb-mean 72.94,72.94,72.94 --rgb-std 90.02,90.02,90.02",
        hardware="1 core of an AMD EPYC (Zen 4) with bfloat16, OMP_NUM_THREADS=1",
        hours=hours,
        score=score,
    )


_TORCHVISION_COLOURS = "--rgb-mean 123.675,116.28,103.53 --rgb-std 58.395,57.12,57.375"


def _ffcv(depth: int, epochs: int, ramp: int, minutes: float, score: str) -> Recipe:
    """A configuration of libffcv/ffcv-imagenet, rn18_configs or rn50_configs.

    Its images have 160 pixels, and 192 from epoch `ramp` on: it rounds what lies between to the
    nearest multiple of 32.
    """
    small = depth == 18
    batch, rate, decay = (1024, "0.5", "5e-5") if small else (4096, "1.7", "1e-4")
    return Recipe(
        name=f"resnet{depth}-{epochs}",
        about=f"ResNet-v1b {depth} in {epochs} epochs as trained by FFCV: small images, BlurPool, "
        "a triangle of rates",
        paper="Leclerc et al. 2023, FFCV, arXiv:2306.12517; "
        f"github.com/libffcv/ffcv-imagenet, rn{depth}_configs/rn{depth}_{epochs}_epochs.yaml",
        flags=f"--network resnet-v1b --num-layers {depth} --batch-size {batch} "
        f"--num-epochs {epochs} --lr {rate} --lr-schedule triangle --lr-start {rate}e-4 "
        f"--lr-peak-epoch 2 --wd {decay} --no-bias-decay 1 --label-smoothing 0.1 --blur-pool 1 "
        f"--image-shape 3,256,256 --image-size-schedule 0:160,{ramp}:192 {_TORCHVISION_COLOURS}",
        hardware="1 A100" if small else "8 A100",
        hours=f"{minutes / 60:.2g} ({minutes:g} minutes, in float16 with FFCV's loader)",
        score=f"{score} (ffcv-imagenet's README; averaged over the mirrored image too: evaluate "
        "--flip 1)",
    )


_ALL = (
    _squeezenet("1.0", "58.09 / 80.42"),
    _squeezenet("1.1", "58.18 / 80.62"),
    Recipe(
        name="resnet18-30",
        about="ResNet-v2 18 in 30 epochs; the learning rate falls by 6 % after each",
        paper=_HE_2016,
        flags="--network resnet --num-layers 18 --batch-size 256 --num-epochs 30 --lr 0.1 "
        "--lr-factor 0.94 --lr-step-every 1 --wd 1e-4",
        hardware="4 K80",
        hours="72",
        score=f"{_NO_SCORE}; 69.52 / 89.08 ({_MXNET_WEIGHTS})",
    ),
    _steps(18, "69.52 / 89.08", "216 on 4 K80, three times resnet18-30"),
    _steps(34, "72.80 / 91.14", "unknown"),
    _steps(
        50,
        "75.61 / 92.76",
        "88 on 1 V100, from 364 images/s in float32; 653 on 1 K80, from 49 images/s",
    ),
    _steps(101, "77.32 / 93.42", "unknown"),
    _steps(152, "77.75 / 93.58", "unknown"),
    _steps(200, "77.86 / 93.84", "unknown"),
    _cosine(18, "71.00 / 89.92", "16 (482 s per epoch, GluonCV's log)", "4 GPUs"),
    _cosine(34, "74.40 / 92.08", "unknown", "4 GPUs"),
    _cosine(50, "77.11 / 93.43", "16 (472 s per epoch, GluonCV's log)", "8 GPUs"),
    _cosine(101, "78.53 / 94.17", "unknown", "8 GPUs"),
    _cosine(152, "79.21 / 94.31", "unknown", "unknown"),
    Recipe(
        name="resnet50-mixup",
        about="ResNet-v2 50 with all refinements of the bag of tricks that keep the architecture",
        paper=f"{_TRICKS}; mixup: Zhang et al. 2017, arXiv:1710.09412",
        flags="--network resnet --num-layers 50 --batch-size 1024 --num-epochs 200 --lr 0.4 "
        "--lr-schedule cosine --warmup-epochs 5 --wd 1e-4 --optimizer nag --no-bias-decay 1 "
        "--zero-last-gamma 1 --label-smoothing 0.1 --mixup 0.2 --use-imagenet-data-augmentation 1",
        hardware="8 GPUs",
        hours="26 (472 s per epoch, GluonCV's log of resnet50-120)",
        score=f"{_NO_SCORE}; ResNet-50-D: 79.15 / 94.58 ({_TRICKS}, table 6)",
    ),
    _ffcv(18, 16, 12, 35.0, "66.9 / 86.8"),
    _ffcv(18, 40, 32, 85.5, "70.6 / 89.4"),
    _ffcv(18, 88, 71, 187.3, "72.4 / 90.3"),
    _ffcv(50, 16, 12, 14.9, "73.8 / 90.8"),
    _ffcv(50, 40, 32, 35.6, "77.2 / 93.2"),
    _ffcv(50, 88, 71, 77.2, "78.4 / 94.1"),
    Recipe(
        name="resnet50-a3",
        about="ResNet-v1b 50 by procedure A3 of timm: LAMB, binary cross-entropy, 100 epochs of "
        "images of 160 pixels",
        paper="Wightman, Touvron and Jegou 2021, ResNet strikes back, arXiv:2110.00476, table 2",
        flags="--network resnet-v1b --num-layers 50 --batch-size 2048 --num-epochs 100 "
        "--optimizer lamb --lr 0.008 --lr-schedule cosine --warmup-epochs 5 --wd 0.02 "
        "--no-bias-decay 1 --bce-loss 1 --bce-target-threshold 0.2 --mixup 0.1 --cutmix 1 "
        "--auto-augment rand --rand-augment-magnitude 6 --train-interp bicubic "
        "--image-size-schedule 0:160 --val-resize 236 --val-interp pil-bicubic "
        f"{_TORCHVISION_COLOURS}",
        hardware="4 V100",
        hours="15, in the paper",
        score="78.1 top-1 (the paper; there RandAugment's strength varies by 0.5)",
    ),
    Recipe(
        name="resnet50-tv2",
        about="ResNet-v1b 50 as trained for torchvision's second weights, 600 epochs",
        paper="Vryniotis 2021, How to Train State-Of-The-Art Models Using TorchVision's Latest "
        "Primitives, pytorch.org/blog; TrivialAugment: arXiv:2103.10158",
        flags="--network resnet-v1b --num-layers 50 --batch-size 1024 --num-epochs 600 --lr 0.5 "
        "--lr-schedule cosine --warmup-epochs 5 --wd 2e-5 --no-bias-decay 1 "
        "--label-smoothing 0.1 --mixup 0.2 --cutmix 1 --auto-augment trivial "
        "--random-erasing 0.1 --repeated-augmentation 4 --ema 0.99997 "
        "--image-size-schedule 0:176 --val-resize 232 --val-interp pil-bilinear "
        f"{_TORCHVISION_COLOURS}",
        hardware="8 GPUs",
        hours="unknown",
        score="80.858 / 95.434 (torchvision's weights IMAGENET1K_V2; there the average follows "
        "every 32nd update, with a decay of the same half-life)",
    ),
    Recipe(
        name="mobilenetv3-large",
        about="MobileNetV3-Large as trained for torchvision's first weights, 600 epochs",
        paper="Howard et al. 2019, arXiv:1905.02244; flags: torchvision's "
        "references/classification/README.md",
        flags="--network mobilenetv3-large --batch-size 1024 --num-epochs 600 "
        "--optimizer rmsproptorch --mom 0.9 --lr 0.064 --lr-step-every 2 --lr-factor 0.973 "
        "--wd 1e-5 --auto-augment rand --random-erasing 0.2 "
        f"--val-interp pil-bilinear {_TORCHVISION_COLOURS}",
        hardware="8 V100",
        hours="unknown",
        score="74.042 / 91.340 (torchvision's weights IMAGENET1K_V1; there AutoAugment's policy "
        "for ImageNet instead of RandAugment, and the average of the last three checkpoints that "
        "improved)",
    ),
    Recipe(
        name="efficientnet-b0",
        about="EfficientNet-B0 as trained for timm with RandAugment, 450 epochs",
        paper="Tan and Le 2019, arXiv:1905.11946; flags: timm's training examples, by Klachko",
        flags="--network efficientnet-b0 --batch-size 768 --num-epochs 450 "
        "--optimizer rmsproptf --mom 0.9 --lr 0.048 --lr-step-every 2.4 --lr-factor 0.97 "
        "--warmup-epochs 3 --wd 1e-5 --no-bias-decay 1 --stochastic-depth 0.2 "
        "--auto-augment rand --rand-augment-magnitude 9 --random-erasing 0.2 --ema 0.9999 "
        "--train-interp bicubic --val-interp pil-bicubic "
        f"{_TORCHVISION_COLOURS}",
        hardware="2 GPUs in float16",
        hours="unknown",
        score="77.7 / 95.3 (timm; there RandAugment's strength varies by 0.5, and random pixels "
        "fill the erased rectangles)",
    ),
    Recipe(
        name="resnet50-8k",
        about="ResNet-v2 50 in batches of 8,192 with a scaled learning rate",
        paper="Goyal et al. 2017, arXiv:1706.02677",
        flags="--network resnet --num-layers 50 --batch-size 8192 --num-epochs 90 --lr 0.1 "
        "--lr-scale-batch 256 --lr-step-epochs 30,60,80 --warmup-epochs 5 --wd 1e-4 "
        "--no-bias-decay 1 --zero-last-gamma 1",
        hardware="256 P100",
        hours="1, in the paper",
        score=f"{_NO_SCORE}; ResNet-v1 50: 76.26 top-1 in the paper",
    ),
    _cifar(20, "none published for v2; v1: 91.25 top-1 at 32 pixels (arXiv:1512.03385, table 6)"),
    _cifar(110, "93.63 top-1 at 32 pixels (arXiv:1603.05027, table 2)"),
    _cifar(164, "94.54 top-1 at 32 pixels (arXiv:1603.05027, table 2)"),
    _fashion(
        "94", "94 %", 26, 5, "--batch-size 256 --lr 0.2 --random-erasing 0.1",
        "0.48 (29 minutes of the core, with validation)",
        "94.15, 94.37, 94.25 top-1 of Fashion-MNIST's 10,000 test images after the last epoch "
        "(seeds 0, 1, 2)",
    ),
    _fashion(
        "fast", "92 % in a few minutes", 6, 1, "--batch-size 128 --lr 0.1",
        "0.11 (6.4 minutes of the core, with validation)",
        "92.08, 92.21, 92.38 top-1 of Fashion-MNIST's 10,000 test images after the last epoch "
        "(seeds 0, 1, 2)",
    ),
)  # fmt: skip
RECIPES = {recipe.name: recipe for recipe in _ALL}


def chosen(argv: Sequence[str]) -> Optional[Recipe]:
    """The recipe that a command line of fit names, if any.

    Raises InputError for an unknown name, with the closest and all known ones.
    """
    *_, name = ["", *texts_of("recipe", argv)]  # the last one counts, as for argparse
    if name in ("", "list"):
        return None
    if name not in RECIPES:
        near = difflib.get_close_matches(name, RECIPES, 1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise InputError(f"--recipe {name}: no such recipe; {hint}known: {', '.join(RECIPES)}")
    return RECIPES[name]


def listing() -> str:
    """All recipes for a terminal."""
    lines: List[str] = []
    for recipe in _ALL:
        lines += [recipe.name, f"    {recipe.about}", f"    {recipe.flags}"]
        lines += [f"    {label}: {text}" for label, text in _facts(recipe)] + [""]
    return "\n".join([*lines, "Flags on the command line override those of the recipe."])


_INTRODUCTION = """\
# Recipes

A recipe is a named set of flags from a publication. `python -m imagenet_trainer.fit --recipe NAME`
trains with it; `--recipe list` prints all. Flags on the command line override those of the recipe:
`--recipe resnet50-90 --gpus 0,1,2,3 --wd 5e-5`. `config.json` of the run records the result. Add
`--show-schedule` to plot the learning rates ([schedules](schedules.md)).

Only the recipes of Fashion-MNIST have been run in this project, which had neither ImageNet nor a
GPU that MXNet supports. Hours and accuracies of the others are those of the named sources; hours
that were computed from a throughput say so. Accuracies are ImageNet's top-1 / top-5 in %, for a
single centre crop, unless stated otherwise. The flags suit the named hardware; with
`--lr-scale-batch` the learning rate follows `--batch-size`.

This page is the output of `python -m imagenet_trainer.config.recipes`."""


def markdown() -> str:
    """docs/recipes.md."""
    lines = [
        *_INTRODUCTION.splitlines(),
        "",
        "| recipe | training | expected accuracy |",
        "|---|---|---|",
        *(f"| [{one.name}](#{_anchor(one.name)}) | {one.about} | {one.score} |" for one in _ALL),
        "",
    ]
    for one in _ALL:
        lines += [
            f"## {one.name}",
            "",
            f"{one.about}.",
            "",
            "```",
            " \\\n    ".join(textwrap.wrap(one.command, 110, break_on_hyphens=False)),
            "```",
            "",
        ]
        lines += [f"- {label}: {text}" for label, text in _facts(one)] + [""]
    return "\n".join(lines).rstrip() + "\n"


def _facts(recipe: Recipe) -> Tuple[Tuple[str, str], ...]:
    return (
        ("paper", recipe.paper),
        ("hardware", recipe.hardware),
        ("hours", recipe.hours),
        ("accuracy", recipe.score),
    )


def _anchor(name: str) -> str:
    return name.replace(".", "")


if __name__ == "__main__":
    print(markdown(), end="")
