"""The shapes of layers, of their parameters, and of the ends of networks; see `shapes`."""

import math
from typing import Callable, List, Sequence, Tuple

from imagenet_trainer.graph.shapes import (
    Known,
    Rule,
    Shape,
    Shapes,
    Values,
    axis_of,
    check_rank,
    is_known,
    needs_data,
    unified,
)

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


batch_norm = _normalisation(lambda data, v: data[axis_of(v.get("axis", 1), len(data))], 2)
instance_norm = _normalisation(_second)


@needs_data
def layer_norm(data: Shape, inputs: List[Known], values: Values) -> Shapes:
    """Gamma and beta have the length of one axis; mean and deviation keep the others."""
    axis = axis_of(values["axis"], len(data))
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
    check_rank(data, 4)
    if len(size) > 2:
        raise ValueError(f"output_size {size} for height and width")
    return (*data[:2], *(size if len(size) == 2 else size * 2))


@needs_data
def bilinear_resize(data: Shape, inputs: List[Known], values: Values) -> Shapes:
    """(n, c, height, width), or the height and width of the second input."""
    check_rank(data, 4)
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
    check_rank(data, 4)
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
