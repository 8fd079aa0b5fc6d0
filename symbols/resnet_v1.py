"""ResNet-v1 and -v1b, 18 to 152 layers, and ResNeXt, 50 and 101.

Kaiming He, Xiangyu Zhang, Shaoqing Ren, Jian Sun: "Deep Residual Learning for Image Recognition",
arXiv:1512.03385, 2015 (table 1).
Saining Xie, Ross Girshick, Piotr Dollar, Zhuowen Tu, Kaiming He: "Aggregated Residual
Transformations for Deep Neural Networks", arXiv:1611.05431, 2017 (table 1; figure 3c).

- v1 computes the same as Gluon's and GluonCV's `resnet*_v1`: the stride is in the first 1x1
  convolution of a bottleneck, as in the paper, and its 1x1 convolutions have a bias, unlike the
  paper.
- v1b computes the same as GluonCV's `resnet*_v1b`: the stride is in the 3x3 convolution (as in
  Facebook's Torch ResNets and in torchvision), and there are no biases.
- ResNeXt has the layer names of MXNet's published checkpoints, and as there epsilon 2e-5 and
  `bn_data`, a BatchNorm with fixed gamma that replaces mean and standard deviation; apart from
  these it computes the same as GluonCV's networks. Its width is written as in the paper: 32x4d is
  32 groups of 4 channels in the first stage.

Different from the papers: shortcuts are projected where the number of channels changes, and in
ResNeXt in the first unit of every stage; images up to 32 pixels high have a 3x3 first convolution
and no pooling.
"""

from typing import Tuple

from imagenet_trainer.graph import sym
from imagenet_trainer.symbols.layers import (
    batch_norm,
    classifier,
    convolution,
    max_pool,
    mean_of_planes,
    relu,
)

# Depth: units in each stage. From 50 on with bottlenecks.
UNITS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}


def get_symbol(
    num_classes: int, image_shape: Tuple[int, ...], num_layers: int, variant: str
) -> sym.Symbol:
    """(batch, *image_shape) to (batch, num_classes); shapes are for 50 layers, 224 pixels.

    `variant` is v1, v1b, 32x4d or 64x4d.
    """
    bottleneck, resnext = num_layers >= 50, variant.endswith("d")
    eps = 2e-5 if resnext else 1e-5

    x = sym.var("data")  # 3, 224, 224
    if resnext:
        x = batch_norm(x, "bn_data", eps, fix_gamma=True)
    if image_shape[1] > 32:
        x = convolution(x, "conv0", 64, 7, stride=2)  # 64, 112, 112
        x = relu(batch_norm(x, "bn0", eps), "relu0")
        x = max_pool(x, "pool0", 3, 2, pad=1)  # 64, 56, 56
    else:
        x = convolution(x, "conv0", 64, 3)  # 64, height, width

    # 256, 56, 56 then 512, 28, 28 then 1024, 14, 14 then 2048, 7, 7
    channels = 64
    for stage, units in enumerate(UNITS[num_layers]):
        wide = 64 * 2**stage * (4 if bottleneck else 1)
        for unit in range(units):
            stride = 2 if stage and not unit else 1
            project = wide != channels
            channels = wide
            layers = unit_layers(channels, bottleneck, stride, variant)
            x = residual_unit(x, f"stage{stage + 1}_unit{unit + 1}", layers, stride, project, eps)

    return classifier(mean_of_planes(x), num_classes)  # 2048, then num_classes


Layer = Tuple[int, int, int, int, bool]  # filters, kernel, stride, groups, bias


def unit_layers(channels: int, bottleneck: bool, stride: int, variant: str) -> Tuple[Layer, ...]:
    """The convolutions of a unit that leaves `channels` channels."""
    if not bottleneck:
        return (channels, 3, stride, 1, False), (channels, 3, 1, 1, False)
    if variant == "v1":
        inner = channels // 4
        return (inner, 1, stride, 1, True), (inner, 3, 1, 1, False), (channels, 1, 1, 1, True)
    groups, inner = 1, channels // 4
    if variant.endswith("d"):
        groups, width = map(int, variant[:-1].split("x"))
        inner = groups * width * (channels // 256)
    return (
        (inner, 1, 1, 1, False), (inner, 3, stride, groups, False), (channels, 1, 1, 1, False),
    )  # fmt: skip


def residual_unit(
    x: sym.Symbol, name: str, layers: Tuple[Layer, ...], stride: int, project: bool, eps: float
) -> sym.Symbol:
    """2015, figure 5: convolutions, each followed by BatchNorm, plus the shortcut, then relu."""
    shortcut = x
    if project:
        shortcut = convolution(x, f"{name}_sc", layers[-1][0], 1, stride)
        shortcut = batch_norm(shortcut, f"{name}_sc_bn", eps)
    for number, (filters, kernel, step, groups, bias) in enumerate(layers, start=1):
        x = convolution(x, f"{name}_conv{number}", filters, kernel, step, groups=groups, bias=bias)
        x = batch_norm(x, f"{name}_bn{number}", eps)
        if number < len(layers):
            x = relu(x, f"{name}_relu{number}")
    return relu(sym.elemwise_add(x, shortcut, name=f"{name}_plus"), f"{name}_relu")
