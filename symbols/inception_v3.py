"""Inception v3.

Christian Szegedy, Vincent Vanhoucke, Sergey Ioffe, Jonathon Shlens, Zbigniew Wojna: "Rethinking the
Inception Architecture for Computer Vision", arXiv:1512.00567, 2015 (table 1, figures 5 to 7; the
numbers of filters are those of the authors' TensorFlow network).

`inception-v3` computes the same as GluonCV's and Gluon's network. `inception-7` is the network of
MXNet's published checkpoint Inception-7, converted from TensorFlow's of 2015: the same layers, but
BatchNorms with fixed gamma, and max pooling in the last block.

Layers have the names of that checkpoint. Different from the paper:
- no auxiliary classifier;
- the last pooling is global, so other sizes work too, from 75 pixels.
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


def get_symbol(num_classes: int, image_shape: Tuple[int, ...], published: bool) -> sym.Symbol:
    """(batch, *image_shape) to (batch, num_classes); shapes are for 299 pixels."""
    check_size(image_shape, 75, "Inception v3")
    network = _Network(fix_gamma=published)

    x = sym.var("data")  # 3, 299, 299
    x = network.layer(x, "conv", 32, 3, stride=2, pad=0)  # 32, 149, 149
    x = network.layer(x, "conv_1", 32, 3, pad=0)  # 32, 147, 147
    x = network.layer(x, "conv_2", 64, 3)  # 64, 147, 147
    x = max_pool(x, "pool", 3, 2)  # 64, 73, 73
    x = network.layer(x, "conv_3", 80, 1)  # 80, 73, 73
    x = network.layer(x, "conv_4", 192, 3, pad=0)  # 192, 71, 71
    x = max_pool(x, "pool1", 3, 2)  # 192, 35, 35

    x = network.block_35(x, "mixed", 32)  # 256, 35, 35
    x = network.block_35(x, "mixed_1", 64)  # 288, 35, 35
    x = network.block_35(x, "mixed_2", 64)  # 288, 35, 35
    x = network.reduction_35(x, "mixed_3")  # 768, 17, 17
    x = network.block_17(x, "mixed_4", 128)  # 768, 17, 17
    x = network.block_17(x, "mixed_5", 160)  # 768, 17, 17
    x = network.block_17(x, "mixed_6", 160)  # 768, 17, 17
    x = network.block_17(x, "mixed_7", 192)  # 768, 17, 17
    x = network.reduction_17(x, "mixed_8")  # 1280, 8, 8
    x = network.block_8(x, "mixed_9", mean_pool)  # 2048, 8, 8
    x = network.block_8(x, "mixed_10", max_pool if published else mean_pool)  # 2048, 8, 8

    x = mean_of_planes(x, "global_pool")  # 2048
    x = sym.Dropout(x, p=0.5, name="drop")
    return classifier(x, num_classes)  # num_classes


class _Network:
    """The blocks, in one of the two ways to use BatchNorm.

    A tower is a row of layers (filters, kernel): NAME_conv, NAME_conv_1, and so on.
    """

    def __init__(self, fix_gamma: bool) -> None:
        self._fix_gamma = fix_gamma

    def layer(
        self, x: sym.Symbol, name: str, filters: int, kernel: Any, stride: int = 1,
        pad: int = -1,
    ) -> sym.Symbol:  # fmt: skip
        """Convolution, BatchNorm, relu."""
        x = convolution(x, f"{name}_conv2d", filters, kernel, stride, pad)
        x = batch_norm(x, f"{name}_batchnorm", 1e-3, self._fix_gamma)
        return relu(x, f"{name}_relu")

    def tower(self, x: sym.Symbol, name: str, *layers: Tuple[int, Any]) -> sym.Symbol:
        """Layers in sequence, none of which changes the size."""
        for number, (filters, kernel) in enumerate(layers):
            x = self.layer(x, f"{name}_conv{f'_{number}' if number else ''}", filters, kernel)
        return x

    def block_35(self, x: sym.Symbol, name: str, pooled: int) -> sym.Symbol:
        """Figure 5, but with one 5x5 convolution in the second tower; (224 + pooled, h, w)."""
        return _concat(
            name,
            self.tower(x, name, (64, 1)),
            self.tower(x, f"{name}_tower", (48, 1), (64, 5)),
            self.tower(x, f"{name}_tower_1", (64, 1), (96, 3), (96, 3)),
            self.tower(mean_pool(x, f"{name}_pool", 3, 1, 1), f"{name}_tower_2", (pooled, 1)),
        )

    def reduction_35(self, x: sym.Symbol, name: str) -> sym.Symbol:
        """Figure 10: (480 + channels, h / 2, w / 2)."""
        tower = self.tower(x, f"{name}_tower", (64, 1), (96, 3))
        return _concat(
            name,
            self.layer(x, f"{name}_conv", 384, 3, stride=2, pad=0),
            self.layer(tower, f"{name}_tower_conv_2", 96, 3, stride=2, pad=0),
            max_pool(x, f"{name}_pool", 3, 2),
        )

    def block_17(self, x: sym.Symbol, name: str, inner: int) -> sym.Symbol:
        """Figure 6, n = 7: (768, h, w)."""
        across, down = (1, 7), (7, 1)
        return _concat(
            name,
            self.tower(x, name, (192, 1)),
            self.tower(x, f"{name}_tower", (inner, 1), (inner, across), (192, down)),
            self.tower(
                x, f"{name}_tower_1",
                (inner, 1), (inner, down), (inner, across), (inner, down), (192, across),
            ),
            self.tower(mean_pool(x, f"{name}_pool", 3, 1, 1), f"{name}_tower_2", (192, 1)),
        )  # fmt: skip

    def reduction_17(self, x: sym.Symbol, name: str) -> sym.Symbol:
        """Table 1, between 17 and 8: (512 + channels, h / 2, w / 2)."""
        left = self.tower(x, f"{name}_tower", (192, 1))
        middle = self.tower(x, f"{name}_tower_1", (192, 1), (192, (1, 7)), (192, (7, 1)))
        return _concat(
            name,
            self.layer(left, f"{name}_tower_conv_1", 320, 3, stride=2, pad=0),
            self.layer(middle, f"{name}_tower_1_conv_3", 192, 3, stride=2, pad=0),
            max_pool(x, f"{name}_pool", 3, 2),
        )

    def block_8(self, x: sym.Symbol, name: str, pool: Any) -> sym.Symbol:
        """Figure 7: (2048, h, w)."""
        left = self.tower(x, f"{name}_tower", (384, 1))
        middle = self.tower(x, f"{name}_tower_1", (448, 1), (384, 3))
        return _concat(
            name,
            self.tower(x, name, (320, 1)),
            self.layer(left, f"{name}_tower_mixed_conv", 384, (1, 3)),
            self.layer(left, f"{name}_tower_mixed_conv_1", 384, (3, 1)),
            self.layer(middle, f"{name}_tower_1_mixed_conv", 384, (1, 3)),
            self.layer(middle, f"{name}_tower_1_mixed_conv_1", 384, (3, 1)),
            self.tower(pool(x, f"{name}_pool", 3, 1, 1), f"{name}_tower_2", (192, 1)),
        )


def _concat(name: str, *towers: sym.Symbol) -> sym.Symbol:
    return sym.Concat(*towers, dim=1, name=f"ch_concat_{name}_chconcat")
