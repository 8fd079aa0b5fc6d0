"""Inception-BN, that of MXNet's published checkpoint.

Sergey Ioffe, Christian Szegedy: "Batch Normalization: Accelerating Deep Network Training by
Reducing Internal Covariate Shift", arXiv:1502.03167, 2015 (figure 5).

Layers and names are those of the checkpoint (Inception-BN-0126), so it loads. As there,
convolutions keep their biases, poolings of the first layers are not padded, and BatchNorm has
epsilon 1e-5. The last pooling is global, so other sizes work too, from 39 pixels.
"""

from typing import Any, Tuple

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

# Figure 5: 1x1; 1x1 and 3x3; 1x1 and twice 3x3; 1x1 after the pooling. Without the first and the
# last, a block of stride 2.
BLOCKS = {
    "3a": (64, (64, 64), (64, 96), 32),        #  256, 28, 28
    "3b": (64, (64, 96), (64, 96), 64),        #  320, 28, 28
    "3c": (None, (128, 160), (64, 96), None),  #  576, 14, 14
    "4a": (224, (64, 96), (96, 128), 128),     #  576, 14, 14
    "4b": (192, (96, 128), (96, 128), 128),    #  576, 14, 14
    "4c": (160, (128, 160), (128, 160), 128),  #  608, 14, 14
    "4d": (96, (128, 192), (160, 192), 128),   #  608, 14, 14
    "4e": (None, (128, 192), (192, 256), None),  # 1056, 7, 7
    "5a": (352, (192, 320), (160, 224), 128),  # 1024, 7, 7
    "5b": (352, (192, 320), (192, 224), 128),  # 1024, 7, 7
}  # fmt: skip


def get_symbol(num_classes: int, image_shape: Tuple[int, ...]) -> sym.Symbol:
    """(batch, *image_shape) to (batch, num_classes); shapes are for 224 pixels."""
    check_size(image_shape, 39, "Inception-BN")
    x = sym.var("data")  # 3, 224, 224
    x = layer(x, "1", 64, 7, stride=2)  # 64, 112, 112
    x = max_pool(x, "pool_1", 3, 2)  # 64, 55, 55
    x = layer(x, "2_red", 64, 1)  # 64, 55, 55
    x = layer(x, "2", 192, 3)  # 192, 55, 55
    x = max_pool(x, "pool_2", 3, 2)  # 192, 27, 27
    for name, filters in BLOCKS.items():
        x = inception(x, name, *filters)
    return classifier(mean_of_planes(x, "global_pool"), num_classes)  # 1024, then num_classes


def inception(
    x: sym.Symbol, name: str, direct: Any, three: Tuple[int, int], double: Tuple[int, int],
    pooled: Any,
) -> sym.Symbol:  # fmt: skip
    """Section 4.2.1: four towers, or without `direct` and `pooled` three of stride 2."""
    stride = 1 if direct else 2
    once = layer(x, f"{name}_3x3_reduce", three[0], 1)
    twice = layer(x, f"{name}_double_3x3_reduce", double[0], 1)
    twice = layer(twice, f"{name}_double_3x3_0", double[1], 3)
    towers = [
        layer(once, f"{name}_3x3", three[1], 3, stride),
        layer(twice, f"{name}_double_3x3_1", double[1], 3, stride),
    ]
    pool = mean_pool if direct and name != "5b" else max_pool
    last = pool(x, f"pool_{name}", 3, stride, 1)
    if direct:
        towers.insert(0, layer(x, f"{name}_1x1", direct, 1))
        last = layer(last, f"{name}_proj", pooled, 1)
    return sym.Concat(*towers, last, dim=1, name=f"ch_concat_{name}_chconcat")


def layer(x: sym.Symbol, name: str, filters: int, kernel: int, stride: int = 1) -> sym.Symbol:
    """Convolution with bias, BatchNorm, relu."""
    x = convolution(x, f"conv_{name}", filters, kernel, stride, bias=True)
    return relu(batch_norm(x, f"bn_{name}"), f"relu_{name}")
