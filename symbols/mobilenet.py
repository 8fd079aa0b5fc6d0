"""MobileNet v1 and v2, each in four widths.

Andrew G. Howard et al.: "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision
Applications", arXiv:1704.04861, 2017 (table 1).
Mark Sandler, Andrew Howard, Menglong Zhu, Andrey Zhmoginov, Liang-Chieh Chen: "MobileNetV2:
Inverted Residuals and Linear Bottlenecks", arXiv:1801.04381, 2018 (table 2).

Both compute the same as Gluon's networks. Different from the papers, as there:
- numbers of channels are multiplied by the width and rounded down; TensorFlow's v2 rounds them to
  multiples of eight;
- the first block of v2 also expands, by 1, as in MXNet's own script (GluonCV's does not: 1,152
  parameters fewer);
- v2's classifier is a 1x1 convolution without bias, and narrow networks keep the 1280 filters of
  its last convolution.
"""

from typing import Tuple

from imagenet_trainer.graph import sym
from imagenet_trainer.symbols.layers import (
    batch_norm,
    classifier,
    conv_bn_act,
    convolution,
    mean_of_planes,
)

# v1, table 1: channels and stride of each depthwise separable convolution.
SEPARABLE = (
    (64, 1),    #   64, 112, 112
    (128, 2),   #  128, 56, 56
    (128, 1),
    (256, 2),   #  256, 28, 28
    (256, 1),
    (512, 2),   #  512, 14, 14
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (1024, 2),  # 1024, 7, 7
    (1024, 1),
)  # fmt: skip
# v2, table 2: expansion, channels, repetitions, stride of the first.
INVERTED = (
    (1, 16, 1, 1),   #  16, 112, 112
    (6, 24, 2, 2),   #  24, 56, 56
    (6, 32, 3, 2),   #  32, 28, 28
    (6, 64, 4, 2),   #  64, 14, 14
    (6, 96, 3, 1),   #  96, 14, 14
    (6, 160, 3, 2),  # 160, 7, 7
    (6, 320, 1, 1),  # 320, 7, 7
)  # fmt: skip


def get_symbol(
    num_classes: int, image_shape: Tuple[int, ...], version: int, width: float
) -> sym.Symbol:
    """(batch, *image_shape) to (batch, num_classes); shapes are for width 1, 224 pixels."""
    return (mobilenet_v1 if version == 1 else mobilenet_v2)(num_classes, width)


def mobilenet_v1(num_classes: int, width: float) -> sym.Symbol:
    """Table 1 of 2017."""
    x = sym.var("data")  # 3, 224, 224
    channels = int(32 * width)
    x = conv_bn_act(x, "conv1", channels, 3, stride=2)  # 32, 112, 112
    for number, (filters, stride) in enumerate(SEPARABLE, start=2):
        x = conv_bn_act(x, f"conv{number}_dw", channels, 3, stride=stride, groups=channels)
        channels = int(filters * width)
        x = conv_bn_act(x, f"conv{number}", channels, 1)
    return classifier(mean_of_planes(x), num_classes)  # 1024, then num_classes


def mobilenet_v2(num_classes: int, width: float) -> sym.Symbol:
    """Table 2 of 2018."""
    x = sym.var("data")  # 3, 224, 224
    channels = int(32 * width)
    x = conv_bn_act(x, "conv1", channels, 3, "relu6", stride=2)  # 32, 112, 112
    for block, (expansion, filters, units, stride) in enumerate(INVERTED, start=1):
        for unit in range(1, units + 1):
            name = f"block{block}_unit{unit}"
            wide = int(filters * width)
            x = inverted_residual(x, name, channels, wide, expansion, stride if unit == 1 else 1)
            channels = wide
    x = conv_bn_act(x, "conv2", int(1280 * max(width, 1.0)), 1, "relu6")  # 1280, 7, 7
    x = sym.Pooling(x, global_pool=True, pool_type="avg", kernel=(1, 1), name="pool1")
    x = convolution(x, "pred", num_classes, 1)  # num_classes, 1, 1
    return sym.SoftmaxOutput(sym.Flatten(x, name="flatten0"), name="softmax")


def inverted_residual(
    x: sym.Symbol, name: str, channels: int, filters: int, expansion: int, stride: int
) -> sym.Symbol:
    """2018, table 1: expand, filter, project; (filters, h / s, w / s)."""
    inner = channels * expansion
    y = conv_bn_act(x, f"{name}_expand", inner, 1, "relu6")  # inner, h, w
    y = conv_bn_act(y, f"{name}_dw", inner, 3, "relu6", stride, groups=inner)
    y = convolution(y, f"{name}_project", filters, 1)  # filters, h / s, w / s
    y = batch_norm(y, f"{name}_project_bn")
    if stride == 1 and channels == filters:
        y = sym.elemwise_add(y, x, name=f"{name}_plus")
    return y
