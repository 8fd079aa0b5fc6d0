"""The shapes of operators' outputs, and of the parameters that follow from the data.

A rule takes the shapes of an operator's inputs, None where one is unknown, and its attributes. It
returns the shapes of all inputs and of the visible outputs, with None for those that it cannot
know, and raises ValueError with the reason for inputs that the operator does not accept.

The rules are those of MXNet 1.9.1. Its arrays have at least one axis.
"""

import math
from typing import Any, Callable, List, Mapping, Optional, Sequence, Tuple

Shape = Tuple[int, ...]
Known = Optional[Shape]
Shapes = Tuple[List[Known], List[Known]]  # of inputs, of outputs
Values = Mapping[str, Any]
Rule = Callable[[List[Known], Values], Shapes]


def needs_data(rule: Callable[[Shape, List[Known], Values], Shapes]) -> Rule:
    """A rule that knows nothing until the shape of the first input is known."""

    def when_known(inputs: List[Known], values: Values) -> Shapes:
        return rule(inputs[0], inputs, values) if inputs[0] else (inputs, [None])

    return when_known


def of_data(output: Callable[[Shape, Values], Sequence[int]]) -> Rule:
    """The rule of an operator with one input, from the shape of its output."""

    def rule(inputs: List[Known], values: Values) -> Shapes:
        return inputs, [tuple(output(inputs[0], values)) if inputs[0] else None]

    return rule


def axis_of(axis: int, count: int) -> int:
    """The number of an axis that may be counted from the end; ValueError if there is none."""
    if not -count <= axis < count:
        raise ValueError(f"axis {axis} of {count} axes")
    return axis % count


def check_rank(data: Shape, rank: int) -> None:
    """Raise ValueError unless the data has this number of axes."""
    if len(data) != rank:
        raise ValueError(f"needs {rank} axes, but the input is {data}")


# --- all inputs and outputs have one shape -------------------------------------------------------


def elementwise(inputs: List[Known], values: Values) -> Shapes:
    """All inputs and the output have the same shape."""
    shape: Known = None
    for other in inputs:
        shape = unified(shape, other)
    return [shape] * len(inputs), [shape]


def unified(one: Known, other: Known) -> Known:
    """The shape that both are parts of; 0 is an unknown length. ValueError if they contradict."""
    if one is None or other is None or one == other:
        return other if one is None else one
    if len(one) != len(other) or any(a != b and a > 0 and b > 0 for a, b in zip(one, other)):
        raise ValueError(f"the shapes {one} and {other} differ")
    return tuple(a if a > 0 else b for a, b in zip(one, other))


def is_known(shape: Known) -> bool:
    """Whether the length of every axis is known."""
    return shape is not None and all(length > 0 for length in shape)


@needs_data
def softmax(data: Shape, inputs: List[Known], values: Values) -> Shapes:
    """Probabilities like the data; the lengths have all of its axes but one."""
    axis = axis_of(values["axis"], len(data))
    lengths: Known = (*data[:axis], *data[axis + 1 :]) or (1,)
    return [data, *([lengths] if len(inputs) > 1 else [])], [data]


# --- arithmetic ----------------------------------------------------------------------------------


def broadcast(inputs: List[Known], values: Values) -> Shapes:
    """Two inputs whose axes have the same length, or length one in one of them."""
    left, right = inputs
    if not left or not right:
        return inputs, [None]
    rank = max(len(left), len(right))
    pairs = zip((1,) * (rank - len(left)) + left, (1,) * (rank - len(right)) + right)
    output = []
    for a, b in pairs:
        if a != b and 1 not in (a, b):
            raise ValueError(f"the shapes {left} and {right} do not broadcast")
        output.append(max(a, b))
    return inputs, [tuple(output)]


def reduced(data: Shape, values: Values) -> Sequence[int]:
    """The shape after a reduction over some axes; over all of them it is (1,)."""
    axes = values.get("axis")
    axes = (axes,) if isinstance(axes, int) else axes
    rank = len(data)
    if not axes:
        named = set(range(rank))
    else:
        named = {axis_of(axis, rank) for axis in axes}
        if values.get("exclude"):
            named = set(range(rank)) - named
    if values.get("keepdims"):
        return [1 if axis in named else n for axis, n in enumerate(data)]
    return [n for axis, n in enumerate(data) if axis not in named] or [1]


