"""Every operator against MXNet: names, JSON and shapes, over random attributes and inputs."""

import json
import warnings

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagenet_trainer.graph import GraphError, sym
from imagenet_trainer.graph.attributes import REQUIRED
from imagenet_trainer.graph.operators import OPERATORS
from imagenet_trainer.system.mxnet_import import mx

# What MXNet infers although it cannot compute it, or without the shapes that it needs.
STRICTER = {
    "Reshape", "_contrib_AdaptiveAvgPooling2D", "_contrib_BilinearResize2D", "argmax", "argmin",
    "broadcast_like", "slice", "SoftmaxOutput", "stack",
}  # fmt: skip
# What MXNet refuses for reasons that have nothing to do with shapes: kinds of padding, numbers of
# channels, axes that are named twice, versions for fewer dimensions.
MORE_LENIENT = {
    "Pad", "_image_normalize", "L2Normalization", "Dropout", "Pooling", "Pooling_v1", "mean", "sum",
    "max", "min", "prod", "nansum", "norm", "Convolution", "Convolution_v1", "Deconvolution",
    "softmax", "log_softmax", "softmin", "LRN", "InstanceNorm", "Concat", "stack", "Reshape",
    "SoftmaxActivation", "LeakyReLU", "UpSampling", "where", "_full", "_ones", "_zeros", "reverse",
    "batch_dot", "transpose", "repeat", "SVMOutput", "squeeze", "expand_dims", "GroupNorm",
}  # fmt: skip
# Where one input is known, MXNet leaves the others open.
INFERS_MORE = {"where", "stack"}
# Calls that random attributes rarely hit: (attributes, shapes of the inputs).
PLAIN = {
    "Reshape": [
        ({"shape": (0, -1)}, [(2, 4, 6)]),
        ({"shape": (-3, 0), "reverse": True}, [(2, 4, 6)]),
    ],
    "broadcast_axis": [({"axis": (1, 2), "size": (3, 4)}, [(2, 1, 1)])],
    "broadcast_to": [({"shape": (0, 3)}, [(2, 1)])],
    "_image_normalize": [({"mean": (0.5,) * 3, "std": (1.0,)}, [(2, 3, 4, 4)])],
    "Deconvolution": [({"kernel": (3, 3), "stride": (2, 2), "num_filter": 4}, [(2, 6, 4, 7)])],
}
UNTRIED = {"None", "bfloat16", "bool"}  # MXNet's functions take no such names
SMALL = st.integers(1, 3)


def values_of(name, attribute, rank):
    """Values of an attribute, mostly sensible for data of this rank."""
    spatial = max(rank - 2, 1)
    by_name = {
        "kernel": st.lists(SMALL, min_size=spatial, max_size=spatial).map(tuple),
        "stride": st.lists(SMALL, min_size=spatial, max_size=spatial).map(tuple),
        "dilate": st.lists(st.integers(1, 2), min_size=spatial, max_size=spatial).map(tuple),
        "pad": st.lists(st.integers(0, 2), min_size=spatial, max_size=spatial).map(tuple),
        "adj": st.just((0,) * spatial),
        "target_shape": st.just(()),
        "axes": st.permutations(range(rank)).map(tuple),
        "num_filter": st.sampled_from([2, 4, 6]),
        "num_group": st.sampled_from([1, 2]),
        "output_size": st.sampled_from([(), (1,), (2,), (2, 3)]),
        "layout": st.none(),
        "pad_width": st.lists(st.integers(0, 2), min_size=rank, max_size=rank).map(
            lambda after: (0, 0, 0, 0, *(n for w in after[2:] for n in (w, 0)))[: 2 * rank]
        ),
        "shape": st.lists(
            st.sampled_from([0, -1, -2, -3, 1, 2, 4, 6]), min_size=1, max_size=3
        ).map(tuple),
        "p": st.sampled_from([0.0, 0.5, 1.0]),
    }  # fmt: skip
    if name in by_name:
        return by_name[name]
    return {
        "int": st.integers(1, 3) if attribute.least == 1 else st.integers(-2, 2),
        "float": st.sampled_from([0.1, 1.0, 2]),
        "bool": st.booleans(),
        "shape": st.lists(st.integers(-1, rank - 1), min_size=1, max_size=2).map(tuple),
        "slice": st.lists(
            st.sampled_from([None, 0, 1, 2, -1]), min_size=rank, max_size=rank
        ).map(tuple),
        "floats": st.sampled_from([(1.0,), (0.5, 0.5, 0.5)]),
        "choice": st.sampled_from(sorted(set(attribute.choices) - UNTRIED) or ["None"]),
        "text": st.just("x"),
    }[attribute.kind]  # fmt: skip


