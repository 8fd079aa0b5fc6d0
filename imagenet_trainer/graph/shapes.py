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


def _axis(axis: int, count: int) -> int:
    if not -count <= axis < count:
        raise ValueError(f"axis {axis} of {count} axes")
    return axis % count


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
    axis = _axis(values["axis"], len(data))
    lengths: Known = (*data[:axis], *data[axis + 1 :]) or (1,)
    return [data, *([lengths] if len(inputs) > 1 else [])], [data]


# --- layers --------------------------------------------------------------------------------------


def _window(data: Shape, values: Values) -> Tuple[int, List[int], List[Shape]]:
    """Channel axis, spatial axes, and kernel, stride, pad, dilate, each for all spatial axes."""
    kernel, layout = values["kernel"], values.get("layout")
    count = len(kernel)
    if len(data) != count + 2:
        raise ValueError(f"a kernel of {count} dimensions needs {count + 2} axes, not {data}")
    if layout is not None and len(layout) != len(data):
        raise ValueError(f"layout {layout} for {len(data)} axes")
    channel = count + 1 if layout and layout[-1] == "C" else 1
    spatial = [axis for axis in range(1, count + 2) if axis != channel]
    sizes = [kernel]
    for name, default in (("stride", 1), ("pad", 0), ("dilate", 1)):
        given = values.get(name) or (default,) * count
        if len(given) != count:
            raise ValueError(f"{name} {given} for a kernel of {count} dimensions")
        sizes.append(given)
    if min(*kernel, *sizes[1], *sizes[3]) < 1 or min(sizes[2]) < 0:
        raise ValueError("kernel, stride and dilate are at least 1, pad at least 0")
    return channel, spatial, sizes


def _channels(channels: int, values: Values) -> Tuple[int, int]:
    filters, groups = values["num_filter"], values["num_group"]
    if channels % groups or filters % groups:
        raise ValueError(f"{channels} channels and {filters} filters in {groups} groups")
    return filters, groups


def _with_bias(inputs: List[Known], weight: Shape, length: int) -> List[Known]:
    return [inputs[0], weight, *([(length,)] if len(inputs) > 2 else [])]


@needs_data
def convolution(data: Shape, inputs: List[Known], values: Values) -> Shapes:
    """(n, c, ...) with weight (filters, c / groups, ...) and bias (filters,)."""
    channel, spatial, (kernel, stride, pad, dilate) = _window(data, values)
    filters, groups = _channels(data[channel], values)
    output = list(data)
    output[channel] = filters
    for axis, k, s, p, d in zip(spatial, kernel, stride, pad, dilate):
        room = data[axis] + 2 * p - (d * (k - 1) + 1)
        if room < 0:
            raise ValueError(f"kernel {kernel} does not fit into the padded input {data}")
        output[axis] = room // s + 1
    inner = data[channel] // groups
    weight = (filters, inner, *kernel) if channel == 1 else (filters, *kernel, inner)
    return _with_bias(inputs, weight, filters), [tuple(output)]


@needs_data
def deconvolution(data: Shape, inputs: List[Known], values: Values) -> Shapes:
    """(n, c, ...) with weight (c, filters / groups, ...) and bias (filters,)."""
    channel, spatial, (kernel, stride, pad, dilate) = _window(data, values)
    filters, groups = _channels(data[channel], values)
    adj = values["adj"] or (0,) * len(kernel)
    target = values["target_shape"]
    output = list(data)
    output[channel] = filters
    for i, axis in enumerate(spatial):
        whole = stride[i] * (data[axis] - 1) + dilate[i] * (kernel[i] - 1) + 1
        output[axis] = target[i] if target and target[i] else whole - 2 * pad[i] + adj[i]
        if output[axis] < 1:
            raise ValueError(f"pad {pad} leaves nothing of {data}")
    outer = filters // groups
    weight = (data[channel], outer, *kernel) if channel == 1 else (data[channel], *kernel, outer)
    return _with_bias(inputs, weight, filters), [tuple(output)]


@needs_data
def fully_connected(data: Shape, inputs: List[Known], values: Values) -> Shapes:
    """(n, ...) to (n, hidden); without `flatten`, only the last axis changes."""
    hidden = values["num_hidden"]
    if not values["flatten"]:
        return _with_bias(inputs, (hidden, data[-1]), hidden), [(*data[:-1], hidden)]
    return _with_bias(inputs, (hidden, math.prod(data[1:])), hidden), [(data[0], hidden)]


