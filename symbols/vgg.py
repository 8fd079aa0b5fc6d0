"""VGG 11, 13, 16 and 19, each also with BatchNorm.

Karen Simonyan, Andrew Zisserman: "Very Deep Convolutional Networks for Large-Scale Image
Recognition", arXiv:1409.1556, 2014 (table 1: A, B, D, E).

Computes the same as Gluon's and GluonCV's networks. Layers have the names of MXNet's published
checkpoints (vgg16, vgg19). Different from the paper: the `vgg-bn` networks have BatchNorm after
every convolution; the size of the first dense layer follows from the image size, from 32 pixels.
"""

from typing import Tuple

from imagenet_trainer.graph import sym
from imagenet_trainer.symbols.layers import (
    batch_norm,
    check_size,
    classifier,
    convolution,
    dense,
    max_pool,
    relu,
)

# Depth: convolutions of 64, 128, 256, 512 and 512 filters, a pooling after each group.
DEPTHS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
FILTERS = (64, 128, 256, 512, 512)


def get_symbol(
    num_classes: int, image_shape: Tuple[int, ...], num_layers: int, normalised: bool
) -> sym.Symbol:
    """(batch, *image_shape) to (batch, num_classes); shapes are for 224 pixels."""
    check_size(image_shape, 32, "VGG")
    x = sym.var("data")  # 3, 224, 224
    # 64, 112, 112 then 128, 56, 56 then 256, 28, 28 then 512, 14, 14 then 512, 7, 7
    for group, (count, filters) in enumerate(zip(DEPTHS[num_layers], FILTERS), start=1):
        for number in range(1, count + 1):
            x = convolution(x, f"conv{group}_{number}", filters, 3, bias=True)
            if normalised:
                x = batch_norm(x, f"bn{group}_{number}")
            x = relu(x, f"relu{group}_{number}")
        x = max_pool(x, f"pool{group}", 2, 2)
    for number in (6, 7):
        x = relu(dense(x, f"fc{number}", 4096), f"relu{number}")  # 4096
        x = sym.Dropout(x, p=0.5, name=f"drop{number}")
    return classifier(x, num_classes, "fc8")  # num_classes
