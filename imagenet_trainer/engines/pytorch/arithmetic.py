"""MXNet's arithmetic and shape operators in PyTorch: see `torch_operators`."""

from typing import Any, Callable, List, Optional, Sequence, Tuple, Union

import torch
import torch.nn.functional as F
from torch import Tensor

from imagenet_trainer.engines.pytorch.operators import operator

# --- arithmetic --------------------------------------------------------------------------------


def same(x: Tensor) -> Tensor:
    """The input itself."""
    return x


def cut_off(x: Tensor) -> Tensor:
    """The input without its gradient."""
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
    """The greater of both; of two equal ones the first has the gradient, as in MXNet."""
    return torch.where((x >= y) | x.isnan(), x, y)


def lesser(x: Tensor, y: Tensor) -> Tensor:
    """The lesser of both; of two equal ones the first has the gradient, as in MXNet."""
    return torch.where((x <= y) | x.isnan(), x, y)


for _names, _compute in {
    "identity _copy": same,
    "BlockGrad stop_gradient": cut_off,
    "Flatten flatten": flatten,
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
    "elemwise_add _plus _Plus broadcast_add broadcast_plus _grad_add": torch.add,
    "elemwise_sub _minus _Minus broadcast_sub broadcast_minus": torch.sub,
    "elemwise_mul _mul _Mul broadcast_mul": torch.mul,
    "elemwise_div _div _Div broadcast_div": torch.div,
    "_maximum _Maximum broadcast_maximum": greater,
    "_minimum _Minimum broadcast_minimum": lesser,
    "_power _Power broadcast_power": torch.pow,
}.items():
    operator(_names)(_compute)
operator("add_n ElementWiseSum", "num_args")(added)