def dot(inputs: List[Known], values: Values) -> Shapes:
    """The last axis of the first with the first axis of the second, unless transposed."""
    left, right = inputs
    if not left or not right:
        return inputs, [None]
    if len(left) == len(right) == 1:
        if left != right:
            raise ValueError(f"the shapes {left} and {right} do not fit")
        return inputs, [(1,)]
    left = (*left[1:], left[0]) if values["transpose_a"] else left
    right = (right[-1], *right[:-1]) if values["transpose_b"] else right
    if left[-1] != right[0]:
        raise ValueError(f"the shapes {inputs[0]} and {inputs[1]} do not fit")
    return inputs, [(*left[:-1], *right[1:])]


def batch_dot(inputs: List[Known], values: Values) -> Shapes:
    """(batch, m, k) and (batch, k, n) to (batch, m, n)."""
    left, right = inputs
    if not left or not right:
        return inputs, [None]
    if len(left) < 3 or len(left) != len(right) or left[:-2] != right[:-2]:
        raise ValueError(f"the shapes {left} and {right} do not fit")
    m, k = left[-2:][::-1] if values["transpose_a"] else left[-2:]
    inner, n = right[-2:][::-1] if values["transpose_b"] else right[-2:]
    if k != inner:
        raise ValueError(f"the shapes {left} and {right} do not fit")
    return inputs, [(*left[:-2], m, n)]


def constant(inputs: List[Known], values: Values) -> Shapes:
    """No input; the shape is an attribute."""
    return inputs, [values["shape"] or None]


def one_hot(data: Shape, values: Values) -> Sequence[int]:
    """A new last axis of length `depth`."""
    return (*data, values["depth"])


@needs_data
def embedding(data: Shape, inputs: List[Known], values: Values) -> Shapes:
    """Indices (...) and weight (input_dim, output_dim) to (..., output_dim)."""
    weight = (values["input_dim"], values["output_dim"])
    return [data, weight], [(*data, weight[1])]


# --- shapes --------------------------------------------------------------------------------------


def concat(inputs: List[Known], values: Values) -> Shapes:
    """Joined along an existing axis."""
    shapes = [shape for shape in inputs if shape]
    if len(shapes) < len(inputs):
        return inputs, [None]
    axis = axis_of(values["dim"], len(shapes[0]))
    rest = {(*shape[:axis], *shape[axis + 1 :]) for shape in shapes}
    if len(rest) != 1 or len({len(shape) for shape in shapes}) != 1:
        raise ValueError(f"{', '.join(map(str, shapes))} differ in more than axis {axis}")
    length = sum(shape[axis] for shape in shapes)
    return inputs, [(*shapes[0][:axis], length, *shapes[0][axis + 1 :])]


def stack(inputs: List[Known], values: Values) -> Shapes:
    """Joined along a new axis."""
    (same, *_), _ = elementwise(inputs, values)
    if not same:
        return inputs, [None]
    axis = axis_of(values["axis"], len(same) + 1)
    return [same] * len(inputs), [(*same[:axis], len(inputs), *same[axis:])]


@needs_data
def slice_channel(data: Shape, inputs: List[Known], values: Values) -> Shapes:
    """Equal parts along an axis."""
    count, axis = values["num_outputs"], axis_of(values["axis"], len(data))
    length = data[axis] // count
    if data[axis] % count or (values["squeeze_axis"] and length != 1):
        raise ValueError(f"axis {axis} of {data} has no {count} equal parts")
    part = (*data[:axis], *(() if values["squeeze_axis"] else (length,)), *data[axis + 1 :])
    return inputs, [part or (1,)] * count


def sliced(data: Shape, values: Values) -> Sequence[int]:
    """data[begin:end:step], axis by axis."""
    begin, end = values["begin"], values["end"]
    if len(begin) != len(end) or len(begin) > len(data):
        raise ValueError(f"begin {begin} and end {end} for {data}")
    step = values["step"] or (None,) * len(begin)
    if len(step) != len(begin) or 0 in step:
        raise ValueError(f"step {step} for begin {begin}")
    output = list(data)
    for axis, (first, last, by) in enumerate(zip(begin, end, step)):
        output[axis] = len(range(*slice(first, last, by).indices(data[axis])))
    return _not_empty(output)


def _not_empty(output: Sequence[int]) -> Sequence[int]:
    if min(output) < 1:
        raise ValueError("nothing is left")
    return output


