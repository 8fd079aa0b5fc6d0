"""ConvNeXt, tiny, small and base.

Zhuang Liu, Hanzi Mao, Chao-Yuan Wu, Christoph Feichtenhofer, Trevor Darrell, Saining Xie: "A
ConvNet for the 2020s", arXiv:2201.03545, 2022 (table 9; figure 4).

They compute the same as torchvision's `convnext_*`. Learned parameters at 1,000 classes: tiny
28,589,128, small 50,223,688, base 88,591,464.

LayerNorm normalises the channels of each pixel, along axis 1; the dense layers of a unit are 1x1
convolutions here, which compute the same without transposing. GELU is the exact one, with erf.
"""

import json
from typing import Tuple

from imagenet_trainer.graph import sym
from imagenet_trainer.symbols.layers import check_size, classifier, convolution

# Units and channels of the four stages.
SIZES = {
    "tiny": ((3, 3, 9, 3), (96, 192, 384, 768)),
    "small": ((3, 3, 27, 3), (96, 192, 384, 768)),
    "base": ((3, 3, 27, 3), (128, 256, 512, 1024)),
}
LAYER_SCALE = 1e-6  # first value of the factors of the branches (table 5)
_FIRST_SCALE = json.dumps(["constant", {"value": LAYER_SCALE}])  # as MXNet writes it


def get_symbol(num_classes: int, image_shape: Tuple[int, ...], size: str) -> sym.Symbol:
    """(batch, *image_shape) to (batch, num_classes); shapes are for `tiny`, 224 pixels."""
    check_size(image_shape, 32, f"convnext-{size}")
    x = sym.var("data")  # 3, 224, 224
    x = strided(x, "conv0", SIZES[size][1][0], 4)  # 96, 56, 56
    x = layer_norm(x, "ln0")
    # 96, 56, 56 then 192, 28, 28 then 384, 14, 14 then 768, 7, 7
    for stage, (units, channels) in enumerate(zip(*SIZES[size]), start=1):
        if stage > 1:
            x = layer_norm(x, f"stage{stage}_ln")
            x = strided(x, f"stage{stage}_conv", channels, 2)
        for unit in range(1, units + 1):
            x = residual_unit(x, f"stage{stage}_unit{unit}", channels)
    x = sym.Pooling(x, global_pool=True, pool_type="avg", kernel=(1, 1), name="pool1")
    x = sym.Flatten(layer_norm(x, "ln1"), name="flatten0")  # 768
    return classifier(x, num_classes)  # num_classes


def residual_unit(x: sym.Symbol, name: str, channels: int) -> sym.Symbol:
    """Figure 4: a 7x7 per channel, two 1x1, scaled, plus the input; (channels, h, w)."""
    y = convolution(x, f"{name}_dw", channels, 7, groups=channels, bias=True)
    y = layer_norm(y, f"{name}_ln")
    y = convolution(y, f"{name}_conv1", 4 * channels, 1, bias=True)  # 4 channels, h, w
    y = sym.LeakyReLU(y, act_type="gelu", name=f"{name}_gelu")
    y = convolution(y, f"{name}_conv2", channels, 1, bias=True)  # channels, h, w
    scale = sym.var(f"{name}_layer_scale", shape=(channels,), init=_FIRST_SCALE)
    scale = sym.Reshape(scale, shape=(1, -1, 1, 1), name=f"{name}_scale")
    y = sym.broadcast_mul(y, scale, name=f"{name}_scaled")
    return sym.elemwise_add(y, x, name=f"{name}_plus")


def strided(x: sym.Symbol, name: str, filters: int, size: int) -> sym.Symbol:
    """A convolution of separate windows, without padding; (filters, h / size, w / size)."""
    return convolution(x, name, filters, size, stride=size, pad=0, bias=True)


def layer_norm(x: sym.Symbol, name: str) -> sym.Symbol:
    """LayerNorm over the channels of each pixel."""
    return sym.LayerNorm(x, axis=1, eps=1e-6, name=name)
