"""Graphs: composition, names, attributes and shapes as in MXNet."""

import json
import sys

import numpy as np
import pytest

import imagenet_trainer.graph as ours
from imagenet_trainer.graph import GraphError, Group, as_graph, sym
from imagenet_trainer.system.mxnet_import import mx

BOTH = pytest.mark.parametrize("library", [ours, mx], ids=["ours", "mxnet"])


def network(library):
    """A network with most features of the libraries, written once for both."""
    S = library.sym
    with library.name.Prefix("net_"), library.AttrScope(ctx_group="one"):
        data = S.Variable("data", shape=(0, 3, 8, 8), lr_mult=0.5, dtype="float32")
        x = S.Convolution(data, kernel=[3, 3], num_filter=4, no_bias=True, attr={"__own__": "1"})
    x = S.BatchNorm(x, fix_gamma=False, momentum=0.9, eps=2e-5)
    y = 2 / (1 - (x + 1) * 0.5) - x**2
    x = S.Concat(-y, x % 3, dim=1)
    x = S.add_n(*[x] * 12, name="sum")
    x = S.LeakyReLU(x, act_type="prelu", name="act")
    parts = S.SliceChannel(x, num_outputs=2, name="half")
    x = S.broadcast_mul(parts[0], S.Variable("scale", shape=(1, 4, 1, 1), init=None))
    x = S.FullyConnected(S.Flatten(x), num_hidden=3, flatten=True, weight=S.var("w", wd_mult=2))
    probabilities = S.SoftmaxOutput(x, name="softmax", grad_scale=0.5)
    return S.Group([probabilities, S.BlockGrad(parts[1]), x.reshape((0, -1)).softmax()])


@pytest.fixture(scope="module")
def pair():
    with ours.name.NameManager():
        made = network(ours)
    with mx.name.NameManager():
        return made, network(mx)


def test_the_json_is_mxnets_byte_for_byte(pair):
    made, reference = pair
    assert made.tojson() == reference.tojson()
    assert as_graph(reference).tojson() == reference.tojson()
    assert mx.sym.load_json(made.tojson()).tojson() == reference.tojson()


def test_symbols_of_mxnet_are_inputs_of_our_functions():
    convolution = mx.sym.Convolution(mx.sym.Variable("data"), num_filter=3, kernel=(2, 2), name="c")
    other = mx.sym.Variable("other")
    pool = {"kernel": (2, 2), "pool_type": "max", "name": "p"}
    for ours_, theirs in (
        (sym.Pooling(convolution, **pool), mx.sym.Pooling(convolution, **pool)),
        (sym.Concat(convolution, other, name="n"), mx.sym.Concat(convolution, other, name="n")),
        (sym.Variable("x") + other, mx.sym.Variable("x") + other),
        (ours.Group([convolution, other]), mx.sym.Group([convolution, other])),
    ):
        assert ours_.list_arguments() == theirs.list_arguments()
        assert [node["op"] for node in json.loads(ours_.tojson())["nodes"]] == [
            node["op"] for node in json.loads(theirs.tojson())["nodes"]
        ]


def test_lists_attributes_and_shapes_are_mxnets(pair):
    made, reference = pair
    for method in ("list_arguments", "list_auxiliary_states", "list_outputs", "list_inputs"):
        assert getattr(made, method)() == getattr(reference, method)()
    assert made.attr_dict() == reference.attr_dict()
    assert made.get_internals().list_outputs() == reference.get_internals().list_outputs()
    assert made.get_children().list_outputs() == reference.get_children().list_outputs()
    assert made.infer_shape(data=(2, 3, 8, 8)) == reference.infer_shape(data=(2, 3, 8, 8))
    assert repr(made[0]) == repr(reference[0]) and made.name is None
    inner = made.get_internals()["act_output"]
    assert inner.list_attr() == reference.get_internals()["act_output"].list_attr()
    assert inner.attr("act_type") == "prelu" and inner.attr("other") is None


@BOTH
def test_variables_are_replaced_in_a_copy(library):
    S = library.sym
    layer = S.FullyConnected(S.Variable("data"), num_hidden=2, name="fc")
    before = layer.tojson()
    composed = layer(data=S.Flatten(S.Variable("pixels"), name="flat"))
    assert composed.list_arguments() == ["pixels", "fc_weight", "fc_bias"]
    assert layer.tojson() == before
    assert composed.infer_shape(pixels=(4, 3, 2))[1] == [(4, 2)]


