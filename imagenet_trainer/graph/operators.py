"""The table of operators: inputs, auxiliary states, attributes with defaults, and shapes.

It has what networks for image classification are made of: our families, those of MXNet's model
zoo, of Gluon's `export` and of GluonCV, and the layers that engines and commands add to them.
Names and defaults are those of MXNet 1.9.1, and so are the numbers of inner outputs, which the
`node_row_ptr` of its JSON counts.
"""

import difflib
import functools
from dataclasses import dataclass, field
from typing import Any, Callable, Collection, Dict, Iterable, List, Mapping, Sequence, Tuple

from imagenet_trainer.errors import InputError
from imagenet_trainer.graph import layer_shapes, shapes
from imagenet_trainer.graph.attributes import DTYPES, REQUIRED, Attribute
from imagenet_trainer.graph.shapes import Rule

Values = Mapping[str, Any]


class GraphError(InputError):
    """A graph that cannot be: the node, its operator, and what is wrong with it."""


@dataclass(frozen=True)
class Operator:
    """One operator, under its canonical name.

    Attributes
    ----------
    inputs
        their names. `*data` stands for one or more inputs.
    attributes
        by name, in the order of the arguments in `mx.sym`.
    rule
        of the shapes.
    count
        of `*data`: the attribute that has the number of inputs.
    auxiliary
        inputs that training updates by other means than gradients.
    present
        the names of the inputs that an operator with these attributes has.
    outputs
        the visible outputs: their names, or one empty name.
    inner
        the number of outputs that only MXNet itself reads.
    initial
        the `__init__` of variables that an operator makes for an input, by its name.

    """

    name: str
    inputs: Tuple[str, ...]
    attributes: Mapping[str, Attribute]
    rule: Rule
    count: str = ""
    auxiliary: Tuple[str, ...] = ()
    present: Callable[[Tuple[str, ...], Values], Sequence[str]] = lambda inputs, values: inputs
    outputs: Callable[[Values], Sequence[str]] = lambda values: ("",)
    inner: Callable[[Values], int] = lambda values: 0
    initial: Mapping[str, str] = field(default_factory=dict)

    def inputs_of(self, values: Values, given: int) -> List[str]:
        """The names of all inputs, for an operator to which `given` inputs were given."""
        if self.inputs and self.inputs[0].startswith("*"):
            return [f"arg{number}" for number in range(values.get(self.count) or given)]
        return list(self.present(self.inputs, values))


OPERATORS: Dict[str, Operator] = {}  # by canonical name
ALIASES: Dict[str, str] = {}  # every name to the canonical one
# One input of these may be a parameter of any shape, which does not follow from the data.
SHAPELESS = ("Reshape", "broadcast_add", "broadcast_like")


def find(name: str) -> Operator:
    """The operator of this name; GraphError with the nearest name if there is none."""
    canonical = ALIASES.get(name)
    if canonical is None:
        raise GraphError(f"there is no operator {name!r}{nearest(name, ALIASES)}")
    return OPERATORS[canonical]


def nearest(name: str, names: Any) -> str:
    """`; did you mean NAME?`, or an empty string if none is similar."""
    near = difflib.get_close_matches(name, list(names), 1)
    return f"; did you mean {near[0]}?" if near else ""


def check_names(given: Iterable[str], names: Collection[str], what: str, where: str = "") -> None:
    """Raise GraphError, with the nearest one, for the first that is not among the names."""
    for name in given:
        if name not in names:
            raise GraphError(f"{where}there is no {what} {name!r}{nearest(name, names)}")


def _add(names: str, inputs: str, rule: Rule, more: Any = None, **attributes: Attribute) -> None:
    """Add an operator under its canonical name and its other names."""
    canonical, *_ = names.split()
    OPERATORS[canonical] = Operator(
        canonical, tuple(inputs.split()), attributes, rule, **(more or {})
    )
    ALIASES.update(dict.fromkeys(names.split(), canonical))


# --- kinds of attributes -------------------------------------------------------------------------

_int = functools.partial(Attribute, "int")
_count = functools.partial(Attribute, "int", least=1)
# Inputs or outputs, of whose names a list is made before anything is compared.
_parts = functools.partial(Attribute, "int", least=1, most=20_000)
_float = functools.partial(Attribute, "float")
_bool = functools.partial(Attribute, "bool")


def _shape(default: Any = ()) -> Attribute:
    return Attribute("shape", default)


