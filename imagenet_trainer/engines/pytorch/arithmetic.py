"""MXNet's arithmetic and shape operators in PyTorch: see `operators`."""

from typing import Any, Callable, Optional, Sequence, Tuple, Union

import torch
import torch.nn.functional as F
from torch import Tensor

from imagenet_trainer.engines.pytorch.operators import operator
from imagenet_trainer.graph.shapes import reshaped

# --- arithmetic --------------------------------------------------------------------------------


def same(x: Tensor) -> Tensor:
    """The input itself."""
    return x


def detached(x: Tensor) -> Tensor:
    """The input, through which no gradient flows."""
    return x.detach()


def flatten(x: Tensor) -> Tensor:
    """(n, ...) to (n, all)."""
    return x.flatten(1)


def added(*parts: Tensor) -> Tensor:
    """The sum of all inputs."""
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def greater(x: Tensor, y: Tensor) -> Tensor:
    """The maximum of both; if they are equal, the first has the gradient, as in MXNet."""
    return torch.where((x >= y) | x.isnan(), x, y)


def lesser(x: Tensor, y: Tensor) -> Tensor:
    """The minimum of both; if they are equal, the first has the gradient, as in MXNet."""
    return torch.where((x <= y) | x.isnan(), x, y)


for _names, _compute in {
    "_copy": same,
    "BlockGrad": detached,
    "Flatten": flatten,
    "relu": F.relu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "exp": torch.exp,
    "log": torch.log,
    "sqrt": torch.sqrt,
    "rsqrt": torch.rsqrt,
    "square": torch.square,
    "abs": torch.abs,
    "negative": torch.neg,
    "erf": torch.erf,
    "softsign": F.softsign,
    "ones_like": torch.ones_like,
    "zeros_like": torch.zeros_like,
    "elemwise_add broadcast_add _grad_add": torch.add,
    "elemwise_sub broadcast_sub": torch.sub,
    "elemwise_mul broadcast_mul": torch.mul,
    "elemwise_div broadcast_div": torch.div,
    "_maximum broadcast_maximum": greater,
    "_minimum broadcast_minimum": lesser,
    "_power broadcast_power": torch.pow,
}.items():
    operator(_names)(_compute)
operator("add_n")(added)


def _with_scalar(name: str, compute: Callable[[Tensor, float], Tensor]) -> Callable[..., Tensor]:
    def computed(x: Tensor, *, scalar: float) -> Tensor:
        return compute(x, scalar)

    operator(name, "is_int")(computed)
    return computed


_with_scalar("_plus_scalar", torch.add)
_with_scalar("_minus_scalar", torch.sub)
_with_scalar("_rminus_scalar", lambda x, scalar: scalar - x)
times_scalar = _with_scalar("_mul_scalar", torch.mul)
_with_scalar("_div_scalar", torch.div)
_with_scalar("_rdiv_scalar", lambda x, scalar: scalar / x)
_with_scalar("_power_scalar", torch.pow)
_with_scalar("_maximum_scalar", lambda x, scalar: x.clamp(min=scalar))
_with_scalar("_minimum_scalar", lambda x, scalar: x.clamp(max=scalar))


def _axes(x: Tensor, axis: Union[int, Sequence[int], None], exclude: bool) -> Tuple[int, ...]:
    every = tuple(range(x.dim()))
    if axis is None or axis == ():
        return every
    named = {a % x.dim() for a in ((axis,) if isinstance(axis, int) else axis)}
    return tuple(a for a in every if (a in named) != exclude)


def _at_least_1d(x: Tensor) -> Tensor:
    return x if x.dim() else x.reshape(1)  # MXNet has no 0-dimensional arrays


@operator("mean")
def mean(x: Tensor, *, axis: Any, keepdims: bool, exclude: bool) -> Tensor:
    """The mean over some axes."""
    return _at_least_1d(x.mean(_axes(x, axis, exclude), keepdims))


@operator("sum")
def total(x: Tensor, *, axis: Any, keepdims: bool, exclude: bool) -> Tensor:
    """The sum over some axes."""
    return _at_least_1d(x.sum(_axes(x, axis, exclude), keepdims))


@operator("max")
def maximum(x: Tensor, *, axis: Any, keepdims: bool, exclude: bool) -> Tensor:
    """The maximum over some axes; each of several equal elements gets the whole gradient."""
    axes = _axes(x, axis, exclude)
    top = x.amax(axes, keepdims)
    # PyTorch divides the gradient among equal elements, MXNet does not.
    equals = (x == x.amax(axes, True)).sum(axes, keepdims)
    return _at_least_1d(top + (equals - 1) * (top - top.detach()))


def _constant(name: str, value: float) -> None:
    def filled(x: Tensor, *, shape: Tuple[int, ...], dtype: str) -> Tensor:
        return torch.full(shape, value, dtype=getattr(torch, dtype), device=x.device)

    # The input x only determines the device.
    operator(name, "ctx")(filled)


