"""ResNet-v1, -v1b and -v1d (ResNet-D), SE-ResNet, 18 to 152 layers, and ResNeXt, 50 and 101.

Kaiming He, Xiangyu Zhang, Shaoqing Ren, Jian Sun: "Deep Residual Learning for Image Recognition",
arXiv:1512.03385, 2015 (table 1).
Saining Xie, Ross Girshick, Piotr Dollar, Zhuowen Tu, Kaiming He: "Aggregated Residual
Transformations for Deep Neural Networks", arXiv:1611.05431, 2017 (table 1; figure 3c).
Tong He, Zhi Zhang, Hang Zhang, Zhongyue Zhang, Junyuan Xie, Mu Li: "Bag of Tricks for Image
Classification with Convolutional Neural Networks", arXiv:1812.01187, 2018 (figure 2, ResNet-D).
Jie Hu, Li Shen, Samuel Albanie, Gang Sun, Enhua Wu: "Squeeze-and-Excitation Networks",
arXiv:1709.01507, 2017 (figure 3).

- v1 computes the same as Gluon's and GluonCV's `resnet*_v1`: the stride is in the first 1x1
  convolution of a bottleneck, as in the paper, and its 1x1 convolutions have a bias, unlike the
  paper.
- v1b computes the same as GluonCV's `resnet*_v1b`: the stride is in the 3x3 convolution (as in
  Facebook's Torch ResNets and in torchvision), and there are no biases.
- v1d computes the same as timm's `resnet*d` and, from 50 on, GluonCV's `resnet*_v1d`: v1b with
  three 3x3 convolutions for the first one, and a mean pooling before a projection with a stride.
- SE-ResNet computes the same as timm's `seresnet*`: v1b with squeeze and excitation at the end of
  each branch, to one sixteenth of the channels, at least 8. Learned parameters at 1,000 classes:
  v1d 11,708,744 · 21,816,904 · 25,576,264 · 44,568,392 · 60,212,040; SE 11,779,624 · 21,960,416 ·
  28,088,024 · 49,326,872 · 66,821,848.
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
    squeeze_excitation,
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

    `variant` is v1, v1b, v1d, se, 32x4d or 64x4d.
    """
    bottleneck, resnext = num_layers >= 50, variant.endswith("x4d")
    eps = 2e-5 if resnext else 1e-5

    x = sym.var("data")  # 3, 224, 224
    if resnext:
        x = batch_norm(x, "bn_data", eps, fix_gamma=True)
    if image_shape[1] > 32:
        x = deep_stem(x) if variant == "v1d" else convolution(x, "conv0", 64, 7, stride=2)
        # 64, 112, 112
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
            name = f"stage{stage + 1}_unit{unit + 1}"
            x = residual_unit(x, name, layers, stride, project, eps, variant)

    return classifier(mean_of_planes(x), num_classes)  # 2048, then num_classes


def deep_stem(x: sym.Symbol) -> sym.Symbol:
    """2018, section 4.2: three small convolutions see as many pixels as one of 7x7."""
    x = convolution(x, "conv0_1", 32, 3, stride=2)  # 32, 112, 112
    x = relu(batch_norm(x, "conv0_1_bn"), "conv0_1_relu")
    x = relu(batch_norm(convolution(x, "conv0_2", 32, 3), "conv0_2_bn"), "conv0_2_relu")
    return convolution(x, "conv0_3", 64, 3)  # 64, 112, 112


Layer = Tuple[int, int, int, int, bool]  # filters, kernel, stride, groups, bias


def unit_layers(channels: int, bottleneck: bool, stride: int, variant: str) -> Tuple[Layer, ...]:
    """The convolutions of a unit that leaves `channels` channels."""
    if not bottleneck:
        return (channels, 3, stride, 1, False), (channels, 3, 1, 1, False)
    if variant == "v1":
        inner = channels // 4
        return (inner, 1, stride, 1, True), (inner, 3, 1, 1, False), (channels, 1, 1, 1, True)
    groups, inner = 1, channels // 4
    if variant.endswith("x4d"):
        groups, width = map(int, variant[:-1].split("x"))
        inner = groups * width * (channels // 256)
    return (
        (inner, 1, 1, 1, False), (inner, 3, stride, groups, False), (channels, 1, 1, 1, False),
    )  # fmt: skip


def residual_unit(
    x: sym.Symbol, name: str, layers: Tuple[Layer, ...], stride: int, project: bool, eps: float,
    variant: str,
) -> sym.Symbol:  # fmt: skip
    """2015, figure 5: convolutions, each followed by BatchNorm, plus the shortcut, then relu."""
    shortcut, filters = x, layers[-1][0]
    if project:
        if variant == "v1d" and stride > 1:  # no pixel is skipped
            shortcut = sym.Pooling(
                x, kernel=(2, 2), stride=(2, 2), pool_type="avg", pooling_convention="full",
                count_include_pad=False, name=f"{name}_sc_pool",
            )  # fmt: skip
        step = 1 if variant == "v1d" else stride
        shortcut = convolution(shortcut, f"{name}_sc", filters, 1, step)
        shortcut = batch_norm(shortcut, f"{name}_sc_bn", eps)
    for number, (width, kernel, step, groups, bias) in enumerate(layers, start=1):
        x = convolution(x, f"{name}_conv{number}", width, kernel, step, groups=groups, bias=bias)
        x = batch_norm(x, f"{name}_bn{number}", eps)
        if number < len(layers):
            x = relu(x, f"{name}_relu{number}")
    if variant == "se":
        x = squeeze_excitation(x, f"{name}_se", filters, max(8, filters // 16))
    return relu(sym.elemwise_add(x, shortcut, name=f"{name}_plus"), f"{name}_relu")
