"""Layers and activations in ONNX: see `onnx_builder`."""

import functools
import math
from typing import Any, Dict, Optional, Sequence, Tuple

import numpy as np

from imagenet_trainer.convert.onnx_builder import OPERATORS, Builder, fixed
from imagenet_trainer.graph.implementations import UnsupportedError

Ints = Tuple[int, ...]
_PLANES = {"layout": ("NCHW", "NCW", "NCDHW", None)}
_CUDNN = "workspace cudnn_tune cudnn_off"


# --- linear layers -------------------------------------------------------------------------------


def _window(kernel: Ints, stride: Ints, pad: Ints, dilate: Ints) -> Dict[str, Ints]:
    ones, zeros = (1,) * len(kernel), (0,) * len(kernel)
    return {
        "kernel_shape": kernel, "strides": stride or ones, "pads": (pad or zeros) * 2,
        "dilations": dilate or ones,
    }  # fmt: skip


@OPERATORS.of("Convolution", f"num_filter no_bias {_CUDNN}", _PLANES)
def convolution(  # type: ignore[no-untyped-def]
    onnx: Builder, *inputs: str, kernel, stride, pad, dilate, num_group
) -> str:
    """Data, weight, and bias if there is one."""
    return onnx.add("Conv", *inputs, **_window(kernel, stride, pad, dilate), group=num_group)


@OPERATORS.of("Deconvolution", f"num_filter no_bias {_CUDNN}", {**_PLANES, "target_shape": ((),)})
def deconvolution(  # type: ignore[no-untyped-def]
    onnx: Builder, *inputs: str, kernel, stride, pad, adj, dilate, num_group
) -> str:
    """Transposed convolution."""
    window: Dict[str, Any] = _window(kernel, stride, pad, dilate)
    adj = adj or (0,) * len(kernel)
    return onnx.add("ConvTranspose", *inputs, **window, group=num_group, output_padding=adj)


@OPERATORS.of("FullyConnected", "num_hidden no_bias")
def fully_connected(onnx: Builder, x: str, weight: str, *bias: str, flatten: bool) -> str:
    """(n, ...) to (n, hidden); without `flatten`, the last axis only."""
    rank = len(onnx.shapes[x])
    if flatten or rank == 2:
        rows = x if rank == 2 else onnx.add("Flatten", x, axis=1)
        return onnx.add("Gemm", rows, weight, *bias, transB=1)
    product = onnx.add("MatMul", x, onnx.transposed(weight, (1, 0)))
    return onnx.add("Add", product, *bias) if bias else product


# --- pooling -------------------------------------------------------------------------------------


@OPERATORS.of(
    "Pooling", "cudnn_off p_value",
    {**_PLANES, "pooling_convention": ("valid", "full"), "pool_type": ("max", "avg", "sum")},
)  # fmt: skip
def pooling(  # type: ignore[no-untyped-def]
    onnx: Builder, x: str, *, kernel, stride, pad, pool_type, global_pool, pooling_convention,
    count_include_pad,
) -> str:  # fmt: skip
    """With `full`, the number of windows is rounded up: the right side gets more padding."""
    sizes = onnx.lengths(x, 2)
    if global_pool:
        whole = onnx.add("GlobalMaxPool" if pool_type == "max" else "GlobalAveragePool", x)
        if pool_type == "sum":
            return onnx.add("Mul", whole, onnx.number(math.prod(sizes)))
        return whole
    stride, pad = stride or (1,) * len(kernel), pad or (0,) * len(kernel)
    counts = fixed(onnx.output_shape[2:])
    starts = [np.arange(count) * s - p for count, s, p in zip(counts, stride, pad)]
    right = [
        max(p, int(first[-1]) + k - size) for first, size, k, p in zip(starts, sizes, kernel, pad)
    ]
    if any(p >= k for p, k in zip((*pad, *right), (*kernel, *kernel))):
        raise UnsupportedError("a window outside the image is not supported")
    how = {"kernel_shape": kernel, "strides": stride, "pads": (*pad, *right)}
    if pool_type == "max":
        return onnx.add("MaxPool", x, **how)
    include = count_include_pad is not False
    if pool_type == "avg" and not include and tuple(right) == tuple(pad):
        return onnx.add("AveragePool", x, **how, count_include_pad=0)
    average = onnx.add("AveragePool", x, **how, count_include_pad=1)
    # ONNX divides by the whole kernel, MXNet by the part of it that is not beyond the padding.
    factors = [
        k / _counted(first, k, size, p if include else 0) if pool_type == "avg"
        else np.full(len(first), float(k))
        for first, k, size, p in zip(starts, kernel, sizes, pad)
    ]  # fmt: skip
    factor = functools.reduce(np.multiply.outer, factors)
    if (factor == 1).all():
        return average
    return onnx.add("Mul", average, onnx.constant(factor.astype(np.float32), "factor"))


def _counted(first: np.ndarray, kernel: int, size: int, pad: int) -> np.ndarray:
    """How many elements of each window are in the image with this padding."""
    return np.minimum(first + kernel, size + pad) - np.maximum(first, -pad)