def _choice(words: str, default: Any = REQUIRED) -> Attribute:
    return Attribute("choice", default, tuple(words.split()))


_NEEDED = Attribute("shape")
_DTYPE = " ".join(DTYPES)
_LAYOUT = _choice("NCHW NCW NCDHW NHWC NWC NDHWC None", None)
_CUDNN = {
    "cudnn_tune": _choice("fastest limited_workspace off None", None),
    "cudnn_off": _bool(False),
    "layout": _LAYOUT,
}


# --- layers --------------------------------------------------------------------------------------


def _without_bias(inputs: Tuple[str, ...], values: Values) -> Sequence[str]:
    return inputs[:2] if values["no_bias"] else inputs


def _convolution(names: str, rule: Rule, workspace: int, no_bias: bool, **own: Attribute) -> None:
    attributes = {
        "kernel": _NEEDED, "stride": _shape(), "dilate": _shape(), "pad": _shape(), **own,
        "num_filter": _count(), "num_group": _count(1), "workspace": _int(workspace),
        "no_bias": _bool(no_bias), **_CUDNN,
    }  # fmt: skip
    _add(names, "data weight bias", rule, {"present": _without_bias}, **attributes)


_convolution("Convolution", layer_shapes.convolution, 1024, False)
_convolution("Convolution_v1", layer_shapes.convolution, 1024, False)
_convolution(
    "Deconvolution", layer_shapes.deconvolution, 512, True, adj=_shape(), target_shape=_shape()
)
_add(
    "FullyConnected", "data weight bias", layer_shapes.fully_connected, {"present": _without_bias},
    num_hidden=_count(), no_bias=_bool(False), flatten=_bool(True),
)  # fmt: skip

_POOLING = {
    "kernel": _shape(), "pool_type": _choice("max avg sum lp", "max"),
    "global_pool": _bool(False), "cudnn_off": _bool(False),
    "pooling_convention": _choice("valid full same", "valid"), "stride": _shape(),
    "pad": _shape(), "p_value": _int(None), "count_include_pad": _bool(None), "layout": _LAYOUT,
}  # fmt: skip


def _workspaces(values: Values) -> int:
    """MXNet's builds with oneDNN keep one for the gradient of max pooling."""
    return int(
        values["pool_type"] == "max"
        and values["layout"] in (None, "NCW", "NCHW", "NCDHW")
        and len(values["kernel"]) in (1, 2, 3)
    )


_add("Pooling", "data", layer_shapes.pooling, {"inner": _workspaces}, **_POOLING)
_add("Pooling_v1", "data", layer_shapes.pooling, **{
    name: _POOLING[name]
    for name in ("kernel", "pool_type", "global_pool", "pooling_convention", "stride", "pad")
})  # fmt: skip
_BATCH_NORM = {
    "eps": _float(1e-3), "momentum": _float(0.9), "fix_gamma": _bool(True),
    "use_global_stats": _bool(False), "output_mean_var": _bool(False),
}  # fmt: skip


def _moments(*names: str) -> Dict[str, Any]:
    """Mean and deviation are outputs if they are asked for, and else only MXNet reads them."""
    return {
        "outputs": lambda values: ("output", *names) if values["output_mean_var"] else ("",),
        "inner": lambda values: 0 if values["output_mean_var"] else 2,
    }


