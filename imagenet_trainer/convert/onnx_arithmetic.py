"""Arithmetic and shape operators in ONNX: see `onnx_builder`."""

from typing import Any, Optional, Sequence, Tuple, Union

import numpy as np

from imagenet_trainer.convert.onnx_builder import OPERATORS, Builder, fixed

_LARGEST = 2**31 - 1  # an index beyond every axis

# --- arithmetic ----------------------------------------------------------------------------------


def _same(onnx: Builder, x: str) -> str:
    """X itself."""
    return x


OPERATORS.of("_copy BlockGrad")(_same)
# All values are float32.
OPERATORS.of("Cast", "", {"dtype": ("float32",)})(_same)


def _plain(names: str, op: str) -> None:
    """Operators for which ONNX has one of the same meaning."""

    def compute(onnx: Builder, *inputs: str) -> str:
        return onnx.add(op, *inputs)

    OPERATORS.of(names, "num_args")(compute)


for _names, _op in {
    "relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "softsign": "Softsign", "exp": "Exp",
    "log": "Log", "sqrt": "Sqrt", "abs": "Abs", "negative": "Neg", "reciprocal": "Reciprocal",
    "sign": "Sign", "erf": "Erf", "sin": "Sin", "cos": "Cos", "floor": "Floor", "ceil": "Ceil",
    "elemwise_add broadcast_add _grad_add": "Add", "elemwise_sub broadcast_sub": "Sub",
    "elemwise_mul broadcast_mul": "Mul", "elemwise_div broadcast_div": "Div",
    "_maximum broadcast_maximum": "Max", "_minimum broadcast_minimum": "Min",
    "_power broadcast_power": "Pow", "add_n": "Sum",
}.items():  # fmt: skip
    _plain(_names, _op)


@OPERATORS.of("square")
def square(onnx: Builder, x: str) -> str:
    """X times x."""
    return onnx.add("Mul", x, x)


@OPERATORS.of("rsqrt")
def rsqrt(onnx: Builder, x: str) -> str:
    """1 / sqrt(x)."""
    return onnx.add("Reciprocal", onnx.add("Sqrt", x))


def _with_scalar(name: str, op: str, scalar_first: bool = False) -> None:
    def compute(onnx: Builder, x: str, *, scalar: float) -> str:
        number = onnx.number(scalar)
        return onnx.add(op, *((number, x) if scalar_first else (x, number)))

    OPERATORS.of(name, "is_int")(compute)


for _name, _op in {
    "_plus_scalar": "Add", "_minus_scalar": "Sub", "_mul_scalar": "Mul", "_div_scalar": "Div",
    "_power_scalar": "Pow", "_maximum_scalar": "Max", "_minimum_scalar": "Min",
}.items():  # fmt: skip
    _with_scalar(_name, _op)
for _name, _op in {
    "_rminus_scalar": "Sub", "_rdiv_scalar": "Div", "_rpower_scalar": "Pow",
}.items():  # fmt: skip
    _with_scalar(_name, _op, scalar_first=True)


def _reduction(name: str, op: str) -> None:
    def compute(
        onnx: Builder, x: str, *, axis: Union[int, Sequence[int], None], keepdims: bool,
        exclude: bool,
    ) -> str:  # fmt: skip
        every = range(len(onnx.shapes[x]))
        named = {a % len(every) for a in ([axis] if isinstance(axis, int) else axis or ())}
        axes = [a for a in every if (a in named) != exclude] if named else list(every)
        if not axes:
            return x
        if op == "ReduceSum":  # the only one whose axes are an input in this opset
            reduced = onnx.add(op, x, onnx.integers(axes, "axes"), keepdims=int(keepdims))
        else:
            reduced = onnx.add(op, x, axes=axes, keepdims=int(keepdims))
        # MXNet has no arrays without axes.
        return reduced if keepdims or len(axes) < len(every) else onnx.reshaped(reduced, (1,))

    OPERATORS.of(name)(compute)


for _name, _op in {
    "mean": "ReduceMean", "sum": "ReduceSum", "max": "ReduceMax", "min": "ReduceMin",
    "prod": "ReduceProd",
}.items():  # fmt: skip
    _reduction(_name, _op)


def _constants(name: str, value: float) -> None:
    def compute(onnx: Builder) -> str:
        return onnx.constant(np.full(fixed(onnx.output_shape), value, np.float32), "value")

    def like(onnx: Builder, x: str) -> str:
        from onnx import numpy_helper

        filled = numpy_helper.from_array(np.array([value], np.float32))
        return onnx.add("ConstantOfShape", onnx.add("Shape", x), value=filled)

    OPERATORS.of(f"_{name}", "ctx shape", {"dtype": ("float32",)})(compute)
    OPERATORS.of(f"{name}_like")(like)


_constants("ones", 1.0)
_constants("zeros", 0.0)


# --- parts ---------------------------------------------------------------------------------------


@OPERATORS.of("Concat", "num_args")
def concat(onnx: Builder, *parts: str, dim: int) -> str:
    """The inputs joined along an axis."""
    return onnx.add("Concat", *parts, axis=dim)


@OPERATORS.of("stack", "num_args")
def stack(onnx: Builder, *parts: str, axis: int) -> str:
    """The inputs joined along a new axis."""
    axes = onnx.integers([axis], "axes")
    return onnx.add("Concat", *(onnx.add("Unsqueeze", part, axes) for part in parts), axis=axis)


