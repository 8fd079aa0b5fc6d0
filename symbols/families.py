"""The registry's facts about each family, as data."""

from dataclasses import dataclass, field, replace
from typing import Any, Dict, Mapping, Optional, Tuple

Initializer = Mapping[str, Any]  # in the form of imagenet_trainer.train.initializers

# He et al. 2015 (arXiv:1502.01852, section 2.2): a variance of 2 / fan-in. MXNet's own ImageNet
# scripts start nearly every network from it.
HE_NORMAL: Initializer = {
    "name": "xavier", "rnd_type": "gaussian", "factor_type": "in", "magnitude": 2,
}  # fmt: skip
# SqueezeNet's published training (Caffe): a variance of 1 / fan-in, and a small last layer. With
# twice the variance and no BatchNorm, pixels of +-128 make the first losses 80 and the next nan.
SQUEEZENET: Initializer = {
    "name": "xavier", "rnd_type": "uniform", "factor_type": "in", "magnitude": 3,
    "except": {"conv10_weight": {"name": "normal", "sigma": 0.01}},
}  # fmt: skip
# MXNet's scripts: Xavier() for VGG, Normal() for AlexNet.
XAVIER: Initializer = {"name": "xavier"}
NORMAL: Initializer = {"name": "normal"}
# GluonCV's own ImageNet script: MSRAPrelu().
MSRA: Initializer = {"name": "msra"}
# torchvision's: a variance of 2 / fan-out, which counts all filters, also of convolutions in
# groups; small dense layers.
HE_OUT: Initializer = {
    "name": "xavier", "rnd_type": "gaussian", "factor_type": "out", "magnitude": 2,
}  # fmt: skip
SMALL_DENSE: Initializer = {"name": "normal", "sigma": 0.01}
MOBILENETV3: Initializer = {
    **HE_OUT, "except": {"fc1_weight": SMALL_DENSE, "fc2_weight": SMALL_DENSE},
}  # fmt: skip
REGNET: Initializer = {**HE_OUT, "except": {"fc1_weight": SMALL_DENSE}}
EFFICIENTNET: Initializer = {
    **HE_OUT,
    "except": {"fc1_weight": {"name": "xavier", "factor_type": "out", "magnitude": 1}},
}
CONVNEXT: Initializer = {"name": "normal", "sigma": 0.02}
# timm's, with PyTorch's own for the convolution: uniform up to 1 / sqrt(fan-in).
VIT: Initializer = {
    **CONVNEXT,
    "except": {
        "conv0_weight": {"name": "xavier", "factor_type": "in", "magnitude": 1},
        "cls_token": {"name": "normal", "sigma": 1e-6},
    },
}


@dataclass(frozen=True)
class Family:
    """What a name stands for, or a name followed by one of `depths` or `more_depths`."""

    module: str
    image_shape: Tuple[int, int, int] = (3, 224, 224)
    initializer: Initializer = field(default_factory=lambda: HE_NORMAL)
    build_options: Mapping[str, Any] = field(default_factory=dict)
    takes_activation: bool = False
    default_depth: Optional[int] = None
    depths: Tuple[int, ...] = ()
    more_depths: Tuple[int, ...] = ()  # too many to list
    depths_in_words: str = ""


_RESNET_V1 = Family("resnet_v1", default_depth=50, depths=(18, 34, 50, 101, 152))
_VGG = Family("vgg", initializer=XAVIER, default_depth=16, depths=(11, 13, 16, 19))
_BIG = (3, 299, 299)
WIDTHS = (1.0, 0.75, 0.5, 0.25)