@OPERATORS.of("_contrib_AdaptiveAvgPooling2D", "output_size")
def adaptive_average_pooling(onnx: Builder, x: str) -> str:
    """(n, c, h, w) to (n, c, *output_size)."""
    sizes, wanted = onnx.lengths(x, 2), fixed(onnx.output_shape[2:])
    if wanted == (1, 1):
        return onnx.add("GlobalAveragePool", x)
    if not any(size % count for size, count in zip(sizes, wanted)):
        kernel = [size // count for size, count in zip(sizes, wanted)]
        return onnx.add("AveragePool", x, kernel_shape=kernel, strides=kernel)
    rows, columns = map(_averages, sizes, wanted)
    narrow = onnx.add("MatMul", x, onnx.constant(columns.T, "columns"))
    return onnx.add("MatMul", onnx.constant(rows, "rows"), narrow)


def _averages(size: int, count: int) -> np.ndarray:
    """The matrix (count, size) of averages over nearly equal, perhaps overlapping parts."""
    matrix = np.zeros((count, size), np.float32)
    for part in range(count):
        first, last = part * size // count, -(-(part + 1) * size // count)
        matrix[part, first:last] = 1 / (last - first)
    return matrix


# --- sizes of images -----------------------------------------------------------------------------


@OPERATORS.of(
    "_contrib_BilinearResize2D", "height width",
    {"mode": ("size", "like"), "scale_height": (None,), "scale_width": (None,)},
)  # fmt: skip
def bilinear_resize(onnx: Builder, x: str, like: str = "", *, align_corners: bool) -> str:
    """Bilinear interpolation to another height and width."""
    rest = fixed(onnx.output_shape[1:])
    if not align_corners and 1 in rest[1:] and rest != onnx.lengths(x, 1):
        # MXNet uses the first pixel, ONNX one in the middle.
        raise UnsupportedError("an output of one row or column is not supported")
    zero, one = onnx.integers([0], "first"), onnx.integers([1], "last")
    batch = onnx.add("Slice", onnx.add("Shape", x), zero, one)
    sizes = onnx.add("Concat", batch, onnx.integers(rest, "sizes"), axis=0)
    corners = "align_corners" if align_corners else "half_pixel"
    return onnx.add(
        "Resize", x, "", "", sizes, mode="linear", coordinate_transformation_mode=corners
    )


@OPERATORS.of(
    "UpSampling", "num_filter workspace multi_input_mode",
    {"sample_type": ("nearest",), "num_args": (1,)},
)  # fmt: skip
def up_sampling(onnx: Builder, x: str, *, scale: int) -> str:
    """Every pixel repeated as a square of `scale` by `scale`."""
    scales = onnx.constant(np.array([1, 1, scale, scale], np.float32), "scales")
    return onnx.add(
        "Resize", x, "", scales, mode="nearest", nearest_mode="floor",
        coordinate_transformation_mode="asymmetric",
    )  # fmt: skip


# --- normalisation -------------------------------------------------------------------------------


@OPERATORS.of(
    "BatchNorm BatchNorm_v1 _contrib_SyncBatchNorm",
    "momentum use_global_stats cudnn_off ndev key",
    {"axis": (1,), "output_mean_var": (False,)},
)
def batch_norm(onnx: Builder, x: str, gamma: str, *more: str, eps: float, fix_gamma: bool) -> str:
    """By the moving statistics. Weight decay changes stored gammas that are fixed at 1."""
    if fix_gamma:
        gamma = onnx.constant(np.ones(onnx.lengths(gamma), np.float32), "gamma")
    return onnx.add("BatchNormalization", x, gamma, *more, epsilon=eps)


@OPERATORS.of("LayerNorm", "", {"output_mean_var": (False,)})
def layer_norm(onnx: Builder, x: str, gamma: str, beta: str, *, axis: int, eps: float) -> str:
    """X normalised along one axis."""
    rank = len(onnx.shapes[x])
    along = [-1 if number == axis % rank else 1 for number in range(rank)]
    shape = [onnx.lengths(gamma)[0] if length < 0 else 1 for length in along]
    centred = onnx.add("Sub", x, onnx.add("ReduceMean", x, axes=[axis]))
    variance = onnx.add("ReduceMean", onnx.add("Mul", centred, centred), axes=[axis])
    deviation = onnx.add("Sqrt", onnx.add("Add", variance, onnx.number(eps)))
    normal = onnx.add("Div", centred, deviation)
    scaled = onnx.add("Mul", normal, onnx.reshaped(gamma, shape))
    return onnx.add("Add", scaled, onnx.reshaped(beta, shape))


@OPERATORS.of("InstanceNorm")
def instance_norm(onnx: Builder, x: str, gamma: str, beta: str, *, eps: float) -> str:
    """Every channel of every image normalised."""
    return onnx.add("InstanceNormalization", x, gamma, beta, epsilon=eps)


@OPERATORS.of("GroupNorm", "", {"output_mean_var": (False,)})
def group_norm(onnx: Builder, x: str, gamma: str, beta: str, *, num_groups: int, eps: float) -> str:
    """X normalised over groups of channels; gamma and beta are (groups,)."""
    elements = math.prod(onnx.lengths(x, 1)) // num_groups
    groups = onnx.reshaped(x, (None, num_groups, elements))
    normal = onnx.add("InstanceNormalization", groups, gamma, beta, epsilon=eps)
    return onnx.reshaped(normal, onnx.output_shape)


@OPERATORS.of("LRN")
def lrn(onnx: Builder, x: str, *, alpha: float, beta: float, knorm: float, nsize: int) -> str:
    """Local response normalisation across channels."""
    return onnx.add("LRN", x, alpha=alpha, beta=beta, bias=knorm, size=nsize)


@OPERATORS.of("L2Normalization")
def l2_normalization(onnx: Builder, x: str, *, eps: float, mode: str) -> str:
    """X divided by its L2 norm: `instance` over all, `channel` per pixel, `spatial` per plane."""
    rank = len(onnx.shapes[x])
    axes: Sequence[int] = {"channel": (1,), "spatial": range(2, rank)}.get(mode, range(1, rank))
    squares = onnx.add("ReduceSumSquare", x, axes=list(axes))
    return onnx.add("Div", x, onnx.add("Sqrt", onnx.add("Add", squares, onnx.number(eps))))


@OPERATORS.of("Dropout", "p axes cudnn_off", {"mode": ("training",)})
def dropout(onnx: Builder, x: str) -> str:
    """X itself: only training drops."""
    return x


# --- activations ---------------------------------------------------------------------------------

_ACTIVATIONS = {
    "relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "softrelu": "Softplus",
    "softsign": "Softsign",
}  # fmt: skip


@OPERATORS.of("Activation")
def activation(onnx: Builder, x: str, *, act_type: str) -> str:
    """An activation function, element by element."""
    return onnx.add(_ACTIVATIONS[act_type], x)


@OPERATORS.of(
    "LeakyReLU", "lower_bound upper_bound",
    {"act_type": ("leaky", "elu", "prelu", "gelu", "selu")},
)  # fmt: skip
def leaky_relu(onnx: Builder, x: str, gamma: str = "", *, act_type: str, slope: float) -> str:
    """X above zero; below: slope x (leaky), slope (e^x - 1) (elu), gamma x (prelu)."""
    if act_type == "prelu":
        spatial = (1,) * (len(onnx.shapes[x]) - 2)
        return onnx.add("PRelu", x, onnx.reshaped(gamma, (*onnx.lengths(gamma), *spatial)))
    if act_type == "gelu":
        part = onnx.add("Erf", onnx.add("Mul", x, onnx.number(math.sqrt(0.5))))
        share = onnx.add("Add", part, onnx.number(1.0))
        return onnx.add("Mul", onnx.add("Mul", x, share), onnx.number(0.5))
    if act_type == "selu":
        return onnx.add("Selu", x)
    return onnx.add("LeakyRelu" if act_type == "leaky" else "Elu", x, alpha=slope)


@OPERATORS.of("hard_sigmoid")
def hard_sigmoid(onnx: Builder, x: str, *, alpha: float, beta: float) -> str:
    """Alpha x + beta, limited to [0, 1]."""
    return onnx.add("HardSigmoid", x, alpha=alpha, beta=beta)


@OPERATORS.of("clip")
def clip(onnx: Builder, x: str, *, a_min: float, a_max: float) -> str:
    """X limited to [a_min, a_max]."""
    return onnx.add("Clip", x, onnx.number(a_min), onnx.number(a_max))


def _softmax(op: str, sign: float) -> Any:
    def compute(onnx: Builder, x: str, *, axis: int, temperature: Optional[float]) -> str:
        if sign / (temperature or 1.0) != 1:
            x = onnx.add("Mul", x, onnx.number(sign / (temperature or 1.0)))
        return onnx.add(op, x, axis=axis)

    return compute


_PLAIN = {"use_length": (False,), "dtype": (None, "float32")}
OPERATORS.of("softmax", "", _PLAIN)(_softmax("Softmax", 1))
OPERATORS.of("softmin", "", _PLAIN)(_softmax("Softmax", -1))
OPERATORS.of("log_softmax", "", _PLAIN)(_softmax("LogSoftmax", 1))


@OPERATORS.of("SoftmaxActivation")
def softmax_activation(onnx: Builder, x: str, *, mode: str) -> str:
    """Probabilities of each row (n, classes), or over the channels of each pixel."""
    if mode == "instance" and len(onnx.shapes[x]) > 2:
        # Documented as over a whole image, but MXNet's CPU version uses the last axis.
        raise UnsupportedError("mode instance with more than two axes is not supported")
    return onnx.add("Softmax", x, axis=1)


@OPERATORS.of(
    "SoftmaxOutput", "grad_scale ignore_label use_ignore normalization smooth_alpha out_grad"
)
def softmax_output(
    onnx: Builder, x: str, label: str, *, multi_output: bool, preserve_shape: bool
) -> str:
    """Probabilities; only training uses the label."""
    if not (multi_output or preserve_shape) and len(onnx.shapes[x]) > 2:
        raise UnsupportedError("probabilities over several axes are not supported")
    return onnx.add("Softmax", x, axis=1 if multi_output else -1)