@OPERATORS.of("SliceChannel")
def split(
    onnx: Builder, x: str, *, num_outputs: int, axis: int, squeeze_axis: bool
) -> Sequence[str]:
    """Equal parts along an axis."""
    parts = onnx.add_several("Split", num_outputs, x, axis=axis)
    return [onnx.reshaped(part, onnx.output_shape) for part in parts] if squeeze_axis else parts


def _slice(
    onnx: Builder, x: str, axes: Sequence[int], begin: Sequence[int], end: Sequence[int],
    step: Sequence[int],
) -> str:  # fmt: skip
    named = {"starts": begin, "ends": end, "axes": axes, "steps": step}
    return onnx.add("Slice", x, *(onnx.integers(values, name) for name, values in named.items()))


@OPERATORS.of("slice")
def slice_(onnx: Builder, x: str, *, begin: Any, end: Any, step: Any) -> str:
    """x[begin:end:step], axis by axis."""
    steps = [by or 1 for by in step or (1,) * len(begin)]
    first = [(0 if by > 0 else _LARGEST) if one is None else one for one, by in zip(begin, steps)]
    last = [
        (_LARGEST if by > 0 else -_LARGEST) if one is None else one for one, by in zip(end, steps)
    ]
    return _slice(onnx, x, range(len(begin)), first, last, steps)


@OPERATORS.of("slice_axis")
def slice_axis(onnx: Builder, x: str, *, axis: int, begin: int, end: Optional[int]) -> str:
    """x[begin:end] along one axis."""
    return _slice(onnx, x, [axis], [begin], [_LARGEST if end is None else end], [1])


@OPERATORS.of("slice_like", "axes")
def slice_like(onnx: Builder, x: str, like: str) -> str:
    """The beginning of x, with the length of `like` along some axes."""
    pairs = zip(onnx.output_shape, onnx.shapes[x])
    shorter = {axis: new for axis, (new, old) in enumerate(pairs) if new != old}
    ends = fixed(list(shorter.values()))
    return _slice(onnx, x, list(shorter), [0] * len(ends), ends, [1] * len(ends)) if ends else x


# --- shapes --------------------------------------------------------------------------------------


@OPERATORS.of("Flatten")
def flatten(onnx: Builder, x: str) -> str:
    """(n, ...) to (n, all)."""
    return onnx.add("Flatten", x, axis=1)


@OPERATORS.of("Reshape expand_dims squeeze", "shape reverse target_shape keep_highest axis")
def reshape(onnx: Builder, x: str) -> str:
    """The shape was inferred from the attributes."""
    return onnx.reshaped(x, onnx.output_shape)


@OPERATORS.of("broadcast_like", "rhs_axes")
def broadcast_like(onnx: Builder, x: str, like: str, *, lhs_axes: Tuple[int, ...]) -> str:
    """X repeated along its axes of length one."""
    if None in onnx.output_shape and not lhs_axes:  # it may be repeated for each image
        return onnx.add("Expand", x, onnx.add("Shape", like))
    return onnx.expanded(x)


@OPERATORS.of("batch_dot", "forward_stype")
def batch_dot(onnx: Builder, x: str, y: str, *, transpose_a: bool, transpose_b: bool) -> str:
    """The product of the matrices in the last two axes."""

    def turned(value: str) -> str:
        rank = len(onnx.shapes[value])
        return onnx.transposed(value, [*range(rank - 2), rank - 1, rank - 2])

    return onnx.add("MatMul", turned(x) if transpose_a else x, turned(y) if transpose_b else y)


@OPERATORS.of("broadcast_axis broadcast_to", "axis size shape")
def broadcast(onnx: Builder, x: str) -> str:
    """X repeated along its axes of length one."""
    return onnx.expanded(x)


@OPERATORS.of("SwapAxis")
def swap_axis(onnx: Builder, x: str, *, dim1: int, dim2: int) -> str:
    """X with two axes exchanged."""
    order = list(range(len(onnx.shapes[x])))
    order[dim1], order[dim2] = order[dim2], order[dim1]
    return onnx.transposed(x, order)


@OPERATORS.of("transpose")
def transpose(onnx: Builder, x: str, *, axes: Tuple[int, ...]) -> str:
    """X with the axes in another order, by default reversed."""
    rank = len(onnx.shapes[x])
    return onnx.transposed(x, [axis % rank for axis in axes or range(rank - 1, -1, -1)])


@OPERATORS.of("Pad")
def pad(
    onnx: Builder, x: str, *, mode: str, pad_width: Tuple[int, ...], constant_value: float
) -> str:
    """X padded by (before, after) along each axis."""
    widths = onnx.integers([*pad_width[::2], *pad_width[1::2]], "widths")
    value = [onnx.number(constant_value)] if mode == "constant" else []
    return onnx.add("Pad", x, widths, *value, mode=mode)


@OPERATORS.of("depth_to_space")
def depth_to_space(onnx: Builder, x: str, *, block_size: int) -> str:
    """Blocks of channels become squares of pixels."""
    return onnx.add("DepthToSpace", x, blocksize=block_size)


@OPERATORS.of("space_to_depth")
def space_to_depth(onnx: Builder, x: str, *, block_size: int) -> str:
    """Squares of pixels become blocks of channels."""
    return onnx.add("SpaceToDepth", x, blocksize=block_size)