FAMILIES: Dict[str, Family] = {
    "resnet": Family(
        "resnet",
        default_depth=50,
        depths=(18, 34, 50, 101, 152, 200, 269, 20, 32, 44, 56, 110, 164),
        more_depths=(*range(8, 164, 6), *range(164, 1002, 9)),
        depths_in_words="18, 34, 50, 101, 152, 200 and 269, and for images up to 28 pixels high "
        "6n+2 below 164 (20, 32, 44, 56, 110) or 9n+2 from there to 1001",
    ),
    "resnet-v1": replace(_RESNET_V1, build_options={"variant": "v1"}),
    "resnet-v1b": replace(_RESNET_V1, build_options={"variant": "v1b"}),
    "resnet-v1d": replace(_RESNET_V1, build_options={"variant": "v1d"}),
    "seresnet": replace(_RESNET_V1, build_options={"variant": "se"}),
    "resnext": replace(
        _RESNET_V1, build_options={"variant": "32x4d"}, depths=(50, 101)
    ),
    "resnext-64x4d": replace(
        _RESNET_V1, build_options={"variant": "64x4d"}, default_depth=101, depths=(50, 101)
    ),
    "densenet": Family("densenet", default_depth=121, depths=(121, 161, 169, 201)),
    "inception-bn": Family("inception_bn"),
    "inception-v3": Family("inception_v3", _BIG, build_options={"published": False}),
    "inception-7": Family("inception_v3", _BIG, build_options={"published": True}),
    "inception-resnet-v2": Family("inception_resnet_v2", _BIG),
    "googlenet": Family("googlenet"),
    "mobilenet": Family("mobilenet", build_options={"version": 1, "width": 1.0}),
    "mobilenetv2": Family("mobilenet", build_options={"version": 2, "width": 1.0}),
    **{
        f"mobilenet{separator}{width}": Family(
            "mobilenet", build_options={"version": version, "width": width}
        )
        for version, separator in ((1, ""), (2, "v2-"))
        for width in WIDTHS[1:]
    },
    **{
        f"mobilenetv3-{size}": Family(
            "mobilenetv3", initializer=MOBILENETV3, build_options={"size": size}
        )
        for size in ("large", "small")
    },
    **{
        f"efficientnet-{scale}": Family(
            "efficientnet", (3, side, side), EFFICIENTNET, build_options={"scale": scale}
        )
        for scale, side in (
            ("b0", 224), ("b1", 240), ("b2", 288), ("b3", 300), ("b4", 380), ("lite0", 224),
            ("lite1", 240), ("lite2", 260), ("lite3", 280), ("lite4", 300),
        )
    },
    **{
        f"convnext-{size}": Family("convnext", initializer=CONVNEXT, build_options={"size": size})
        for size in ("tiny", "small", "base")
    },
    "vit-small": Family("vit", initializer=VIT),
    **{
        f"regnet-{kind}-{size}": Family(
            "regnet", initializer=REGNET, build_options={"kind": kind, "size": size}
        )
        for kind in "xy"
        for size in ("400mf", "800mf", "1.6gf", "3.2gf", "8gf", "16gf", "32gf")
    },
    "squeezenet1.0": Family(
        "squeezenet", initializer=SQUEEZENET, build_options={"version": "1.0"},
        takes_activation=True,
    ),
    "squeezenet1.1": Family(
        "squeezenet", initializer=SQUEEZENET, build_options={"version": "1.1"},
        takes_activation=True,
    ),
    "vgg": replace(_VGG, build_options={"normalised": False}),
    "vgg-bn": replace(_VGG, build_options={"normalised": True}),
    "alexnet": Family("alexnet", initializer=NORMAL),
    "one-stage-cnn": Family("small_cnn", (3, 64, 64), build_options={"kind": "one-stage"}),
    "six-stage-cnn": Family("small_cnn", (3, 64, 64), build_options={"kind": "six-stage"}),
    "cifar-cnn": Family("small_cnn", (3, 32, 32), build_options={"kind": "cifar"}),
    "fast-cnn": Family("fast_cnn", (3, 28, 28)),
}  # fmt: skip
# Other names: the papers' names, and Gluon's full ones.
ALIASES = {
    "squeezenet": "squeezenet1.0",
    "mobilenet1.0": "mobilenet",
    "mobilenetv2-1.0": "mobilenetv2",
    "efficientnet": "efficientnet-b0",
    "efficientnet-lite": "efficientnet-lite0",
    "mobilenetv3": "mobilenetv3-large",
    "mobilenet-v3-large": "mobilenetv3-large",  # torchvision's, as the next
    "mobilenet-v3-small": "mobilenetv3-small",
    **{
        f"regnet-{kind}-{size.replace('.', '-')}": f"regnet-{kind}-{size}"  # torchvision's
        for kind in "xy"
        for size in ("1.6gf", "3.2gf")
    },
    "resnet-d": "resnet-v1d",  # timm's
    "se-resnet": "seresnet",
    "resnext-32x4d": "resnext",
    "inceptionv3": "inception-v3",
    "vit-s16": "vit-small",
}

# GluonCV's networks are not listed here: `gluoncv/NAME` takes GluonCV's own name.
GLUONCV, GLUONCV_RUN = "gluoncv/", "gluoncv-"  # the second is used in names of folders
# Image sizes that GluonCV's networks were published for, by the start of their names; else 224.
GLUONCV_SIZES = {
    "cifar_": 32, "inceptionv3": 299, "xception": 299, "nasnet": 331, "resnest101": 256,
    "resnest200": 320, "resnest269": 416,
}  # fmt: skip