@st.composite
def calls(draw, name):
    """The attributes of an operator and the shapes of its inputs."""
    operator = OPERATORS[name]
    rank = draw(st.sampled_from([2, 3, 4, 4, 5]))
    data = draw(st.lists(st.sampled_from([1, 2, 4, 6, 7]), min_size=rank, max_size=rank).map(tuple))
    attributes = {
        key: draw(values_of(key, attribute, rank))
        for key, attribute in operator.attributes.items()
        if key != operator.count and (attribute.default is REQUIRED or draw(st.booleans()))
    }
    variadic = bool(operator.inputs) and operator.inputs[0].startswith("*")
    two = name.startswith("broadcast_") or set(operator.inputs) & {"rhs", "shape_like"}
    shapes = [data] if operator.inputs else []
    if name != "UpSampling" and (variadic or two):
        other = tuple(draw(st.sampled_from([n, n, n, 1])) for n in data)
        shapes.append(data if draw(st.booleans()) else other)
    return attributes, shapes


def outcome(function, variable, attributes, shapes):
    """All that a library says of one operator; `refused` if it raises."""
    try:
        inputs = [variable(f"v{number}") for number in range(len(shapes))]
        made = function(*inputs, name="layer", **attributes)
        known = {f"v{number}": shape for number, shape in enumerate(shapes)}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            inferred = made.infer_shape(**known)
    except (GraphError, mx.base.MXNetError, TypeError):
        return "refused"
    return (
        made.tojson(), made.list_arguments(), made.list_auxiliary_states(), made.list_outputs(),
        inferred if inferred[0] is None else [list(map(tuple, part)) for part in inferred],
    )  # fmt: skip


def of_mxnet(name):
    for prefix, place in (("_contrib_", mx.sym.contrib), ("_image_", mx.sym.image)):
        if name.startswith(prefix):
            return getattr(place, name[len(prefix) :])
    return getattr(mx.sym, name, None) or getattr(mx.sym._internal, name)


@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_as_mxnet(name, capfd):
    @settings(
        max_examples=12, deadline=None, derandomize=True, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(calls(name))
    def check_random(call):
        check(call)

    def check(call):
        theirs = outcome(of_mxnet(name), mx.sym.Variable, *call)
        ours = outcome(getattr(sym._internal, name), sym.Variable, *call)
        if ours == "refused":
            complete = theirs != "refused" and theirs[4][0] is not None
            has_zero = complete and any(0 in shape for part in theirs[4] for shape in part)
            assert not complete or has_zero or name in STRICTER, (call, theirs)
        elif theirs == "refused":
            assert name in MORE_LENIENT, (call, ours)
        else:
            agreed.append(ours)
            assert ours[:4] == theirs[:4], call
            assert ours[4] == theirs[4] or (theirs[4][0] is None and name in INFERS_MORE), call

    agreed = []
    for plain in PLAIN.get(name, []):
        check(plain)
    check_random()
    assert agreed, "no call that both accept"


def test_every_name_is_one_of_mxnets():
    for name in OPERATORS:
        made = of_mxnet(name)
        assert callable(made)
    text = json.loads(mx.sym.identity(mx.sym.Variable("x"), name="same").tojson())
    assert text["nodes"][1]["op"] == "_copy"


@pytest.mark.parametrize(
    "make, what",
    [
        (
            lambda x: sym.Convolution(x, kernal=(3, 3), num_filter=1, name="c"),
            "did you mean kernel",
        ),
        (lambda x: sym.Convolution(x, num_filter=4, name="c"), "needs the attribute kernel"),
        (lambda x: sym.Convolution(x, kernel=(3, 3), num_filter=0, name="c"), "num_filter '0'"),
        (lambda x: sym.Convolution(x, kernel="three", num_filter=1, name="c"), "kernel 'three'"),
        (lambda x: sym.Activation(x, act_type="rely", name="a"), "relu or sigmoid"),
        (lambda x: sym.Dropout(x, p=1.5, name="d"), "p '1.5'"),
        (lambda x: sym.FullyConnected(x, wieght=x, num_hidden=2, name="f"), "did you mean weight"),
        (lambda x: sym.elemwise_add(x, sym.SliceChannel(x, num_outputs=2)), "2 outputs"),
    ],
)
def test_mistakes_name_the_node_and_the_way_out(make, what):
    with pytest.raises(GraphError) as refused:
        make(sym.Variable("x"))
    assert what in str(refused.value)


def test_unknown_operators_suggest_the_nearest():
    with pytest.raises(AttributeError) as missing:
        getattr(sym, "Convolutoin")  # noqa: B009
    assert "Convolution" in str(missing.value)
