"""MXNet's operators in PyTorch, with MXNet's semantics where the two differ.

An entry of `OPERATORS` is a function of tensors with keyword options, and its attributes with
MXNet's defaults. Attributes that are neither supported nor known to have no effect are refused: a
network computes exactly what its symbol defines, or not at all.

This module has layers and activations, `arithmetic` has arithmetic and shapes, `modes` has the
operators that differ between training and inference. Tensors have the shape NCHW in any memory
format (channels_last).
"""

import math
from typing import Any, Callable, Dict, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from imagenet_trainer.graph.implementations import Implementations, UnsupportedError

OPERATORS = Implementations()
operator = OPERATORS.of

_PLANES = {"layout": ("NCHW", "NCW", "NCDHW", None)}
_CUDNN = "workspace cudnn_tune cudnn_off"


# --- layers ------------------------------------------------------------------------------------


@operator("Convolution", f"kernel num_filter no_bias {_CUDNN}", _PLANES)
def convolution(  # type: ignore[no-untyped-def]
    x: Tensor, weight: Tensor, bias: Optional[Tensor] = None, *, stride, pad, dilate, num_group
) -> Tensor:
    """(n, c, ...) and (filters, c / groups, ...) to (n, filters, ...)."""
    compute = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}[weight.dim()]
    return compute(x, weight, bias, stride or 1, pad or 0, dilate or 1, num_group)


@operator(
    "Deconvolution", f"kernel num_filter no_bias {_CUDNN}", {**_PLANES, "target_shape": ((),)}
)
def deconvolution(  # type: ignore[no-untyped-def]
    x: Tensor, weight: Tensor, bias: Optional[Tensor] = None, *, stride, pad, adj, dilate, num_group
) -> Tensor:
    """Transposed convolution."""
    compute = {3: F.conv_transpose1d, 4: F.conv_transpose2d, 5: F.conv_transpose3d}[weight.dim()]
    return compute(x, weight, bias, stride or 1, pad or 0, adj or 0, num_group, dilate or 1)


@operator("FullyConnected", "num_hidden no_bias")
def fully_connected(
    x: Tensor, weight: Tensor, bias: Optional[Tensor] = None, *, flatten: bool
) -> Tensor:
    """(n, ...) to (n, hidden); without `flatten`, the last axis only."""
    return F.linear(x.flatten(1) if flatten else x, weight, bias)


@operator("Pooling", "cudnn_off p_value", {**_PLANES, "pooling_convention": ("valid", "full")})
def pooling(  # type: ignore[no-untyped-def]
    x: Tensor, *, kernel, stride, pad, pool_type, global_pool, pooling_convention, count_include_pad
) -> Tensor:
    """With `full`, the number of windows is rounded up and the last one may cross the edge."""
    dims = x.dim() - 2
    if global_pool:
        kernel, stride, pad, pooling_convention = tuple(x.shape[2:]), (), (), "valid"
    stride, pad = stride or (1,) * dims, pad or (0,) * dims
    if any(2 * p > k for k, p in zip(kernel, pad)):
        raise UnsupportedError("a pad wider than half of the kernel is not supported")
    full = pooling_convention == "full"
    if full:
        for size, k, s, p in zip(x.shape[2:], kernel, stride, pad):
            last = math.ceil((size + 2 * p - k) / s) * s
            if last >= size + p:
                # PyTorch omits such a window, MXNet fills it with the lowest number.
                raise UnsupportedError("a last window outside the image is not supported")
    if pool_type == "max":
        maximum = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}[dims]
        return maximum(x, kernel, stride, pad, ceil_mode=full)
    if pool_type == "avg" or (pool_type == "sum" and dims > 1):
        average: Any = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}[dims]
        if pool_type == "sum":
            return average(x, kernel, stride, pad, full, True, divisor_override=1)
        if global_pool:
            return x.mean(tuple(range(2, x.dim())), keepdim=True)
        return average(x, kernel, stride, pad, full, count_include_pad is not False)
    raise UnsupportedError(f"pool_type {pool_type} in {dims} dimensions is not supported")


@operator("_contrib_AdaptiveAvgPooling2D")
def adaptive_average_pooling(x: Tensor, *, output_size: Tuple[int, ...]) -> Tensor:
    """(n, c, h, w) to (n, c, *output_size)."""
    if output_size in ((), (1,), (1, 1)):
        return x.mean((2, 3), keepdim=True)
    return F.adaptive_avg_pool2d(x, output_size if len(output_size) == 2 else output_size * 2)


@operator(
    "_contrib_BilinearResize2D", "",
    {"mode": ("size", "like"), "scale_height": (None,), "scale_width": (None,)},
)  # fmt: skip
def bilinear_resize(  # type: ignore[no-untyped-def]
    x: Tensor, like: Optional[Tensor] = None, *, height, width, mode, align_corners
) -> Tensor:
    """Bilinear interpolation to another height and width."""
    size = tuple(like.shape[2:]) if mode == "like" and like is not None else (height, width)
    if not align_corners and 1 in size and size != tuple(x.shape[2:]):
        # MXNet uses the first pixel, PyTorch one in the middle.
        raise UnsupportedError("an output of one row or column is not supported")
    return F.interpolate(x, size=size, mode="bilinear", align_corners=align_corners)