_constant("_ones", 1.0)
_constant("_zeros", 0.0)


# --- shapes ------------------------------------------------------------------------------------


@operator("Concat", "num_args")
def concat(*parts: Tensor, dim: int) -> Tensor:
    """The inputs joined along an axis."""
    return torch.cat(parts, dim)


@operator("stack", "num_args")
def stack(*parts: Tensor, axis: int) -> Tensor:
    """The inputs joined along a new axis."""
    return torch.stack(parts, axis)


@operator("SliceChannel")
def split(x: Tensor, *, num_outputs: int, axis: int, squeeze_axis: bool) -> Any:
    """Equal parts along an axis."""
    parts = x.chunk(num_outputs, axis)
    parts = tuple(part.squeeze(axis) for part in parts) if squeeze_axis else parts
    return parts if num_outputs > 1 else parts[0]


@operator("slice")
def slice_(x: Tensor, *, begin: Any, end: Any, step: Any) -> Tensor:
    """x[begin:end:step], axis by axis."""
    step = step or (None,) * len(begin)
    index = []
    for axis, (first, last, by) in enumerate(zip(begin, end, step)):
        if by is not None and by < 0:
            positions = range(*slice(first, last, by).indices(x.shape[axis]))
            x = x.index_select(axis, torch.tensor(list(positions), device=x.device))
            index.append(slice(None))
        else:
            index.append(slice(first, last, by))
    return x[tuple(index)]


@operator("slice_axis")
def slice_axis(x: Tensor, *, axis: int, begin: int, end: Optional[int]) -> Tensor:
    """x[begin:end] along one axis."""
    first, last, _ = slice(begin, end).indices(x.shape[axis])
    return x.narrow(axis, first, last - first)


@operator("slice_like")
def slice_like(x: Tensor, like: Tensor, *, axes: Tuple[int, ...]) -> Tensor:
    """The beginning of x, with the length of `like` along some axes."""
    for axis in axes or range(min(x.dim(), like.dim())):
        x = x.narrow(axis, 0, like.shape[axis])
    return x


@operator("broadcast_like", "", {"lhs_axes": (None, ()), "rhs_axes": (None, ())})
def broadcast_like(x: Tensor, like: Tensor) -> Tensor:
    """X repeated along its axes of length one, to the shape of `like`."""
    return x.expand(like.shape)


@operator("broadcast_axis")
def broadcast_axis(x: Tensor, *, axis: Tuple[int, ...], size: Tuple[int, ...]) -> Tensor:
    """X repeated along some axes of length one."""
    shape = list(x.shape)
    for number, length in zip(axis, size):
        shape[number] = length
    return x.expand(shape)


@operator("batch_dot", "forward_stype")
def batch_dot(x: Tensor, y: Tensor, *, transpose_a: bool, transpose_b: bool) -> Tensor:
    """The product of the matrices in the last two axes."""
    return torch.matmul(x.mT if transpose_a else x, y.mT if transpose_b else y)


@operator("SwapAxis")
def swap_axis(x: Tensor, *, dim1: int, dim2: int) -> Tensor:
    """X with two axes exchanged."""
    return x.transpose(dim1, dim2)


@operator("transpose")
def transpose(x: Tensor, *, axes: Tuple[int, ...]) -> Tensor:
    """X with the axes in another order, by default reversed."""
    return x.permute(axes or tuple(reversed(range(x.dim()))))


@operator("expand_dims")
def expand_dims(x: Tensor, *, axis: int) -> Tensor:
    """X with a new axis of length one."""
    return x.unsqueeze(axis)


@operator("squeeze")
def squeeze(x: Tensor, *, axis: Any) -> Tensor:
    """X without axes of length one."""
    return x.squeeze() if axis is None else x.squeeze(axis)


@operator("Pad")
def pad(x: Tensor, *, mode: str, pad_width: Tuple[int, ...], constant_value: float) -> Tensor:
    """X padded by (before, after) along each axis; only `constant` pads the first two axes."""
    pairs = [pad_width[i : i + 2] for i in range(0, len(pad_width), 2)]
    if mode != "constant":
        pairs = pairs[2:]
    widths = [width for pair in reversed(pairs) for width in pair]
    if mode == "constant":
        return F.pad(x, widths, value=constant_value)
    return F.pad(x, widths, mode={"edge": "replicate", "reflect": "reflect"}[mode])


# Other float types would need parameters of the same type.
@operator("Cast", "", {"dtype": ("float32", "uint8", "int8", "int32", "int64", "bool")})
def cast(x: Tensor, *, dtype: str) -> Tensor:
    """X converted to another type."""
    return x.to(getattr(torch, dtype))


@operator("Reshape", "", {"keep_highest": (False,), "target_shape": ((), (0,), (0, 0))})
def reshape(x: Tensor, *, shape: Tuple[int, ...], reverse: bool) -> Tensor:
    """X in another shape; see `reshaped` for MXNet's special codes."""
    return x.reshape(reshaped(tuple(x.shape), shape, reverse))
