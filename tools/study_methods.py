"""The methods that tools/methods_study.py compares: a baseline, and what each of them changes.

All train the same small ResNet on Fashion-MNIST. A method is the baseline with other flags of
`fit`; one that needs another baseline says against which row it is compared.
"""

from dataclasses import dataclass
from typing import Tuple

EPOCHS = 3
# 78,000 parameters, 10 million multiply-adds: it has the residual branches, strided convolutions
# and BatchNorms that some methods are about.
BASELINE = (
    "--network resnet --num-layers 8 --image-shape 3,28,28 --batch-size 128 --optimizer nag "
    "--lr 0.1 --lr-schedule cosine --warmup-epochs 0.25 --wd 5e-4 --random-resized-crop 0 "
    "--random-crop 1 --pad-size 2 --fill-value 0 --rgb-mean 72.94,72.94,72.94 "
    "--rgb-std 90.02,90.02,90.02 --engine torch --dtype bfloat16"
)
TEACHER = "--network resnet --num-layers 20"
_CROPS = "--random-resized-crop 1 --min-random-area 0.5"
# Of the class with label c, 6,000 / 100^(c / 9) images: 14,891, so about four times the epochs
# make as many updates.
IMBALANCE = 100
_RARE = "--num-epochs 12"


@dataclass(frozen=True)
class Method:
    """A row of the study."""

    name: str
    flags: str  # of fit, after those of the baseline
    against: str = "baseline"
    imbalanced: bool = False  # trains on the subset with rare classes
    taught: bool = False  # needs the teacher
    is_teacher: bool = False


def _rare(name: str, flags: str) -> Method:
    against = "rare classes: baseline"
    return Method(f"rare classes: {name}", f"{_RARE} {flags}", against, imbalanced=True)


# The most informative ones first: an interrupted study has finished these.
METHODS: Tuple[Method, ...] = (
    Method("baseline", ""),
    Method("--label-smoothing 0.1", "--label-smoothing 0.1"),
    Method("--ema 0.99 --ema-warmup 1", "--ema 0.99 --ema-warmup 1"),
    Method("--cutmix 1", "--cutmix 1"),
    Method("--auto-augment trivial", "--auto-augment trivial"),
    Method("--zero-last-gamma 1", "--zero-last-gamma 1"),
    Method("--blur-pool 1", "--blur-pool 1"),
    Method("--lr-schedule triangle", "--warmup-epochs 0 --lr-schedule triangle"),
    Method("--random-erasing 0.25", "--random-erasing 0.25"),
    Method("--mixup 0.2", "--mixup 0.2"),
    Method("--no-bias-decay 1", "--no-bias-decay 1"),
    Method("--optimizer adamw", "--optimizer adamw --lr 0.004 --wd 0.05"),
    Method("--lr-schedule one-cycle", "--warmup-epochs 0 --lr-schedule one-cycle"),
    Method("--stochastic-depth 0.1", "--stochastic-depth 0.1"),
    Method("--auto-augment rand", "--auto-augment rand"),
    Method("--auto-augment three", "--auto-augment three"),
    Method("--repeated-augmentation 2", "--repeated-augmentation 2"),
    Method("--clip-gradient-norm 1", "--clip-gradient-norm 1"),
    # The gradient of this loss is smaller by the number of classes.
    Method("--bce-loss 1", "--bce-loss 1 --lr 1 --wd 5e-5"),
    Method("--image-size-schedule 0:20,1:24,2:28", "--image-size-schedule 0:20,1:24,2:28"),
    Method("teacher: ResNet-20", TEACHER, is_teacher=True),
    Method("--teacher ResNet-20", "", taught=True),
    Method("--random-resized-crop 1", _CROPS),
    Method("... --train-interp bicubic", f"{_CROPS} --train-interp bicubic",
           against="--random-resized-crop 1"),
    Method("... --train-interp area", f"{_CROPS} --train-interp area",
           against="--random-resized-crop 1"),
    Method("rare classes: baseline", _RARE, "rare classes: baseline", imbalanced=True),
    _rare("--sample-weights inverse", "--sample-weights inverse"),
    _rare("--sample-weights sqrt", "--sample-weights sqrt"),
    _rare("--class-weights inverse", "--class-weights inverse"),
    Method("--mixup 0.2 --cutmix 1", "--mixup 0.2 --cutmix 1"),
    Method("--optimizer lamb", "--optimizer lamb --lr 0.01 --wd 0.02"),
    Method("--optimizer lion", "--optimizer lion --lr 5e-4 --wd 0.2"),
)  # fmt: skip