def slice_axis(data: Shape, values: Values) -> Sequence[int]:
    """data[begin:end] along one axis."""
    axis = axis_of(values["axis"], len(data))
    begin, end = values["begin"], values["end"]
    size = data[axis]
    first = begin + size if begin < 0 else begin
    last = size if end is None else (end + size if end < 0 else end)
    if not 0 <= first < last <= size:
        raise ValueError(f"[{begin}:{end}] of an axis of length {size}")
    return (*data[:axis], last - first, *data[axis + 1 :])


def slice_like(inputs: List[Known], values: Values) -> Shapes:
    """The beginning of the first, with the length of the second along some axes."""
    data, like = inputs
    if not data or not like:
        return inputs, [None]
    output = list(data)
    axes = values["axes"] or range(min(len(data), len(like)))
    if not values["axes"] and len(data) != len(like):
        raise ValueError(f"{data} and {like} have different numbers of axes")
    for axis in axes:
        axis = axis_of(axis, len(data))
        output[axis] = like[axis]
        if output[axis] > data[axis]:
            raise ValueError(f"{like} is longer than {data} along axis {axis}")
    return inputs, [tuple(output)]


def broadcast_like(inputs: List[Known], values: Values) -> Shapes:
    """The first repeated to the shape of the second, or to its lengths along some axes."""
    data, like = inputs
    if not data or not like:
        return inputs, [None]
    axes = values["lhs_axes"], values["rhs_axes"]
    if not axes[0] and len(data) != len(like):
        raise ValueError(f"{data} and {like} have different numbers of axes")
    own = [axis_of(a, len(data)) for a in axes[0] or range(len(data))]
    others = [axis_of(a, len(like)) for a in axes[1] or range(len(like))]
    return inputs, [tuple(_repeated(data, own, [like[axis] for axis in others]))]


def _repeated(data: Shape, axes: Sequence[int], lengths: Sequence[int]) -> Sequence[int]:
    output = list(data)
    if len(axes) != len(lengths):
        raise ValueError(f"{len(axes)} axes and {len(lengths)} lengths")
    for axis, length in zip(axes, lengths):
        if data[axis] not in (1, length):
            raise ValueError(f"axis {axis} of {data} cannot be repeated to {length}")
        output[axis] = length
    return output


def broadcast_axis(data: Shape, values: Values) -> Sequence[int]:
    """Repeated along axes of length one."""
    axes = [axis_of(axis, len(data)) for axis in values["axis"]]
    if any(data[axis] != 1 for axis in axes):
        raise ValueError(f"axes {values['axis']} of {data} are not of length 1")
    return _repeated(data, axes, values["size"])


def broadcast_to(data: Shape, values: Values) -> Sequence[int]:
    """Repeated to a shape, in which 0 keeps an axis."""
    shape = values["shape"]
    check_rank(data, len(shape))
    return _repeated(data, range(len(data)), [n or old for n, old in zip(shape, data)])


def swap_axis(data: Shape, values: Values) -> Sequence[int]:
    """Two axes exchanged."""
    one, other = (axis_of(values[name], len(data)) for name in ("dim1", "dim2"))
    output = list(data)
    output[one], output[other] = data[other], data[one]
    return output


def transpose(data: Shape, values: Values) -> Sequence[int]:
    """The axes in another order, by default reversed."""
    axes = [axis_of(axis, len(data)) for axis in values["axes"]] or list(range(len(data)))[::-1]
    if sorted(axes) != list(range(len(data))):
        raise ValueError(f"axes {values['axes']} are not an order of the axes of {data}")
    return [data[axis] for axis in axes]


def expand_dims(data: Shape, values: Values) -> Sequence[int]:
    """A new axis of length one."""
    axis = axis_of(values["axis"], len(data) + 1)
    return (*data[:axis], 1, *data[axis:])


def squeeze(data: Shape, values: Values) -> Sequence[int]:
    """Without axes of length one."""
    axes = values["axis"]
    named = range(len(data)) if axes is None else [axis_of(axis, len(data)) for axis in axes]
    if axes is not None and any(data[axis] != 1 for axis in named):
        raise ValueError(f"axes {axes} of {data} are not of length 1")
    return [n for axis, n in enumerate(data) if n != 1 or axis not in named] or [1]


def pad(data: Shape, values: Values) -> Sequence[int]:
    """(before, after) along every axis."""
    width = values["pad_width"]
    if len(width) != 2 * len(data) or min(width) < 0:
        raise ValueError(f"pad_width {width} for {data}")
    return [n + width[2 * i] + width[2 * i + 1] for i, n in enumerate(data)]


