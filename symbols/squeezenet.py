"""SqueezeNet 1.0 and 1.1.

Forrest N. Iandola, Song Han, Matthew W. Moskewicz, Khalid Ashraf, William J. Dally, Kurt Keutzer:
"SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and <0.5MB model size",
arXiv:1602.07360, 2016. Version 1.1 is the authors' second one: 2.4 times less computation from a
smaller first convolution and earlier pooling.

Layers have the names of the authors' Caffe nets, with `_` for `/`. As there, pooling includes
windows that cross the right and bottom edge (MXNet's "full" convention), and the last convolution
comes after dropout and before an activation.

Different from the paper:
- the activation may be elu (Clevert et al. 2015, arXiv:1511.07289, alpha 1) instead of relu;
- the input is 224 pixels, as for the other families; the authors' weights were trained at 227;
- the last pooling is global, so other sizes work too, from 29 pixels (1.1: from 25).
"""

from typing import Any, Dict, Tuple

from imagenet_trainer.errors import ArgumentError
from imagenet_trainer.graph import sym
from imagenet_trainer.symbols.layers import check_size

# conv1 as (filters, kernel); a fire module as (filters of its squeeze, of each of its expands).
POOL = "3 x 3, stride 2"
VERSIONS: Dict[str, Tuple[Any, ...]] = {
    "1.0": (
        (96, 7),    # conv1    96, 109, 109
        POOL,       #          96, 54, 54
        (16, 64),   # fire2   128, 54, 54
        (16, 64),   # fire3   128, 54, 54
        (32, 128),  # fire4   256, 54, 54
        POOL,       #         256, 27, 27
        (32, 128),  # fire5   256, 27, 27
        (48, 192),  # fire6   384, 27, 27
        (48, 192),  # fire7   384, 27, 27
        (64, 256),  # fire8   512, 27, 27
        POOL,       #         512, 13, 13
        (64, 256),  # fire9   512, 13, 13
    ),
    "1.1": (
        (64, 3),    # conv1    64, 111, 111
        POOL,       #          64, 55, 55
        (16, 64),   # fire2   128, 55, 55
        (16, 64),   # fire3   128, 55, 55
        POOL,       #         128, 27, 27
        (32, 128),  # fire4   256, 27, 27
        (32, 128),  # fire5   256, 27, 27
        POOL,       #         256, 13, 13
        (48, 192),  # fire6   384, 13, 13
        (48, 192),  # fire7   384, 13, 13
        (64, 256),  # fire8   512, 13, 13
        (64, 256),  # fire9   512, 13, 13
    ),
}  # fmt: skip
ACTIVATIONS = ("relu", "elu")


def get_symbol(
    num_classes: int, image_shape: Tuple[int, ...], version: str, activation: str
) -> sym.Symbol:
    """(batch, *image_shape) to (batch, num_classes)."""
    if activation not in ACTIVATIONS:
        raise ArgumentError("activation", activation, f"use {' or '.join(ACTIVATIONS)}")
    (filters, kernel), *layers = VERSIONS[version]
    # conv1 reduces the smallest image to 12 pixels, the poolings to 6, 3 and 1.
    check_size(image_shape, kernel + 2 * 11, f"SqueezeNet {version}")
    x = sym.var("data")
    x = convolution(x, "conv1", filters, kernel, activation, stride=2)
    number = 1
    for layer in layers:
        if layer is POOL:
            x = sym.Pooling(
                x, kernel=(3, 3), stride=(2, 2), pool_type="max", pooling_convention="full",
                name=f"pool{number}",
            )  # fmt: skip
        else:
            number += 1
            squeezed, expanded = layer
            x = fire(x, f"fire{number}", squeezed, expanded, activation)
    x = sym.Dropout(x, p=0.5, name="drop9")
    x = convolution(x, "conv10", num_classes, 1, activation)  # classes, 13, 13
    x = sym.Pooling(x, global_pool=True, pool_type="avg", kernel=(1, 1), name="pool10")
    x = sym.Flatten(x, name="flatten10")  # classes
    return sym.SoftmaxOutput(x, name="softmax")


def fire(x: sym.Symbol, name: str, squeezed: int, expanded: int, activation: str) -> sym.Symbol:
    """Section 3.2: 1x1 convolutions squeeze the channels, 1x1 and 3x3 ones expand them."""
    x = convolution(x, f"{name}_squeeze1x1", squeezed, 1, activation)  # squeezed, h, w
    left = convolution(x, f"{name}_expand1x1", expanded, 1, activation)  # expanded, h, w
    right = convolution(x, f"{name}_expand3x3", expanded, 3, activation, pad=1)  # expanded, h, w
    return sym.Concat(left, right, dim=1, name=f"{name}_concat")  # 2 expanded, h, w


def convolution(
    x: sym.Symbol, name: str, filters: int, kernel: int, activation: str, stride: int = 1,
    pad: int = 0,
) -> sym.Symbol:  # fmt: skip
    """Convolution with bias, then the activation."""
    x = sym.Convolution(
        x, num_filter=filters, kernel=(kernel, kernel), stride=(stride, stride), pad=(pad, pad),
        name=name,
    )  # fmt: skip
    if activation == "elu":
        return sym.LeakyReLU(x, act_type="elu", slope=1.0, name=f"{name}_elu")
    return sym.Activation(x, act_type="relu", name=f"{name}_relu")