@operator(
    "UpSampling", "num_filter workspace multi_input_mode",
    {"sample_type": ("nearest",), "num_args": (1,)},
)  # fmt: skip
def up_sampling(x: Tensor, *, scale: int) -> Tensor:
    """Every pixel repeated as a square of `scale` by `scale`."""
    return F.interpolate(x, scale_factor=scale, mode="nearest")


@operator("LRN")
def lrn(x: Tensor, *, alpha: float, beta: float, knorm: float, nsize: int) -> Tensor:
    """Local response normalisation across channels."""
    return F.local_response_norm(x, nsize, alpha, beta, knorm)


@operator("L2Normalization")
def l2_normalization(x: Tensor, *, eps: float, mode: str) -> Tensor:
    """X divided by its L2 norm: `instance` over all, `channel` per pixel, `spatial` per plane."""
    axes = {"channel": (1,), "spatial": tuple(range(2, x.dim()))}.get(
        mode, tuple(range(1, x.dim()))
    )
    return x / torch.sqrt(x.square().sum(axes, keepdim=True) + eps)


@operator("LayerNorm", "", {"output_mean_var": (False,)})
def layer_norm(x: Tensor, gamma: Tensor, beta: Tensor, *, axis: int, eps: float) -> Tensor:
    """X normalised along one axis."""
    moved = x.movedim(axis, -1)
    return F.layer_norm(moved, moved.shape[-1:], gamma, beta, eps).movedim(-1, axis)


@operator("GroupNorm", "", {"output_mean_var": (False,)})
def group_norm(x: Tensor, gamma: Tensor, beta: Tensor, *, num_groups: int, eps: float) -> Tensor:
    """X normalised over groups of channels; gamma and beta are (groups,), unlike PyTorch's."""
    of_group = (1, -1, *[1] * (x.dim() - 1))
    groups = F.group_norm(x, num_groups, None, None, eps).unflatten(1, (num_groups, -1))
    return (groups * gamma.reshape(of_group) + beta.reshape(of_group)).flatten(1, 2)


# --- activations -------------------------------------------------------------------------------

_ACTIVATIONS: Dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu, "sigmoid": torch.sigmoid, "tanh": torch.tanh, "softrelu": F.softplus,
    "softsign": F.softsign,
}  # fmt: skip


@operator("Activation")
def activation(x: Tensor, *, act_type: str) -> Tensor:
    """An activation function, element by element."""
    return _ACTIVATIONS[act_type](x)


# selu is omitted: MXNet's gradient of it is not its derivative (measured).
@operator("LeakyReLU", "lower_bound upper_bound", {"act_type": ("leaky", "elu", "prelu", "gelu")})
def leaky_relu(x: Tensor, gamma: Optional[Tensor] = None, *, act_type: str, slope: float) -> Tensor:
    """X above zero; below: slope x (leaky), slope (e^x - 1) (elu), gamma x (prelu)."""
    if act_type == "prelu":
        assert gamma is not None
        return F.prelu(x, gamma.flatten())
    if act_type == "elu":
        return F.elu(x, slope)
    if act_type == "leaky":
        return F.leaky_relu(x, slope)
    return F.gelu(x)


@operator("hard_sigmoid")
def hard_sigmoid(x: Tensor, *, alpha: float, beta: float) -> Tensor:
    """Alpha x + beta, limited to [0, 1]."""
    return (alpha * x + beta).clamp(0, 1)


@operator("clip")
def clip(x: Tensor, *, a_min: float, a_max: float) -> Tensor:
    """X limited to [a_min, a_max]."""
    return x.clamp(a_min, a_max)


_PLAIN_SOFTMAX = {"temperature": (None, 1.0), "use_length": (False,), "dtype": (None, "float32")}


@operator("softmax", "", _PLAIN_SOFTMAX)
def softmax(x: Tensor, *, axis: int) -> Tensor:
    """Probabilities along an axis."""
    return x.softmax(axis)


@operator("log_softmax", "", _PLAIN_SOFTMAX)
def log_softmax(x: Tensor, *, axis: int) -> Tensor:
    """Logarithms of the probabilities along an axis."""
    return x.log_softmax(axis)


@operator("SoftmaxActivation")
def softmax_activation(x: Tensor, *, mode: str) -> Tensor:
    """Probabilities of each row (n, classes), or over the channels of each pixel."""
    if mode == "instance" and x.dim() > 2:
        # Documented as over a whole image, but MXNet's CPU version uses the last axis (measured).
        raise UnsupportedError("mode instance with more than two axes is not supported")
    return x.softmax(1)