_STATISTICS = {
    "auxiliary": ("moving_mean", "moving_var"),
    "initial": {"moving_mean": '["zero", {}]', "moving_var": '["one", {}]'},
    **_moments("mean", "var"),
}
_BATCH_NORM_INPUTS = "data gamma beta moving_mean moving_var"
_CALIBRATION = {
    "axis": _int(1), "cudnn_off": _bool(False), "min_calib_range": _float(None),
    "max_calib_range": _float(None),
}  # fmt: skip
_add(
    "BatchNorm", _BATCH_NORM_INPUTS, layer_shapes.batch_norm, _STATISTICS, **_BATCH_NORM,
    **_CALIBRATION,
)  # fmt: skip
_add("BatchNorm_v1", _BATCH_NORM_INPUTS, layer_shapes.batch_norm, _STATISTICS, **_BATCH_NORM)
_add(
    "_contrib_SyncBatchNorm", _BATCH_NORM_INPUTS, layer_shapes.batch_norm, _STATISTICS,
    **_BATCH_NORM, ndev=_int(1), key=Attribute("text"),
)  # fmt: skip
_add(
    "LayerNorm", "data gamma beta", layer_shapes.layer_norm, _moments("mean", "std"),
    axis=_int(-1), eps=_float(1e-5), output_mean_var=_bool(False),
)  # fmt: skip
_add(
    "GroupNorm", "data gamma beta", layer_shapes.group_norm, _moments("mean", "std"),
    num_groups=_count(1), eps=_float(1e-5), output_mean_var=_bool(False),
)  # fmt: skip
_add(
    "InstanceNorm", "data gamma beta", layer_shapes.instance_norm, {"inner": lambda values: 2},
    eps=_float(1e-3),
)  # fmt: skip
_add(
    "LRN", "data", shapes.elementwise, {"inner": lambda values: 1},
    alpha=_float(1e-4), beta=_float(0.75), knorm=_float(2.0), nsize=_count(),
)  # fmt: skip
_add(
    "L2Normalization", "data", shapes.elementwise, {"inner": lambda values: 1},
    eps=_float(1e-10), mode=_choice("instance channel spatial", "instance"),
)  # fmt: skip
_add(
    "Dropout", "data", shapes.elementwise, {"inner": lambda values: 1},
    p=Attribute("float", 0.5, least=0, most=1), mode=_choice("training always", "training"),
    axes=_shape(), cudnn_off=_bool(False),
)  # fmt: skip
_add(
    "Activation", "data", shapes.elementwise,
    act_type=_choice("relu sigmoid tanh softrelu softsign"),
)  # fmt: skip
_add(
    "LeakyReLU", "data gamma", layer_shapes.leaky_relu,
    {
        "present": lambda inputs, values: inputs if values["act_type"] == "prelu" else inputs[:1],
        "initial": {"gamma": '["Constant", {"value": 0.25}]'},
        "outputs": lambda values: ("output", "mask") if values["act_type"] == "rrelu" else ("",),
    },
    act_type=_choice("leaky elu prelu gelu selu rrelu", "leaky"), slope=_float(0.25),
    lower_bound=_float(0.125), upper_bound=_float(1 / 3),
)  # fmt: skip
_add(
    "_contrib_AdaptiveAvgPooling2D", "data", shapes.of_data(layer_shapes.resized),
    output_size=_shape(),
)  # fmt: skip
_add(
    "_contrib_BilinearResize2D", "data like", layer_shapes.bilinear_resize,
    {"present": lambda inputs, values: inputs if values["mode"] == "like" else inputs[:1]},
    height=_int(1), width=_int(1), scale_height=_float(None), scale_width=_float(None),
    mode=_choice("size like odd_scale to_even_down to_even_up to_odd_down to_odd_up", "size"),
    align_corners=_bool(True),
)  # fmt: skip
_add(
    "UpSampling", "*data", layer_shapes.up_sampling, {"count": "num_args"},
    scale=_count(), num_filter=_int(0), sample_type=_choice("nearest"),
    multi_input_mode=_choice("concat sum", "concat"), num_args=_parts(), workspace=_int(512),
)  # fmt: skip
_add(
    "Embedding", "data weight", shapes.embedding,
    input_dim=_count(), output_dim=_count(), dtype=_choice(_DTYPE, "float32"),
    sparse_grad=_bool(False),
)  # fmt: skip

# --- ends of networks ----------------------------------------------------------------------------

_NORMALIZATION = _choice("null batch valid", "null")
_add(
    "SoftmaxOutput Softmax", "data label", layer_shapes.softmax_output,
    grad_scale=_float(1.0), ignore_label=_float(-1.0), multi_output=_bool(False),
    use_ignore=_bool(False), preserve_shape=_bool(False), normalization=_NORMALIZATION,
    out_grad=_bool(False), smooth_alpha=Attribute("float", 0.0, least=0, most=1),
)  # fmt: skip
_SOFTMAX = {
    "axis": _int(-1), "temperature": _float(None),
    "dtype": _choice("float16 float32 float64 None", None), "use_length": _bool(False),
}  # fmt: skip
_add(
    "softmax", "data length", shapes.softmax,
    {"present": lambda inputs, values: inputs if values["use_length"] else inputs[:1]}, **_SOFTMAX,
)  # fmt: skip
_add("log_softmax", "data", shapes.elementwise, **_SOFTMAX)
_add("softmin", "data", shapes.elementwise, **_SOFTMAX)
_add("SoftmaxActivation", "data", shapes.elementwise, mode=_choice("instance channel", "instance"))
for _name in ("LinearRegressionOutput", "LogisticRegressionOutput", "MAERegressionOutput"):
    _add(_name, "data label", layer_shapes.regression_output, grad_scale=_float(1.0))