def _with_scalar(names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return operator(names, "is_int", scalar=1.0)


@_with_scalar("_plus_scalar _PlusScalar")
def plus_scalar(x: Tensor, *, scalar: float) -> Tensor:
    """Added."""
    return x + scalar


@_with_scalar("_minus_scalar _MinusScalar")
def minus_scalar(x: Tensor, *, scalar: float) -> Tensor:
    """Subtracted."""
    return x - scalar


@_with_scalar("_rminus_scalar _RMinusScalar")
def from_scalar(x: Tensor, *, scalar: float) -> Tensor:
    """Subtracted from it."""
    return scalar - x


@_with_scalar("_mul_scalar _MulScalar")
def times_scalar(x: Tensor, *, scalar: float) -> Tensor:
    """Multiplied."""
    return x * scalar


@_with_scalar("_div_scalar _DivScalar")
def over_scalar(x: Tensor, *, scalar: float) -> Tensor:
    """Divided."""
    return x / scalar


@_with_scalar("_rdiv_scalar _RDivScalar")
def scalar_over(x: Tensor, *, scalar: float) -> Tensor:
    """Divided by it."""
    return scalar / x


@_with_scalar("_power_scalar _PowerScalar")
def power_scalar(x: Tensor, *, scalar: float) -> Tensor:
    """To its power."""
    return x**scalar


@_with_scalar("_maximum_scalar _MaximumScalar")
def at_least(x: Tensor, *, scalar: float) -> Tensor:
    """The greater of both."""
    return x.clamp(min=scalar)


@_with_scalar("_minimum_scalar _MinimumScalar")
def at_most(x: Tensor, *, scalar: float) -> Tensor:
    """The lesser of both."""
    return x.clamp(max=scalar)


def _axes(x: Tensor, axis: Union[int, Sequence[int], None], exclude: bool) -> Tuple[int, ...]:
    every = tuple(range(x.dim()))
    if axis is None or axis == ():
        return every
    named = {a % x.dim() for a in ((axis,) if isinstance(axis, int) else axis)}
    return tuple(a for a in every if (a in named) != exclude)


def _at_least_1d(x: Tensor) -> Tensor:
    return x if x.dim() else x.reshape(1)  # MXNet has no arrays without axes


@operator("mean", axis=None, keepdims=False, exclude=False)
def mean(x: Tensor, *, axis: Any, keepdims: bool, exclude: bool) -> Tensor:
    """The mean over some axes."""
    return _at_least_1d(x.mean(_axes(x, axis, exclude), keepdims))


@operator("sum sum_axis", axis=None, keepdims=False, exclude=False)
def total(x: Tensor, *, axis: Any, keepdims: bool, exclude: bool) -> Tensor:
    """The sum over some axes."""
    return _at_least_1d(x.sum(_axes(x, axis, exclude), keepdims))


@operator("max max_axis", axis=None, keepdims=False, exclude=False)
def maximum(x: Tensor, *, axis: Any, keepdims: bool, exclude: bool) -> Tensor:
    """The greatest over some axes; each of several equal ones has the whole gradient."""
    axes = _axes(x, axis, exclude)
    top = x.amax(axes, keepdims)
    # PyTorch shares the gradient out among equals, MXNet does not.
    equals = (x == x.amax(axes, True)).sum(axes, keepdims)
    return _at_least_1d(top + (equals - 1) * (top - top.detach()))


def _constant(names: str, value: float) -> None:
    def filled(x: Tensor, *, shape: Tuple[int, ...], dtype: str) -> Tensor:
        return torch.full(shape, value, dtype=getattr(torch, dtype), device=x.device)

    # What it is given is only where it lies.
    operator(names, "ctx", shape=(), dtype="float32")(filled)


_constant("_ones", 1.0)
_constant("_zeros", 0.0)


# --- shapes ------------------------------------------------------------------------------------


@operator("Concat concat", "num_args", dim=1)
def concat(*parts: Tensor, dim: int) -> Tensor:
    """One after the other along an axis."""
    return torch.cat(parts, dim)


@operator("stack", "num_args", axis=0)
def stack(*parts: Tensor, axis: int) -> Tensor:
    """One after the other along a new axis."""
    return torch.stack(parts, axis)


@operator("SliceChannel split", num_outputs=1, axis=1, squeeze_axis=False)
def split(x: Tensor, *, num_outputs: int, axis: int, squeeze_axis: bool) -> Any:
    """Equal parts along an axis."""
    parts = x.chunk(num_outputs, axis)
    parts = tuple(part.squeeze(axis) for part in parts) if squeeze_axis else parts
    return parts if num_outputs > 1 else parts[0]


@operator("slice crop", begin=(), end=(), step=())
def slice_(x: Tensor, *, begin: Any, end: Any, step: Any) -> Tensor:
    """x[begin:end:step], axis by axis."""
    step = step or (None,) * len(begin)
    index = []
    for axis, (first, last, by) in enumerate(zip(begin, end, step)):
        if by is not None and by < 0:
            places = range(*slice(first, last, by).indices(x.shape[axis]))
            x = x.index_select(axis, torch.tensor(list(places), device=x.device))
            index.append(slice(None))
        else:
            index.append(slice(first, last, by))
    return x[tuple(index)]


@operator("slice_axis", axis=0, begin=0, end=None)
def slice_axis(x: Tensor, *, axis: int, begin: int, end: Optional[int]) -> Tensor:
    """x[begin:end] along one axis."""
    first, last, _ = slice(begin, end).indices(x.shape[axis])
    return x.narrow(axis, first, last - first)


@operator("slice_like", axes=())
def slice_like(x: Tensor, like: Tensor, *, axes: Tuple[int, ...]) -> Tensor:
    """The beginning of x, as long as the other in some axes."""
    for axis in axes or range(min(x.dim(), like.dim())):
        x = x.narrow(axis, 0, like.shape[axis])
    return x


@operator("broadcast_like", "", {"lhs_axes": (None, ()), "rhs_axes": (None, ())})
def broadcast_like(x: Tensor, like: Tensor) -> Tensor:
    """Repeated along its axes of length one."""
    return x.expand(like.shape)


@operator("broadcast_axis broadcast_axes", axis=(), size=())
def broadcast_axis(x: Tensor, *, axis: Tuple[int, ...], size: Tuple[int, ...]) -> Tensor:
    """Repeated along some axes of length one."""
    shape = list(x.shape)
    for place, length in zip(axis, size):
        shape[place] = length
    return x.expand(shape)


@operator("SwapAxis swapaxes", dim1=0, dim2=0)
def swap_axis(x: Tensor, *, dim1: int, dim2: int) -> Tensor:
    """Two axes change places."""
    return x.transpose(dim1, dim2)


@operator("transpose", axes=())
def transpose(x: Tensor, *, axes: Tuple[int, ...]) -> Tensor:
    """The axes in another order; without one, backwards."""
    return x.permute(axes or tuple(reversed(range(x.dim()))))


@operator("expand_dims", axis=0)
def expand_dims(x: Tensor, *, axis: int) -> Tensor:
    """A new axis of length one."""
    return x.unsqueeze(axis)


@operator("squeeze", axis=None)
def squeeze(x: Tensor, *, axis: Any) -> Tensor:
    """Without axes of length one."""
    return x.squeeze() if axis is None else x.squeeze(axis)


@operator("Pad pad", mode="constant", pad_width=(), constant_value=0.0)
def pad(x: Tensor, *, mode: str, pad_width: Tuple[int, ...], constant_value: float) -> Tensor:
    """Wider by (before, after) of each axis; the first two stay in every mode but `constant`."""
    pairs = [pad_width[i : i + 2] for i in range(0, len(pad_width), 2)]
    if mode != "constant":
        pairs = pairs[2:]
    widths = [width for pair in reversed(pairs) for width in pair]
    if mode == "constant":
        return F.pad(x, widths, value=constant_value)
    return F.pad(x, widths, mode={"edge": "replicate", "reflect": "reflect"}[mode])


# Other kinds of floats would need parameters of the same kind.
@operator(
    "Cast cast", "", {"dtype": ("float32", "uint8", "int8", "int32", "int64", "bool")},
    dtype="float32",
)  # fmt: skip
def cast(x: Tensor, *, dtype: str) -> Tensor:
    """Numbers of another kind."""
    return x.to(getattr(torch, dtype))


@operator(
    "Reshape reshape", "", {"keep_highest": (False,), "target_shape": ((), 0, (0, 0))},
    shape=(), reverse=False,
)  # fmt: skip
def reshape(x: Tensor, *, shape: Tuple[int, ...], reverse: bool) -> Tensor:
    """Another shape of as many elements; MXNet's special codes are in `new_shape`."""
    return x.reshape(new_shape(tuple(x.shape), shape, reverse))


def new_shape(old: Sequence[int], codes: Sequence[int], reverse: bool = False) -> List[int]:
    """The shape that MXNet's codes ask for.

    0 keeps an axis, -1 is what is left, -2 keeps all that remain, -3 joins two axes, -4 splits one
    into the two numbers behind it. `reverse` reads both from the right.
    """
    if reverse:
        return new_shape(list(old)[::-1], list(codes)[::-1])[::-1]
    left, made, place = list(old), [], 0
    while place < len(codes):
        code = codes[place]
        if code == -2:
            made += left
            left = []
        elif code == -3:
            made.append(left[0] * left[1])
            left = left[2:]
        elif code == -4:
            first, second = codes[place + 1], codes[place + 2]
            if first == -1:
                first = left[0] // second
            elif second == -1:
                second = left[0] // first
            made += [first, second]
            left = left[1:]
            place += 2
        else:
            made.append(left[0] if code == 0 else code)
            left = left[1:]
        place += 1
    return made
