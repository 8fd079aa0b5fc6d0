"""RegNetX and RegNetY, 400 million to 32 billion multiply-adds.

Ilija Radosavovic, Raj Prateek Kosaraju, Ross Girshick, Kaiming He, Piotr Dollar: "Designing Network
Design Spaces", arXiv:2003.13678, 2020 (tables 5 and 6; figure 4).

They compute the same as torchvision's `regnet_x_*` and `regnet_y_*`. Learned parameters at 1,000
classes: X 5,495,976 · 7,259,656 · 9,190,136 · 15,296,552 · 39,572,648 · 54,278,536 · 107,811,560;
Y 4,344,144 · 6,432,512 · 11,202,430 · 19,436,338 · 39,381,472 · 83,590,140 · 145,046,770.

Different from the paper's tables, as in torchvision: widths are rounded to multiples of a group by
another rule. So the last stage of X 400mf has 400 channels, not 384; the second and last of Y 800mf
144 and 784, not 128 and 768; the first of Y 8gf 224, not 168.
"""

from typing import Dict, Tuple

from imagenet_trainer.graph import sym
from imagenet_trainer.symbols.layers import (
    batch_norm,
    classifier,
    conv_bn_act,
    convolution,
    mean_of_planes,
    relu,
    squeeze_excitation,
)

# Units and channels of the four stages, and channels of a group, at most.
X: Dict[str, Tuple[Tuple[int, ...], Tuple[int, ...], int]] = {
    "400mf": ((1, 2, 7, 12), (32, 64, 160, 400), 16),
    "800mf": ((1, 3, 7, 5), (64, 128, 288, 672), 16),
    "1.6gf": ((2, 4, 10, 2), (72, 168, 408, 912), 24),
    "3.2gf": ((2, 6, 15, 2), (96, 192, 432, 1008), 48),
    "8gf": ((2, 5, 15, 1), (80, 240, 720, 1920), 120),
    "16gf": ((2, 6, 13, 1), (256, 512, 896, 2048), 128),
    "32gf": ((2, 7, 13, 1), (336, 672, 1344, 2520), 168),
}
Y: Dict[str, Tuple[Tuple[int, ...], Tuple[int, ...], int]] = {
    "400mf": ((1, 3, 6, 6), (48, 104, 208, 440), 8),
    "800mf": ((1, 3, 8, 2), (64, 144, 320, 784), 16),
    "1.6gf": ((2, 6, 17, 2), (48, 120, 336, 888), 24),
    "3.2gf": ((2, 5, 13, 1), (72, 216, 576, 1512), 24),
    "8gf": ((2, 4, 10, 1), (224, 448, 896, 2016), 56),
    "16gf": ((2, 4, 11, 1), (224, 448, 1232, 3024), 112),
    "32gf": ((2, 5, 12, 1), (232, 696, 1392, 3712), 232),
}


def get_symbol(num_classes: int, image_shape: Tuple[int, ...], kind: str, size: str) -> sym.Symbol:
    """(batch, *image_shape) to (batch, num_classes); shapes are for X 400mf, 224 pixels.

    `kind` is x, or y, which has squeeze and excitation.
    """
    depths, widths, group = (X if kind == "x" else Y)[size]
    x = sym.var("data")  # 3, 224, 224
    x = conv_bn_act(x, "conv0", 32, 3, stride=2)  # 32, 112, 112
    channels = 32
    # 32, 56, 56 then 64, 28, 28 then 160, 14, 14 then 400, 7, 7
    for stage, (units, filters) in enumerate(zip(depths, widths), start=1):
        for unit in range(1, units + 1):
            squeezed = 0 if kind == "x" else round(channels / 4)
            x = residual_unit(
                x, f"stage{stage}_unit{unit}", channels, filters, 2 if unit == 1 else 1,
                filters // min(group, filters), squeezed,
            )  # fmt: skip
            channels = filters
    return classifier(mean_of_planes(x), num_classes)  # 400, then num_classes


def residual_unit(
    x: sym.Symbol, name: str, channels: int, filters: int, stride: int, groups: int, squeezed: int
) -> sym.Symbol:
    """Figure 4: 1x1, 3x3 in groups, 1x1, plus the shortcut, then relu; (filters, h / s, w / s)."""
    shortcut = x
    if stride > 1 or channels != filters:
        shortcut = batch_norm(convolution(x, f"{name}_sc", filters, 1, stride), f"{name}_sc_bn")
    x = conv_bn_act(x, f"{name}_conv1", filters, 1)  # filters, h, w
    # filters, h / s, w / s
    x = conv_bn_act(x, f"{name}_conv2", filters, 3, stride=stride, groups=groups)
    if squeezed:
        x = squeeze_excitation(x, f"{name}_se", filters, squeezed)
    x = batch_norm(convolution(x, f"{name}_conv3", filters, 1), f"{name}_conv3_bn")
    return relu(sym.elemwise_add(shortcut, x, name=f"{name}_plus"), f"{name}_relu")
