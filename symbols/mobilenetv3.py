"""MobileNet v3, large and small.

Andrew Howard, Mark Sandler, Grace Chu, Liang-Chieh Chen, Bo Chen, Mingxing Tan, Weijun Wang,
Yukun Zhu, Ruoming Pang, Vijay Vasudevan, Quoc V. Le, Hartwig Adam: "Searching for MobileNetV3",
arXiv:1905.02244, 2019 (tables 1 and 2).

It computes the same as torchvision's. Learned parameters at 1,000 classes: large 5,483,032, small
2,542,856 (the paper: 5.4 and 2.5 million).

Different from the paper, as there: the layer after the global mean is a dense layer, and the
squeezed channels are a quarter of the expanded ones, rounded to multiples of eight.
"""

import functools
from typing import Tuple

from imagenet_trainer.graph import sym
from imagenet_trainer.symbols.layers import (
    activation,
    batch_norm,
    classifier,
    conv_bn_act,
    convolution,
    dense,
    mean_of_planes,
    rounded,
    squeeze_excitation,
)

EPS, MOMENTUM = 1e-3, 0.99  # of BatchNorms: the paper's (section 6.1.1)
layer = functools.partial(conv_bn_act, eps=EPS, momentum=MOMENTUM)
RE, HS = "relu", "hard_swish"
Block = Tuple[int, int, int, bool, str, int]
# Kernel, expanded channels, channels, squeeze and excitation, activation, stride.
LARGE: Tuple[Block, ...] = (
    (3, 16, 16, False, RE, 1),    #  16, 112, 112
    (3, 64, 24, False, RE, 2),    #  24, 56, 56
    (3, 72, 24, False, RE, 1),
    (5, 72, 40, True, RE, 2),     #  40, 28, 28
    (5, 120, 40, True, RE, 1),
    (5, 120, 40, True, RE, 1),
    (3, 240, 80, False, HS, 2),   #  80, 14, 14
    (3, 200, 80, False, HS, 1),
    (3, 184, 80, False, HS, 1),
    (3, 184, 80, False, HS, 1),
    (3, 480, 112, True, HS, 1),   # 112, 14, 14
    (3, 672, 112, True, HS, 1),
    (5, 672, 160, True, HS, 2),   # 160, 7, 7
    (5, 960, 160, True, HS, 1),
    (5, 960, 160, True, HS, 1),
)  # fmt: skip
SMALL: Tuple[Block, ...] = (
    (3, 16, 16, True, RE, 2),     #  16, 56, 56
    (3, 72, 24, False, RE, 2),    #  24, 28, 28
    (3, 88, 24, False, RE, 1),
    (5, 96, 40, True, HS, 2),     #  40, 14, 14
    (5, 240, 40, True, HS, 1),
    (5, 240, 40, True, HS, 1),
    (5, 120, 48, True, HS, 1),    #  48, 14, 14
    (5, 144, 48, True, HS, 1),
    (5, 288, 96, True, HS, 2),    #  96, 7, 7
    (5, 576, 96, True, HS, 1),
    (5, 576, 96, True, HS, 1),
)  # fmt: skip
# Blocks, and units of the last hidden layer.
SIZES = {"large": (LARGE, 1280), "small": (SMALL, 1024)}


def get_symbol(num_classes: int, image_shape: Tuple[int, ...], size: str) -> sym.Symbol:
    """(batch, *image_shape) to (batch, num_classes); shapes are for `large`, 224 pixels."""
    blocks, hidden = SIZES[size]
    x = sym.var("data")  # 3, 224, 224
    x = layer(x, "conv1", 16, 3, HS, stride=2)  # 16, 112, 112
    channels = 16
    for number, block in enumerate(blocks, start=1):
        x = inverted_residual(x, f"block{number}", channels, block)
        channels = block[2]
    x = layer(x, "conv2", 6 * channels, 1, HS)  # 960, 7, 7
    x = dense(mean_of_planes(x), "fc1", hidden)  # 1280
    x = sym.Dropout(activation(x, HS, "fc1_hard_swish"), p=0.2, name="dropout1")
    return classifier(x, num_classes, "fc2")  # num_classes


def inverted_residual(x: sym.Symbol, name: str, channels: int, block: Block) -> sym.Symbol:
    """2019, figure 4: expand, filter, weigh channels, project; (filters, h / s, w / s)."""
    kernel, inner, filters, weighted, act, stride = block
    y = x
    if inner != channels:
        y = layer(y, f"{name}_expand", inner, 1, act)  # inner, h, w
    y = layer(y, f"{name}_dw", inner, kernel, act, stride, groups=inner)  # inner, h / s, w / s
    if weighted:
        squeezed = rounded(inner // 4)
        y = squeeze_excitation(y, f"{name}_se", inner, squeezed, gate="hard_sigmoid")
    y = convolution(y, f"{name}_project", filters, 1)  # filters, h / s, w / s
    y = batch_norm(y, f"{name}_project_bn", EPS, momentum=MOMENTUM)
    if stride == 1 and channels == filters:
        y = sym.elemwise_add(y, x, name=f"{name}_plus")
    return y