@needs_data
def pooling(data: Shape, inputs: List[Known], values: Values) -> Shapes:
    """(n, c, ...): `full` rounds the number of windows up, `valid` down."""
    if values["global_pool"]:
        layout = values.get("layout")
        kept = (0, len(data) - 1) if layout and layout[-1] == "C" else (0, 1)
        if not 3 <= len(data) <= 5:
            raise ValueError(f"pooling needs 3 to 5 axes, not {data}")
        return inputs, [tuple(n if axis in kept else 1 for axis, n in enumerate(data))]
    _, spatial, (kernel, stride, pad, _) = _window(data, values)
    output = list(data)
    for axis, k, s, p in zip(spatial, kernel, stride, pad):
        room = data[axis] + 2 * p - k
        if room < 0:
            raise ValueError(f"kernel {kernel} does not fit into the padded input {data}")
        if values["pooling_convention"] == "same":
            output[axis] = -(-(data[axis] + 2 * p) // s)
        else:
            output[axis] = (
                -(-room // s) if values["pooling_convention"] == "full" else room // s
            ) + 1
    return inputs, [tuple(output)]


def _normalisation(length: Callable[[Shape, Values], int], moments: int = 0) -> Rule:
    """The output is like the data; all other inputs are (length,)."""

    @needs_data
    def rule(data: Shape, inputs: List[Known], values: Values) -> Shapes:
        count = length(data, values)
        more: List[Known] = [(count,)] * moments if values.get("output_mean_var") else []
        return [data, *[(count,)] * (len(inputs) - 1)], [data, *more]

    return rule


def _second(data: Shape, values: Values) -> int:
    if len(data) < 2:
        raise ValueError(f"needs channels, but the input is {data}")
    return data[1]


batch_norm = _normalisation(lambda data, v: data[_axis(v.get("axis", 1), len(data))], 2)
instance_norm = _normalisation(_second)


@needs_data
def layer_norm(data: Shape, inputs: List[Known], values: Values) -> Shapes:
    """Gamma and beta have the length of one axis; mean and deviation keep the others."""
    axis = _axis(values["axis"], len(data))
    moments = tuple(1 if i == axis else n for i, n in enumerate(data))
    more: List[Known] = [moments] * 2 if values["output_mean_var"] else []
    return [data, (data[axis],), (data[axis],)], [data, *more]


@needs_data
def group_norm(data: Shape, inputs: List[Known], values: Values) -> Shapes:
    """Gamma and beta are (groups,)."""
    groups = values["num_groups"]
    if _second(data, values) % groups:
        raise ValueError(f"{data[1]} channels in {groups} groups")
    more: List[Known] = [(data[0], groups)] * 2 if values["output_mean_var"] else []
    return [data, (groups,), (groups,)], [data, *more]


@needs_data
def leaky_relu(data: Shape, inputs: List[Known], values: Values) -> Shapes:
    """With prelu, gamma has one factor for each channel, or one for all."""
    if len(inputs) == 1:
        return inputs, [data, *([data] if values["act_type"] == "rrelu" else [])]
    gamma = inputs[1] if is_known(inputs[1]) else (data[1] if len(data) > 1 else data[0],)
    return [data, gamma], [data]


def resized(data: Shape, values: Values) -> Sequence[int]:
    """(n, c, *output_size); one number is for both, none is 1."""
    size = values["output_size"] or (1,)
    _of_rank(data, 4)
    return (*data[:2], *(size if len(size) == 2 else size * 2))


def _of_rank(data: Shape, rank: int) -> None:
    if len(data) != rank:
        raise ValueError(f"needs {rank} axes, but the input is {data}")


@needs_data
def bilinear_resize(data: Shape, inputs: List[Known], values: Values) -> Shapes:
    """(n, c, height, width), or the height and width of the second input."""
    _of_rank(data, 4)
    if values["mode"] == "like":
        return inputs, [(*data[:2], *inputs[1][2:]) if inputs[1] else None]
    if values["mode"] != "size":
        raise ValueError(f"mode {values['mode']} is not supported; use size or like")
    size = [values["height"], values["width"]]
    factors = values["scale_height"], values["scale_width"]
    if factors != (None, None):
        if None in factors:
            raise ValueError("scale_height and scale_width belong together")
        size = [int(factor * length) for factor, length in zip(factors, data[2:])]
    return inputs, [(*data[:2], *size)]


@needs_data
def up_sampling(data: Shape, inputs: List[Known], values: Values) -> Shapes:
    """Height and width times `scale`; several inputs are scaled to one size and joined."""
    _of_rank(data, 4)
    scale = values["scale"]
    output = (*data[:2], data[2] * scale, data[3] * scale)
    if not all(inputs):
        return inputs, [None]
    if values["multi_input_mode"] == "concat":
        output = (data[0], sum(shape[1] for shape in inputs if shape), *output[2:])
    return inputs, [output]


# --- outputs with a label ------------------------------------------------------------------------


@needs_data
def softmax_output(data: Shape, inputs: List[Known], values: Values) -> Shapes:
    """Probabilities like the data; the label has no class axis, or is a distribution."""
    label = inputs[1]
    if label != data:
        without = (data[0], *data[2:])
        if values["multi_output"]:
            joined = (data[0], math.prod(data[2:]))
            accepted = [joined, without, (data[0], 1, *data[2:])]
            label = label if label in accepted else unified(label, joined)
        else:
            label = unified(label, data[:-1])
    return [data, label], [data]


@needs_data
def regression_output(data: Shape, inputs: List[Known], values: Values) -> Shapes:
    """The label has the shape of the data; (n,) for data (n, 1)."""
    label = inputs[1]
    if label is None or math.prod(label) != math.prod(data) or label[0] != data[0]:
        label = unified(label, (data[0],) if len(data) == 2 and data[1] == 1 else data)
    return [data, label], [data]


@needs_data
def svm_output(data: Shape, inputs: List[Known], values: Values) -> Shapes:
    """Scores (n, classes) with a label (n,)."""
    return [data, data[:-1]], [data]


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
    if axes is None or axes == ():
        named = set(range(rank))
        if values.get("exclude") and axes == ():
            named = set(range(rank))
    else:
        named = {_axis(axis, rank) for axis in axes}
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
    axis = _axis(values["dim"], len(shapes[0]))
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
    axis = _axis(values["axis"], len(same) + 1)
    return [same] * len(inputs), [(*same[:axis], len(inputs), *same[axis:])]


@needs_data
def slice_channel(data: Shape, inputs: List[Known], values: Values) -> Shapes:
    """Equal parts along an axis."""
    count, axis = values["num_outputs"], _axis(values["axis"], len(data))
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
    output = list(data)
    for axis, (first, last, by) in enumerate(zip(begin, end, step)):
        output[axis] = len(range(*slice(first, last, by or None).indices(data[axis])))
    return _not_empty(output)


def _not_empty(output: Sequence[int]) -> Sequence[int]:
    if min(output) < 1:
        raise ValueError("nothing is left")
    return output


def slice_axis(data: Shape, values: Values) -> Sequence[int]:
    """data[begin:end] along one axis."""
    axis = _axis(values["axis"], len(data))
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
        axis = _axis(axis, len(data))
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
    own = [_axis(a, len(data)) for a in axes[0] or range(len(data))]
    others = [_axis(a, len(like)) for a in axes[1] or range(len(like))]
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
    axes = [_axis(axis, len(data)) for axis in values["axis"]]
    if any(data[axis] != 1 for axis in axes):
        raise ValueError(f"axes {values['axis']} of {data} are not of length 1")
    return _repeated(data, axes, values["size"])


def broadcast_to(data: Shape, values: Values) -> Sequence[int]:
    """Repeated to a shape, in which 0 keeps an axis."""
    shape = values["shape"]
    _of_rank(data, len(shape))
    return _repeated(data, range(len(data)), [n or old for n, old in zip(shape, data)])


def swap_axis(data: Shape, values: Values) -> Sequence[int]:
    """Two axes exchanged."""
    one, other = (_axis(values[name], len(data)) for name in ("dim1", "dim2"))
    output = list(data)
    output[one], output[other] = data[other], data[one]
    return output


def transpose(data: Shape, values: Values) -> Sequence[int]:
    """The axes in another order, by default reversed."""
    axes = [_axis(axis, len(data)) for axis in values["axes"]] or list(range(len(data)))[::-1]
    if sorted(axes) != list(range(len(data))):
        raise ValueError(f"axes {values['axes']} are not an order of the axes of {data}")
    return [data[axis] for axis in axes]


def expand_dims(data: Shape, values: Values) -> Sequence[int]:
    """A new axis of length one."""
    axis = _axis(values["axis"], len(data) + 1)
    return (*data[:axis], 1, *data[axis:])


def squeeze(data: Shape, values: Values) -> Sequence[int]:
    """Without axes of length one."""
    axes = values["axis"]
    named = range(len(data)) if axes is None else [_axis(axis, len(data)) for axis in axes]
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
    axis = _axis(values["axis"], len(data))
    return _not_empty((*data[:axis], data[axis] * values["repeats"], *data[axis + 1 :]))


def depth_to_space(data: Shape, values: Values) -> Sequence[int]:
    """Blocks of channels become squares of pixels."""
    _of_rank(data, 4)
    block = values["block_size"]
    if data[1] % block**2:
        raise ValueError(f"{data[1]} channels for blocks of {block} x {block}")
    return data[0], data[1] // block**2, data[2] * block, data[3] * block


def space_to_depth(data: Shape, values: Values) -> Sequence[int]:
    """Squares of pixels become blocks of channels."""
    _of_rank(data, 4)
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
