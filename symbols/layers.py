"""Layers that three or more families use.

Every function takes a symbol of shape (batch, channels, height, width) and the name of the layer,
with which the names of its parameters begin.
"""

from typing import Tuple, Union

from imagenet_trainer.errors import ArgumentError
from imagenet_trainer.graph import sym

SIXTH = 0.1666666716337204  # 1/6 in float32: MXNet stores the attribute so, in any precision
Size = Union[int, Tuple[int, int]]  # one number for both, or (height, width)


def convolution(
    x: sym.Symbol, name: str, filters: int, kernel: Size, stride: int = 1, pad: Size = -1,
    groups: int = 1, bias: bool = False,
) -> sym.Symbol:  # fmt: skip
    """Convolution; by default padded to keep the size at stride 1."""
    height, width = _pair(kernel)
    margins = (height // 2, width // 2) if pad == -1 else _pair(pad)
    return sym.Convolution(
        x, num_filter=filters, kernel=(height, width), stride=(stride, stride), pad=margins,
        num_group=groups, no_bias=not bias, name=name,
    )  # fmt: skip


def batch_norm(
    x: sym.Symbol, name: str, eps: float = 1e-5, fix_gamma: bool = False, momentum: float = 0.9
) -> sym.Symbol:
    """BatchNorm; the default epsilon is Gluon's. PyTorch's momentum is one minus this one."""
    return sym.BatchNorm(x, fix_gamma=fix_gamma, eps=eps, momentum=momentum, name=name)


def relu(x: sym.Symbol, name: str) -> sym.Symbol:
    """Rectifier."""
    return sym.Activation(x, act_type="relu", name=name)


def activation(x: sym.Symbol, kind: str, name: str) -> sym.Symbol:
    """`relu`, `relu6`, `swish` (SiLU), `sigmoid`, `hard_swish` or `hard_sigmoid`.

    swish(x) is x sigmoid(x) (arXiv:1710.05941); in the hard forms the sigmoid is min(1, max(0,
    x / 6 + 1 / 2)) (arXiv:1905.02244, section 5.2).
    """
    if kind in ("relu", "sigmoid"):
        return sym.Activation(x, act_type=kind, name=name)
    if kind == "relu6":
        return sym.clip(x, a_min=0, a_max=6, name=name)
    if kind == "hard_sigmoid":
        return sym.hard_sigmoid(x, alpha=SIXTH, beta=0.5, name=name)
    gate = activation(x, kind.replace("swish", "sigmoid"), f"{name}_gate")
    return sym.elemwise_mul(x, gate, name=name)


def conv_bn_act(
    x: sym.Symbol, name: str, filters: int, kernel: Size, act: str = "relu", stride: int = 1,
    groups: int = 1, pad: Size = -1, eps: float = 1e-5, fix_gamma: bool = False,
    momentum: float = 0.9,
) -> sym.Symbol:  # fmt: skip
    """Convolution, BatchNorm, and one of the activations of `activation`."""
    x = convolution(x, name, filters, kernel, stride, pad, groups)
    x = batch_norm(x, f"{name}_bn", eps, fix_gamma, momentum)
    return activation(x, act, f"{name}_{act}")


def squeeze_excitation(
    x: sym.Symbol, name: str, channels: int, squeezed: int, inner: str = "relu",
    gate: str = "sigmoid",
) -> sym.Symbol:  # fmt: skip
    """X with each channel multiplied by a number from 0 to 1 that depends on all channels' means.

    Jie Hu, Li Shen, Samuel Albanie, Gang Sun, Enhua Wu: "Squeeze-and-Excitation Networks",
    arXiv:1709.01507, 2017 (figure 2). `inner` and `gate` are activations.
    """
    y = sym.Pooling(x, global_pool=True, pool_type="avg", kernel=(1, 1), name=f"{name}_pool")
    y = convolution(y, f"{name}_fc1", squeezed, 1, bias=True)  # squeezed, 1, 1
    y = activation(y, inner, f"{name}_{inner}")
    y = convolution(y, f"{name}_fc2", channels, 1, bias=True)  # channels, 1, 1
    return sym.broadcast_mul(x, activation(y, gate, f"{name}_{gate}"), name=name)


def rounded(channels: float) -> int:
    """The nearest multiple of 8; the next one if that is less than 0.9 `channels`.

    TensorFlow's rule for the widths of MobileNet v2, v3 and EfficientNet.
    """
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest


def max_pool(
    x: sym.Symbol, name: str, kernel: int, stride: int, pad: int = 0, partial: bool = False
) -> sym.Symbol:
    """Max pooling; with `partial`, windows that cross the right and bottom edge count (Caffe)."""
    return _pool(x, name, "max", kernel, stride, pad, partial)


def mean_pool(x: sym.Symbol, name: str, kernel: int, stride: int, pad: int = 0) -> sym.Symbol:
    """Mean pooling; padding counts as zeros."""
    return _pool(x, name, "avg", kernel, stride, pad, False)


def mean_of_planes(x: sym.Symbol, name: str = "pool1") -> sym.Symbol:
    """(batch, channels): global mean pooling."""
    x = sym.Pooling(x, global_pool=True, pool_type="avg", kernel=(1, 1), name=name)
    return sym.Flatten(x, name="flatten0")


def dense(x: sym.Symbol, name: str, units: int) -> sym.Symbol:
    """(batch, units), with bias; x may have any shape after the batch axis."""
    return sym.FullyConnected(x, num_hidden=units, name=name)


def classifier(x: sym.Symbol, num_classes: int, name: str = "fc1") -> sym.Symbol:
    """(batch, features) to the network's output `softmax`, (batch, num_classes)."""
    return sym.SoftmaxOutput(dense(x, name, num_classes), name="softmax")


def sigmoid_classifier(x: sym.Symbol, num_classes: int, name: str) -> sym.Symbol:
    """As `classifier`, but with one logit z for two classes, as before a sigmoid.

    softmax([-z/2, z/2]) is [1 - sigmoid(z), sigmoid(z)], and its cross-entropy is the binary one:
    the same parameters, loss and gradients, with the output that every other network has.
    """
    if num_classes != 2:
        return classifier(x, num_classes, name)
    logit = dense(x, name, 1)
    halves = [scaled(logit, scalar, f"{name}_{side}") for scalar, side in ((-0.5, 0), (0.5, 1))]
    return sym.SoftmaxOutput(sym.Concat(*halves, dim=1, name=f"{name}_both"), name="softmax")


def scaled(x: sym.Symbol, scalar: float, name: str) -> sym.Symbol:
    """X multiplied by a constant."""
    return sym._internal._mul_scalar(x, scalar=scalar, name=name)


def check_size(image_shape: Tuple[int, ...], least: int, network: str) -> None:
    """Raise ArgumentError for images that are too small for the network's strides."""
    if min(image_shape[1:]) < least:
        raise ArgumentError(
            "image_shape", image_shape, f"{network} needs at least {least} x {least} pixels"
        )


def _pool(
    x: sym.Symbol, name: str, kind: str, kernel: int, stride: int, pad: int, partial: bool
) -> sym.Symbol:
    return sym.Pooling(
        x, kernel=(kernel, kernel), stride=(stride, stride), pad=(pad, pad), pool_type=kind,
        pooling_convention="full" if partial else "valid", name=name,
    )  # fmt: skip


def _pair(size: Size) -> Tuple[int, int]:
    return (size, size) if isinstance(size, int) else size
