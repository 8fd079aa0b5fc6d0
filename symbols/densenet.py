"""DenseNet 121, 161, 169 and 201 (DenseNet-BC).

Gao Huang, Zhuang Liu, Laurens van der Maaten, Kilian Q. Weinberger: "Densely Connected
Convolutional Networks", arXiv:1608.06993, 2017 (table 1; 161 is the authors' own wider one).

Computes the same as GluonCV's and Gluon's networks of these names. Different from the paper:
- no dropout, as in the authors' ImageNet networks;
- the last pooling is global, so other sizes work too, from 29 pixels.
"""

from typing import Tuple

from imagenet_trainer.graph import sym
from imagenet_trainer.symbols.layers import (
    batch_norm,
    check_size,
    classifier,
    convolution,
    max_pool,
    mean_of_planes,
    mean_pool,
    relu,
)

# Depth: filters of the first convolution, growth rate, units in each dense block.
DEPTHS = {
    121: (64, 32, (6, 12, 24, 16)),
    161: (96, 48, (6, 12, 36, 24)),
    169: (64, 32, (6, 12, 32, 32)),
    201: (64, 32, (6, 12, 48, 32)),
}


def get_symbol(num_classes: int, image_shape: Tuple[int, ...], num_layers: int) -> sym.Symbol:
    """(batch, *image_shape) to (batch, num_classes); shapes are for 121 layers, 224 pixels."""
    check_size(image_shape, 29, "DenseNet")
    channels, growth, blocks = DEPTHS[num_layers]

    x = sym.var("data")  # 3, 224, 224
    x = convolution(x, "conv0", channels, 7, stride=2)  # 64, 112, 112
    x = relu(batch_norm(x, "bn0"), "relu0")
    x = max_pool(x, "pool0", 3, 2, pad=1)  # 64, 56, 56

    # 256, 56, 56 then 512, 28, 28 then 1024, 14, 14 then 1024, 7, 7; halved in between
    for stage, units in enumerate(blocks, start=1):
        for unit in range(1, units + 1):
            x = dense_unit(x, f"stage{stage}_unit{unit}", growth)
        channels += units * growth
        if stage < len(blocks):
            channels //= 2
            x = transition(x, f"transition{stage}", channels)

    x = relu(batch_norm(x, "bn1"), "relu1")
    return classifier(mean_of_planes(x), num_classes)  # 1024, then num_classes


def dense_unit(x: sym.Symbol, name: str, growth: int) -> sym.Symbol:
    """Section 3, DenseNet-B: x, followed by `growth` channels computed from all of x."""
    new = relu(batch_norm(x, f"{name}_bn1"), f"{name}_relu1")
    new = convolution(new, f"{name}_conv1", 4 * growth, 1)  # 4 growth, h, w
    new = relu(batch_norm(new, f"{name}_bn2"), f"{name}_relu2")
    new = convolution(new, f"{name}_conv2", growth, 3)  # growth, h, w
    return sym.Concat(x, new, dim=1, name=f"{name}_concat")  # channels + growth, h, w


def transition(x: sym.Symbol, name: str, channels: int) -> sym.Symbol:
    """Section 3, compression by one half; (channels, h / 2, w / 2)."""
    x = relu(batch_norm(x, f"{name}_bn"), f"{name}_relu")
    x = convolution(x, f"{name}_conv", channels, 1)  # channels, h, w
    return mean_pool(x, f"{name}_pool", 2, 2)
