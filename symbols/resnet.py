"""ResNet-v2, 18 to 269 layers for ImageNet and 8 to 1,001 for small images.

Kaiming He, Xiangyu Zhang, Shaoqing Ren, Jian Sun: "Identity Mappings in Deep Residual Networks",
arXiv:1603.05027, 2016 (units with the activation in front), on the layout of "Deep Residual
Learning for Image Recognition", arXiv:1512.03385, 2015 (table 1; section 4.2 for small images).

Layers have the names of MXNet's published checkpoints, so these load. Different from the papers,
as in the checkpoints:
- `bn_data`, a BatchNorm with fixed gamma, replaces mean and standard deviation: the network takes
  raw pixels from 0 to 255;
- the first unit of every stage has a projection on its shortcut (`sc`), even if the number of
  channels stays the same; it starts from the activated input;
- stride 2 is in the 3x3 convolution of a bottleneck, not in its first 1x1 one;
- images of 29 to 32 pixels use the ImageNet depths with a 3x3 first convolution.
"""

import functools
from typing import List, Tuple

from imagenet_trainer.errors import ArgumentError
from imagenet_trainer.graph import sym
from imagenet_trainer.symbols import layers
from imagenet_trainer.symbols.layers import classifier, convolution, mean_of_planes, relu

# With the constants of the published checkpoints.
batch_norm = functools.partial(layers.batch_norm, eps=2e-5)

# Depth: units in each stage, for images higher than 28 pixels. From 50 on with bottlenecks.
UNITS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),
    269: (3, 30, 48, 8),
}


def get_symbol(num_classes: int, image_shape: Tuple[int, ...], num_layers: int) -> sym.Symbol:
    """(batch, *image_shape) to (batch, num_classes); shapes are for 50 layers, 224 pixels."""
    height = image_shape[1]
    units, filters, bottleneck = _stages(num_layers, height)

    x = sym.var("data")  # 3, 224, 224
    x = batch_norm(x, "bn_data", fix_gamma=True)
    if height > 32:
        x = convolution(x, "conv0", filters[0], 7, stride=2)  # 64, 112, 112
        x = relu(batch_norm(x, "bn0"), "relu0")
        x = sym.Pooling(
            x, kernel=(3, 3), stride=(2, 2), pad=(1, 1), pool_type="max", name="pool0"
        )  # 64, 56, 56
    else:
        x = convolution(x, "conv0", filters[0], 3)  # filters[0], height, width

    # 256, 56, 56 then 512, 28, 28 then 1024, 14, 14 then 2048, 7, 7
    for stage, (count, channels) in enumerate(zip(units, filters[1:]), start=1):
        for unit in range(1, count + 1):
            x = residual_unit(
                x, f"stage{stage}_unit{unit}", channels, bottleneck,
                stride=2 if stage > 1 and unit == 1 else 1, project=unit == 1,
            )  # fmt: skip

    x = relu(batch_norm(x, "bn1"), "relu1")
    return classifier(mean_of_planes(x), num_classes)  # 2048, then num_classes


def residual_unit(
    x: sym.Symbol, name: str, channels: int, bottleneck: bool, stride: int, project: bool
) -> sym.Symbol:
    """Shortcut + convolutions, each preceded by BatchNorm and relu; (channels, h / s, w / s).

    2016, figure 4e; the bottleneck is that of 2015, figure 5.
    """
    convolutions = (  # filters, kernel, stride
        [(channels // 4, 1, 1), (channels // 4, 3, stride), (channels, 1, 1)]
        if bottleneck
        else [(channels, 3, stride), (channels, 3, 1)]
    )
    shortcut = x
    for number, (filters, kernel, step) in enumerate(convolutions, start=1):
        x = relu(batch_norm(x, f"{name}_bn{number}"), f"{name}_relu{number}")
        if project and number == 1:
            shortcut = convolution(x, f"{name}_sc", channels, 1, stride)
        x = convolution(x, f"{name}_conv{number}", filters, kernel, step)
    # Named, because MXNet's automatic name depends on what was built before.
    return sym.elemwise_add(x, shortcut, name=f"{name}_plus")


def _stages(num_layers: int, height: int) -> Tuple[List[int], List[int], bool]:
    """Units of every stage, filters of the first convolution and every stage, bottleneck or not."""
    if height > 28:
        if num_layers not in UNITS:
            raise ArgumentError(
                "num_layers",
                num_layers,
                f"for images {height} pixels high use {', '.join(map(str, UNITS))}; other depths "
                "are for images up to 28 pixels high",
            )
        if num_layers < 50:
            return list(UNITS[num_layers]), [64, 64, 128, 256, 512], False
        return list(UNITS[num_layers]), [64, 256, 512, 1024, 2048], True
    if num_layers >= 164 and num_layers % 9 == 2:
        return [num_layers // 9] * 3, [16, 64, 128, 256], True
    if 8 <= num_layers < 164 and num_layers % 6 == 2:
        return [num_layers // 6] * 3, [16, 16, 32, 64], False
    raise ArgumentError(
        "num_layers",
        num_layers,
        f"for images up to 28 pixels high (these have {height}) use 6n+2 below 164 (20, 32, 44, "
        "56, 110) or 9n+2 from 164",
    )