@BOTH
def test_a_shape_flows_back_through_elementwise_operators(library):
    S = library.sym
    x = S.elemwise_add(S.Activation(S.Variable("left"), act_type="relu"), S.Variable("right"))
    assert x.infer_shape(right=(2, 5)) == ([(2, 5), (2, 5)], [(2, 5)], [])


@pytest.mark.filterwarnings("ignore:Cannot decide shape")
@BOTH
def test_shapes_that_do_not_follow_are_none(library):
    S = library.sym
    x = S.broadcast_add(S.Variable("data"), S.Variable("offset"))
    assert x.infer_shape(data=(2, 3)) == (None, None, None)


def test_contradictions_name_the_node():
    x = sym.FullyConnected(sym.Variable("data"), num_hidden=2, name="fc")
    with pytest.raises(GraphError) as refused:
        x.infer_shape(data=(2, 3), fc_weight=(2, 4))
    assert "fc (FullyConnected)" in str(refused.value) and "fc_weight" in str(refused.value)
    with pytest.raises(GraphError, match="did you mean data"):
        x.infer_shape(dat=(2, 3))
    data = sym.Variable("data")
    for wrong in (
        sym.slice(data, begin=(0, 0), end=(1, 1), step=(1,)),
        sym.slice(data, begin=(0, 0), end=(1, 1), step=(1, 0)),
        sym.contrib.AdaptiveAvgPooling2D(data, output_size=(1, 2, 3)),
    ):
        with pytest.raises(GraphError, match=f"^{wrong.name} "):
            wrong.infer_shape(data=(2, 3, 4, 4))


def test_arrays_beyond_the_largest_size_are_refused():
    x = sym.FullyConnected(sym.Variable("data"), num_hidden=2**62, name="fc")
    with pytest.raises(GraphError, match="too large"):
        x.infer_shape(data=(4, 8))


def test_with_attributes_makes_another_graph():
    x = sym.Dropout(sym.Variable("data"), p=0.5, name="drop")
    assert x.with_attributes({"drop": {"p": "0.1", "mode": "always"}}).list_attr() == {
        "p": "0.1", "mode": "always",
    }  # fmt: skip
    assert x.with_attributes({"drop": {"p": None}}).list_attr() == {}
    assert x.list_attr() == {"p": "0.5"}
    with pytest.raises(GraphError):
        x.with_attributes({"drop": {"p": "2"}})


def test_a_deep_graph():
    x = sym.Variable("data")
    for _ in range(2 * sys.getrecursionlimit()):
        x = sym.relu(x)
    count = len(x.nodes)
    assert x.infer_shape(data=(1, 2))[1] == [(1, 2)]
    assert len(x(data=sym.Variable("other")).nodes) == count == len(x.structure()[1])
    assert ours.load_json(x.tojson()).structure() == x.structure()
    with pytest.raises(GraphError, match="20001 nodes"):  # engines would take minutes
        ours.load_json(json.dumps({"nodes": [{}] * 20_001}))


def test_the_structure_is_without_the_names_of_operators():
    def network(name="relu0", data="data", act="relu", swapped=False):
        x = sym.Variable(data)
        y = sym.Activation(x, act_type=act, name=name)
        return sym.elemwise_sub(*((y, x) if swapped else (x, y)))

    assert network().structure() == network(name="relu1").structure()
    for other in (network(data="image"), network(act="sigmoid"), network(swapped=True)):
        assert network().structure() != other.structure()


def test_what_is_no_symbol_is_refused():
    with pytest.raises(TypeError):
        sym.relu(np.zeros(3))
    with pytest.raises(TypeError):
        as_graph("resnet")
    with pytest.raises(TypeError):
        bool(sym.Variable("x"))
    with pytest.raises(GraphError, match="no outputs"):
        sym.Variable("data").get_internals()["dat"]


def test_groups_and_slices():
    parts = sym.SliceChannel(sym.Variable("x"), num_outputs=3, name="s")
    assert len(parts) == 3 and [one.list_outputs()[0] for one in parts][2] == "s_output2"
    assert parts[1:].list_outputs() == ["s_output1", "s_output2"]
    assert Group([parts[0], parts[2]]).list_outputs() == ["s_output0", "s_output2"]
    with pytest.raises(IndexError):
        parts[3]
