"""Layers that three or more families use.

Every function takes a symbol of shape (batch, channels, height, width) and the name of the layer,
with which the names of its parameters begin.
"""

from typing import Tuple, Union

from imagenet_trainer.errors import ArgumentError
from imagenet_trainer.graph import sym

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


def batch_norm(x: sym.Symbol, name: str, eps: float = 1e-5, fix_gamma: bool = False) -> sym.Symbol:
    """BatchNorm with momentum 0.9; the default epsilon is Gluon's."""
    return sym.BatchNorm(x, fix_gamma=fix_gamma, eps=eps, momentum=0.9, name=name)


def relu(x: sym.Symbol, name: str) -> sym.Symbol:
    """Rectifier."""
    return sym.Activation(x, act_type="relu", name=name)


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
