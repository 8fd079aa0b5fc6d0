"""Inception-ResNet v2.

Christian Szegedy, Sergey Ioffe, Vincent Vanhoucke, Alexander A. Alemi: "Inception-v4,
Inception-ResNet and the Impact of Residual Connections on Learning", arXiv:1602.07261, 2016.

Gluon has no such network. Layers, filters and names follow the authors' TensorFlow network
(`inception_resnet_v2` of TF-Slim), which timm copies: 55,843,464 learned parameters at 1,000
classes. Different from the paper, as there:
- the first layers are those of Inception v3 and a block of 320 channels, not figure 3;
- the 1x1 convolutions that scale a residual up have a bias and no BatchNorm;
- residuals are scaled by 0.17, 0.1 and 0.2; the last unit of all has neither scale nor relu.
Different from both: no auxiliary classifier, and BatchNorms learn their gamma, as timm's do.
"""

import functools
from typing import Any, Tuple

from imagenet_trainer.graph import sym
from imagenet_trainer.symbols.layers import (
    check_size,
    classifier,
    conv_bn_act,
    convolution,
    max_pool,
    mean_of_planes,
    relu,
    scaled,
)

layer = functools.partial(conv_bn_act, eps=1e-3)
# Units of each kind, and what their residuals are multiplied by.
UNITS_35, SCALE_35 = 10, 0.17
UNITS_17, SCALE_17 = 20, 0.10
UNITS_8, SCALE_8 = 9, 0.20  # and one more at the end


def get_symbol(num_classes: int, image_shape: Tuple[int, ...]) -> sym.Symbol:
    """(batch, *image_shape) to (batch, num_classes); shapes are for 299 pixels."""
    check_size(image_shape, 75, "Inception-ResNet v2")
    x = sym.var("data")  # 3, 299, 299
    x = layer(x, "conv2d_1a", 32, 3, stride=2, pad=0)  # 32, 149, 149
    x = layer(x, "conv2d_2a", 32, 3, pad=0)  # 32, 147, 147
    x = layer(x, "conv2d_2b", 64, 3)  # 64, 147, 147
    x = max_pool(x, "maxpool_3a", 3, 2)  # 64, 73, 73
    x = layer(x, "conv2d_3b", 80, 1)  # 80, 73, 73
    x = layer(x, "conv2d_4a", 192, 3, pad=0)  # 192, 71, 71
    x = max_pool(x, "maxpool_5a", 3, 2)  # 192, 35, 35

    x = concat(
        "mixed_5b",
        tower(x, "mixed_5b_branch0", (96, 1)),
        tower(x, "mixed_5b_branch1", (48, 1), (64, 5)),
        tower(x, "mixed_5b_branch2", (64, 1), (96, 3), (96, 3)),
        tower(_mean_pool(x, "mixed_5b_pool"), "mixed_5b_branch3", (64, 1)),
    )  # 320, 35, 35
    for unit in range(1, UNITS_35 + 1):
        x = unit_35(x, f"block35_{unit}")  # 320, 35, 35
    inner = tower(x, "mixed_6a_branch1", (256, 1), (256, 3))
    x = concat(
        "mixed_6a",
        layer(x, "mixed_6a_branch0", 384, 3, stride=2, pad=0),
        layer(inner, "mixed_6a_branch1_conv2", 384, 3, stride=2, pad=0),
        max_pool(x, "mixed_6a_pool", 3, 2),
    )  # 1088, 17, 17
    for unit in range(1, UNITS_17 + 1):
        x = unit_17(x, f"block17_{unit}")  # 1088, 17, 17
    left = tower(x, "mixed_7a_branch0", (256, 1))
    middle = tower(x, "mixed_7a_branch1", (256, 1))
    right = tower(x, "mixed_7a_branch2", (256, 1), (288, 3))
    x = concat(
        "mixed_7a",
        layer(left, "mixed_7a_branch0_conv1", 384, 3, stride=2, pad=0),
        layer(middle, "mixed_7a_branch1_conv1", 288, 3, stride=2, pad=0),
        layer(right, "mixed_7a_branch2_conv2", 320, 3, stride=2, pad=0),
        max_pool(x, "mixed_7a_pool", 3, 2),
    )  # 2080, 8, 8
    for unit in range(1, UNITS_8 + 1):
        x = unit_8(x, f"block8_{unit}", SCALE_8)  # 2080, 8, 8
    x = unit_8(x, f"block8_{UNITS_8 + 1}", 1.0)  # 2080, 8, 8
    x = layer(x, "conv2d_7b", 1536, 1)  # 1536, 8, 8

    x = mean_of_planes(x, "global_pool")  # 1536
    x = sym.Dropout(x, p=0.2, name="drop")  # section 4: 0.8 are kept
    return classifier(x, num_classes)  # num_classes


def unit_35(x: sym.Symbol, name: str) -> sym.Symbol:
    """Figure 16: (320, h, w)."""
    mixed = concat(
        name,
        tower(x, f"{name}_branch0", (32, 1)),
        tower(x, f"{name}_branch1", (32, 1), (32, 3)),
        tower(x, f"{name}_branch2", (32, 1), (48, 3), (64, 3)),
    )  # 128, h, w
    return residual(x, mixed, name, 320, SCALE_35)


def unit_17(x: sym.Symbol, name: str) -> sym.Symbol:
    """Figure 17: (1088, h, w)."""
    mixed = concat(
        name,
        tower(x, f"{name}_branch0", (192, 1)),
        tower(x, f"{name}_branch1", (128, 1), (160, (1, 7)), (192, (7, 1))),
    )  # 384, h, w
    return residual(x, mixed, name, 1088, SCALE_17)


def unit_8(x: sym.Symbol, name: str, scale: float) -> sym.Symbol:
    """Figure 19: (2080, h, w); at scale 1 without relu."""
    mixed = concat(
        name,
        tower(x, f"{name}_branch0", (192, 1)),
        tower(x, f"{name}_branch1", (192, 1), (224, (1, 3)), (256, (3, 1))),
    )  # 448, h, w
    return residual(x, mixed, name, 2080, scale)


def residual(
    x: sym.Symbol, mixed: sym.Symbol, name: str, channels: int, scale: float
) -> sym.Symbol:
    """Section 3.3: x + scale * up(mixed), then relu unless the scale is 1."""
    up = convolution(mixed, f"{name}_up", channels, 1, bias=True)
    if scale == 1:
        return sym.elemwise_add(x, up, name=f"{name}_plus")
    up = scaled(up, scale, f"{name}_scaled")
    return relu(sym.elemwise_add(x, up, name=f"{name}_plus"), f"{name}_relu")


def tower(x: sym.Symbol, name: str, *layers: Tuple[int, Any]) -> sym.Symbol:
    """Layers (filters, kernel) in sequence: NAME_conv0, NAME_conv1; a single one is NAME."""
    for number, (filters, kernel) in enumerate(layers):
        x = layer(x, name if len(layers) == 1 else f"{name}_conv{number}", filters, kernel)
    return x


def concat(name: str, *towers: sym.Symbol) -> sym.Symbol:
    """The channels of all towers."""
    return sym.Concat(*towers, dim=1, name=f"{name}_concat")


def _mean_pool(x: sym.Symbol, name: str) -> sym.Symbol:
    """3x3; at the edges the mean of what is there, as TensorFlow's pooling gives."""
    return sym.Pooling(
        x, kernel=(3, 3), stride=(1, 1), pad=(1, 1), pool_type="avg", count_include_pad=False,
        name=name,
    )  # fmt: skip
