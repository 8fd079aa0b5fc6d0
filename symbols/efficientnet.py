"""EfficientNet B0 to B4, and Lite0 to Lite4.

Mingxing Tan, Quoc V. Le: "EfficientNet: Rethinking Model Scaling for Convolutional Neural
Networks", arXiv:1905.11946, 2019 (table 1; section 3.3).
Lite: Google's `efficientnet/lite` in github.com/tensorflow/tpu, 2020. It has no squeeze and
excitation, relu6 for swish, and a first and last part that do not grow.

B0 to B4 compute the same as torchvision's and timm's `efficientnet_b*`, Lite0 to Lite4 as timm's
`efficientnet_lite*`. Learned parameters at 1,000 classes: B 5,288,548 · 7,794,184 · 9,109,994 ·
12,233,232 · 19,341,616; Lite 4,652,008 · 5,416,680 · 6,092,072 · 8,197,096 · 13,006,568.

Different from the papers, as there: padding is the same on all sides, where TensorFlow's depends
on the image size; BatchNorm has epsilon 1e-5 and momentum 0.9 for 1e-3 and 0.99.
"""

import math
from typing import Tuple

from imagenet_trainer.graph import sym
from imagenet_trainer.symbols.layers import (
    batch_norm,
    classifier,
    conv_bn_act,
    convolution,
    mean_of_planes,
    rounded,
    squeeze_excitation,
)

# Table 1: expansion, kernel, channels, repetitions, stride of the first.
STAGES = (
    (1, 3, 16, 1, 1),   #  16, 112, 112
    (6, 3, 24, 2, 2),   #  24, 56, 56
    (6, 5, 40, 2, 2),   #  40, 28, 28
    (6, 3, 80, 3, 2),   #  80, 14, 14
    (6, 5, 112, 3, 1),  # 112, 14, 14
    (6, 5, 192, 4, 2),  # 192, 7, 7
    (6, 3, 320, 1, 1),  # 320, 7, 7
)  # fmt: skip
# Width, depth, share of dropout, as in Google's code; image sizes are in `families`.
SCALES = {
    "b0": (1.0, 1.0, 0.2),
    "b1": (1.0, 1.1, 0.2),
    "b2": (1.1, 1.2, 0.3),
    "b3": (1.2, 1.4, 0.3),
    "b4": (1.4, 1.8, 0.4),
    "lite0": (1.0, 1.0, 0.2),
    "lite1": (1.0, 1.1, 0.2),
    "lite2": (1.1, 1.2, 0.3),
    "lite3": (1.2, 1.4, 0.3),
    "lite4": (1.4, 1.8, 0.3),
}


def get_symbol(num_classes: int, image_shape: Tuple[int, ...], scale: str) -> sym.Symbol:
    """(batch, *image_shape) to (batch, num_classes); shapes are for B0, 224 pixels."""
    width, depth, dropped = SCALES[scale]
    lite = scale.startswith("lite")
    act = "relu6" if lite else "swish"
    x = sym.var("data")  # 3, 224, 224
    channels = 32 if lite else rounded(32 * width)
    x = conv_bn_act(x, "conv1", channels, 3, act, stride=2)  # 32, 112, 112
    for stage, (expansion, kernel, filters, units, stride) in enumerate(STAGES, start=1):
        fixed = lite and stage in (1, len(STAGES))
        for unit in range(1, (units if fixed else math.ceil(units * depth)) + 1):
            x = inverted_residual(
                x, f"block{stage}_unit{unit}", channels, rounded(filters * width), expansion,
                kernel, stride if unit == 1 else 1, act,
            )  # fmt: skip
            channels = rounded(filters * width)
    x = conv_bn_act(x, "conv2", 1280 if lite else rounded(1280 * width), 1, act)  # 1280, 7, 7
    x = sym.Dropout(mean_of_planes(x), p=dropped, name="dropout1")  # 1280
    return classifier(x, num_classes)  # num_classes


def inverted_residual(
    x: sym.Symbol, name: str, channels: int, filters: int, expansion: int, kernel: int,
    stride: int, act: str,
) -> sym.Symbol:  # fmt: skip
    """Expand, filter, weigh channels (not in Lite), project; (filters, h / s, w / s)."""
    inner, y = channels * expansion, x
    if expansion > 1:
        y = conv_bn_act(y, f"{name}_expand", inner, 1, act)  # inner, h, w
    # inner, h / s, w / s
    y = conv_bn_act(y, f"{name}_dw", inner, kernel, act, stride, groups=inner)
    if act == "swish":
        y = squeeze_excitation(y, f"{name}_se", inner, channels // 4, inner=act)
    y = convolution(y, f"{name}_project", filters, 1)  # filters, h / s, w / s
    y = batch_norm(y, f"{name}_project_bn")
    if stride == 1 and channels == filters:
        y = sym.elemwise_add(y, x, name=f"{name}_plus")
    return y
