"""GoogLeNet (Inception v1) with BatchNorm.

Christian Szegedy et al.: "Going Deeper with Convolutions", arXiv:1409.4842, 2014 (table 1).

Computes the same as GluonCV's network. Different from the paper, as there and in torchvision:
- BatchNorm after every convolution instead of biases, and no local response normalisation;
- the towers with 5x5 convolutions have 3x3 ones; the pooling before block 5a is 2x2;
- no auxiliary classifiers.
The last pooling is global, so other sizes work too, from 33 pixels.
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
    relu,
)

# Table 1: 1x1; 1x1 and 3x3; 1x1 and "5x5"; 1x1 after the pooling.
BLOCKS = {
    "3a": (64, (96, 128), (16, 32), 32),      #  256, 28, 28
    "3b": (128, (128, 192), (32, 96), 64),    #  480, 28, 28
    "4a": (192, (96, 208), (16, 48), 64),     #  512, 14, 14
    "4b": (160, (112, 224), (24, 64), 64),    #  512, 14, 14
    "4c": (128, (128, 256), (24, 64), 64),    #  512, 14, 14
    "4d": (112, (144, 288), (32, 64), 64),    #  528, 14, 14
    "4e": (256, (160, 320), (32, 128), 128),  #  832, 14, 14
    "5a": (256, (160, 320), (32, 128), 128),  #  832, 7, 7
    "5b": (384, (192, 384), (48, 128), 128),  # 1024, 7, 7
}  # fmt: skip


def get_symbol(num_classes: int, image_shape: Tuple[int, ...]) -> sym.Symbol:
    """(batch, *image_shape) to (batch, num_classes); shapes are for 224 pixels."""
    check_size(image_shape, 33, "GoogLeNet")
    x = sym.var("data")  # 3, 224, 224
    x = layer(x, "conv1", 64, 7, stride=2)  # 64, 112, 112
    x = max_pool(x, "pool1", 3, 2, partial=True)  # 64, 56, 56
    x = layer(x, "conv2_reduce", 64, 1)  # 64, 56, 56
    x = layer(x, "conv2", 192, 3)  # 192, 56, 56
    x = max_pool(x, "pool2", 3, 2, partial=True)  # 192, 28, 28
    for name, filters in BLOCKS.items():
        x = inception(x, name, *filters)
        if name == "3b":
            x = max_pool(x, "pool3", 3, 2, partial=True)  # 480, 14, 14
        if name == "4e":
            x = max_pool(x, "pool4", 2, 2)  # 832, 7, 7
    x = mean_of_planes(x, "pool5")  # 1024
    x = sym.Dropout(x, p=0.4, name="drop")
    return classifier(x, num_classes)  # num_classes


def inception(
    x: sym.Symbol, name: str, direct: int, three: Tuple[int, int], five: Tuple[int, int],
    pooled: int,
) -> sym.Symbol:  # fmt: skip
    """Figure 2b: (direct + three[1] + five[1] + pooled, h, w)."""
    towers = [
        layer(x, f"in{name}_1x1", direct, 1),
        layer(layer(x, f"in{name}_3x3_reduce", three[0], 1), f"in{name}_3x3", three[1], 3),
        layer(layer(x, f"in{name}_5x5_reduce", five[0], 1), f"in{name}_5x5", five[1], 3),
        layer(max_pool(x, f"in{name}_pool", 3, 1, 1), f"in{name}_proj", pooled, 1),
    ]
    return sym.Concat(*towers, dim=1, name=f"in{name}_concat")


def layer(x: sym.Symbol, name: str, filters: int, kernel: int, stride: int = 1) -> sym.Symbol:
    """Convolution, BatchNorm, relu."""
    x = convolution(x, f"{name}_conv", filters, kernel, stride)
    return relu(batch_norm(x, f"{name}_bn", 1e-3), f"{name}_relu")