def flatten(data: Shape, values: Values) -> Sequence[int]:
    """(n, all other axes)."""
    return data[0], math.prod(data[1:])


def tile(data: Shape, values: Values) -> Sequence[int]:
    """The data repeated as a whole along every axis."""
    reps = values["reps"]
    rank = max(len(data), len(reps))
    pairs = zip((1,) * (rank - len(data)) + data, (1,) * (rank - len(reps)) + reps)
    return _not_empty([a * b for a, b in pairs])


def repeat(data: Shape, values: Values) -> Sequence[int]:
    """Every element repeated along an axis, or in a flat array."""
    if values["axis"] is None:
        return (math.prod(data) * values["repeats"],)
    axis = axis_of(values["axis"], len(data))
    return _not_empty((*data[:axis], data[axis] * values["repeats"], *data[axis + 1 :]))


def depth_to_space(data: Shape, values: Values) -> Sequence[int]:
    """Blocks of channels become squares of pixels."""
    check_rank(data, 4)
    block = values["block_size"]
    if data[1] % block**2:
        raise ValueError(f"{data[1]} channels for blocks of {block} x {block}")
    return data[0], data[1] // block**2, data[2] * block, data[3] * block


def space_to_depth(data: Shape, values: Values) -> Sequence[int]:
    """Squares of pixels become blocks of channels."""
    check_rank(data, 4)
    block = values["block_size"]
    if data[2] % block or data[3] % block:
        raise ValueError(f"{data} has no blocks of {block} x {block}")
    return data[0], data[1] * block**2, data[2] // block, data[3] // block


def to_planes(data: Shape, values: Values) -> Sequence[int]:
    """(h, w, c) to (c, h, w), or a batch of these."""
    if len(data) not in (3, 4):
        raise ValueError(f"needs 3 or 4 axes, but the input is {data}")
    return (*data[:-3], data[-1], *data[-3:-1])


def reshape(data: Shape, values: Values) -> Sequence[int]:
    """Another shape for the same elements; see `reshaped`."""
    codes = values["shape"]
    if not codes:  # the form before MXNet 0.9: 0 is the length that is missing
        codes = tuple(code or -1 for code in values["target_shape"])
        if values["keep_highest"]:
            codes = (data[0], *codes[1:])
    return reshaped(data, codes, values["reverse"])


def reshaped(data: Sequence[int], codes: Sequence[int], reverse: bool = False) -> List[int]:
    """The shape that MXNet's codes describe.

    0 keeps an axis, -1 is inferred, -2 keeps all remaining axes, -3 joins two axes, -4 splits an
    axis into the two numbers that follow it. `reverse` reads both from the right.
    """
    if reverse:
        return reshaped(list(data)[::-1], list(codes)[::-1])[::-1]
    try:
        result = _read_codes(list(data), list(codes))
    except IndexError as error:
        raise ValueError(f"{tuple(codes)} needs more axes than {tuple(data)} has") from error
    if result.count(-1) == 1:
        rest = -math.prod(result)
        if rest == 0 or math.prod(data) % rest:
            raise ValueError(f"{tuple(data)} cannot become {tuple(codes)}")
        result[result.index(-1)] = math.prod(data) // rest
    if not result or min(result) < 1 or math.prod(result) != math.prod(data):
        raise ValueError(f"{tuple(data)} cannot become {tuple(codes)}")
    return result


def _read_codes(remaining: List[int], codes: List[int]) -> List[int]:
    result: List[int] = []
    while codes:
        code = codes.pop(0)
        if code == -2:
            result += remaining
            remaining = []
        elif code == -3:
            result.append(remaining[0] * remaining[1])
            remaining = remaining[2:]
        elif code == -4:
            first, second = codes.pop(0), codes.pop(0)
            whole, remaining = remaining[0], remaining[1:]
            first = whole // second if first == -1 and second else first
            second = whole // first if second == -1 and first else second
            if first * second != whole:
                raise ValueError(
                    f"an axis of length {whole} cannot be split into {first}, {second}"
                )
            result += [first, second]
        elif code >= -1:
            if code == 0:
                code = remaining[0]
            result.append(code)
            remaining = remaining[1:]
        else:
            raise ValueError(f"{code} is not a code for a shape")
    return result