_add(
    "SVMOutput", "data label", layer_shapes.svm_output,
    margin=_float(1.0), regularization_coefficient=_float(1.0), use_linear=_bool(False),
)  # fmt: skip
_add(
    "MakeLoss", "data", shapes.elementwise,
    grad_scale=_float(1.0), valid_thresh=_float(0.0), normalization=_NORMALIZATION,
)  # fmt: skip

# --- one input, one output of the same shape -----------------------------------------------------

_add("_copy identity", "data", shapes.elementwise)
_add("BlockGrad stop_gradient", "data", shapes.elementwise)
for _name in (
    "relu sigmoid tanh exp expm1 log log1p log2 log10 sqrt rsqrt cbrt rcbrt square abs "
    "negative reciprocal sign erf softsign sin cos floor ceil round rint ones_like zeros_like"
).split():
    _add(_name, "data", shapes.elementwise)
_add("make_loss", "data", shapes.elementwise, {"outputs": lambda values: ("loss",)})
_add("hard_sigmoid", "data", shapes.elementwise, alpha=_float(0.2), beta=_float(0.5))
_add("smooth_l1", "data", shapes.elementwise, scalar=_float(1.0))
_add("clip", "data", shapes.elementwise, a_min=_float(), a_max=_float())
_add("Cast cast", "data", shapes.elementwise, dtype=_choice(_DTYPE))
_add("amp_cast", "data", shapes.elementwise, dtype=_choice(_DTYPE))
_add("reverse flip", "data", shapes.elementwise, axis=_NEEDED)
_add("_contrib_div_sqrt_dim", "data", shapes.elementwise)
_add(
    "_image_normalize", "data", shapes.elementwise,
    mean=Attribute("floats", (0.0,) * 4), std=Attribute("floats", (1.0,) * 4),
)  # fmt: skip
_SCALAR = {"scalar": _float(1.0), "is_int": _bool(True)}
for _names in (
    "_plus_scalar _PlusScalar", "_minus_scalar _MinusScalar", "_rminus_scalar _RMinusScalar",
    "_mul_scalar _MulScalar", "_div_scalar _DivScalar", "_rdiv_scalar _RDivScalar",
    "_mod_scalar _ModScalar", "_rmod_scalar _RModScalar", "_power_scalar _PowerScalar",
    "_rpower_scalar _RPowerScalar", "_maximum_scalar _MaximumScalar",
    "_minimum_scalar _MinimumScalar", "_equal_scalar _EqualScalar",
    "_not_equal_scalar _NotEqualScalar", "_greater_scalar _GreaterScalar",
    "_greater_equal_scalar _GreaterEqualScalar", "_lesser_scalar _LesserScalar",
    "_lesser_equal_scalar _LesserEqualScalar",
):  # fmt: skip
    _add(_names, "data", shapes.elementwise, **_SCALAR)

# --- several inputs ------------------------------------------------------------------------------

for _names in (
    "elemwise_add _plus _Plus", "elemwise_sub _minus _Minus", "elemwise_mul _mul _Mul",
    "elemwise_div _div _Div", "_grad_add", "_maximum _Maximum", "_minimum _Minimum",
    "_power _Power", "_mod _Mod", "_equal _Equal", "_not_equal _Not_Equal", "_greater _Greater",
    "_greater_equal _Greater_Equal", "_lesser _Lesser", "_lesser_equal _Lesser_Equal",
):  # fmt: skip
    _add(_names, "lhs rhs", shapes.elementwise)
for _names in (
    "broadcast_add broadcast_plus", "broadcast_sub broadcast_minus", "broadcast_mul",
    "broadcast_div", "broadcast_maximum", "broadcast_minimum", "broadcast_power", "broadcast_mod",
    "broadcast_equal", "broadcast_not_equal", "broadcast_greater", "broadcast_lesser",
):  # fmt: skip
    _add(_names, "lhs rhs", shapes.broadcast)
_add("add_n ElementWiseSum", "*args", shapes.elementwise, {"count": "num_args"})
_add("where", "condition x y", shapes.elementwise)
_TRANSPOSED = {
    "transpose_a": _bool(False), "transpose_b": _bool(False),
    "forward_stype": _choice("default csr row_sparse None", None),
}  # fmt: skip
_add("dot", "lhs rhs", shapes.dot, **_TRANSPOSED)
_add("batch_dot", "lhs rhs", shapes.batch_dot, **_TRANSPOSED)
_add("Concat concat", "*data", shapes.concat, {"count": "num_args"}, num_args=_parts(), dim=_int(1))
_add("stack", "*data", shapes.stack, {"count": "num_args"}, axis=_int(0), num_args=_parts())

# --- reductions, constants and shapes ------------------------------------------------------------

_REDUCTION = {
    "axis": Attribute("shape", None), "keepdims": _bool(False), "exclude": _bool(False),
}  # fmt: skip
for _names in ("mean", "sum sum_axis", "max max_axis", "min min_axis", "prod", "nansum"):
    _add(_names, "data", shapes.of_data(shapes.reduced), **_REDUCTION)
_add(
    "norm", "data", shapes.of_data(shapes.reduced),
    ord=_int(2), axis=Attribute("shape", None), out_dtype=_choice(_DTYPE + " None", None),
    keepdims=_bool(False),
)  # fmt: skip
for _name in ("argmax", "argmin"):
    _add(_name, "data", shapes.of_data(shapes.reduced), axis=_int(None), keepdims=_bool(False))
_FILLED = {
    "shape": _shape(), "ctx": Attribute("text", ""), "dtype": _choice(_DTYPE, "float32"),
}  # fmt: skip
_add("_ones", "", shapes.constant, **_FILLED)
_add("_zeros", "", shapes.constant, **_FILLED)
_add("_full", "", shapes.constant, **_FILLED, value=_float())
_add(
    "one_hot", "indices", shapes.of_data(shapes.one_hot),
    depth=_count(), on_value=_float(1.0), off_value=_float(0.0), dtype=_choice(_DTYPE, "float32"),
)  # fmt: skip
_add("Flatten flatten", "data", shapes.of_data(shapes.flatten))
_add(
    "Reshape reshape", "data", shapes.of_data(shapes.reshape), shape=_shape(),
    reverse=_bool(False), target_shape=_shape(), keep_highest=_bool(False),
)  # fmt: skip
_add(
    "SliceChannel split", "data", shapes.slice_channel,
    {"outputs": lambda values: [f"output{i}" for i in range(values["num_outputs"])]},
    num_outputs=_parts(), axis=_int(1), squeeze_axis=_bool(False),
)  # fmt: skip
_add(
    "slice crop", "data", shapes.of_data(shapes.sliced), begin=Attribute("slice"),
    end=Attribute("slice"), step=Attribute("slice", ()),
)  # fmt: skip
_add(
    "slice_axis", "data", shapes.of_data(shapes.slice_axis), axis=_int(), begin=_int(),
    end=Attribute("int", REQUIRED, ("None",)),
)  # fmt: skip
_add("slice_like", "data shape_like", shapes.slice_like, axes=_shape())
_add(
    "broadcast_like", "lhs rhs", shapes.broadcast_like, lhs_axes=Attribute("shape", None),
    rhs_axes=Attribute("shape", None),
)  # fmt: skip
_add(
    "broadcast_axis broadcast_axes", "data", shapes.of_data(shapes.broadcast_axis), axis=_shape(),
    size=_shape(),
)  # fmt: skip
_add("broadcast_to", "data", shapes.of_data(shapes.broadcast_to), shape=_shape())
_add("SwapAxis swapaxes", "data", shapes.of_data(shapes.swap_axis), dim1=_int(0), dim2=_int(0))
_add("transpose", "data", shapes.of_data(shapes.transpose), axes=_shape())
_add("expand_dims", "data", shapes.of_data(shapes.expand_dims), axis=_int())
_add("squeeze", "data", shapes.of_data(shapes.squeeze), axis=Attribute("shape", None))
_add(
    "Pad pad", "data", shapes.of_data(shapes.pad), mode=_choice("constant edge reflect"),
    pad_width=_NEEDED, constant_value=_float(0.0),
)  # fmt: skip
_add("tile", "data", shapes.of_data(shapes.tile), reps=_NEEDED)
_add("repeat", "data", shapes.of_data(shapes.repeat), repeats=_count(), axis=_int(None))
_add("depth_to_space", "data", shapes.of_data(shapes.depth_to_space), block_size=_count())
_add("space_to_depth", "data", shapes.of_data(shapes.space_to_depth), block_size=_count())
_add("_image_to_tensor", "data", shapes.of_data(shapes.to_planes))
