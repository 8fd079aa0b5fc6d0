"""Max pooling before its rectifiers: what is moved, and that training stays the same."""

import json

import pytest
from conftest import ENGINES
from helpers.networks import smallest, smallest_shape
from helpers.tiny_engine import CLASSES, assert_same, batches, open_one, train

from imagenet_trainer import symbols
from imagenet_trainer.engines.pooling import pooled_first
from imagenet_trainer.graph import Group, sym


def convolution(x, name):
    return sym.Convolution(x, kernel=(3, 3), num_filter=8, pad=(1, 1), name=name)


def rectified(x):
    return sym.Activation(x, act_type="relu")


def pooled(x, **options):
    return sym.Pooling(
        x, **{"kernel": (3, 3), "stride": (2, 2), "pad": (1, 1), "pool_type": "max", **options}
    )


def order(network):
    return [node.op for node in network.nodes if node.op in ("Activation", "Pooling", "Concat")]


def softmax_of(x):
    return sym.SoftmaxOutput(sym.FullyConnected(x, num_hidden=CLASSES, name="fc"), name="softmax")


@pytest.fixture
def network():
    """Poolings after one and after two rectifiers, and one whose output is read twice."""
    x = pooled(rectified(convolution(sym.Variable("data"), "conv0")), pad=(0, 0))
    x = sym.Concat(rectified(convolution(x, "conv1")), rectified(convolution(x, "conv2")))
    x = pooled(x, pooling_convention="full")
    x = sym.Concat(convolution(x, "conv3"), x)
    x = pooled(rectified(x), global_pool=True)
    return softmax_of(x)


def test_rectifiers_come_after_poolings(network):
    assert order(network) == [
        "Activation", "Pooling", "Activation", "Activation", "Concat", "Pooling", "Concat",
        "Activation", "Pooling",
    ]  # fmt: skip
    assert order(pooled_first(network)) == [
        "Pooling", "Activation", "Concat", "Pooling", "Activation", "Concat", "Pooling",
        "Activation",
    ]  # fmt: skip


@pytest.mark.parametrize("engine_name", ENGINES)
def test_training_stays_the_same(engine_name, network):
    # A monitor shows the layers of the network as it was given.
    ours, monitored = (
        train(open_one(engine_name, network, monitor=every), batches(4)) for every in (0, 1)
    )
    assert_same(ours.get_params(), monitored.get_params())
    assert_same(ours.get_state(), monitored.get_state())
    assert ours.read_counts() == monitored.read_counts()
    names = monitored.read_statistics()[0][1]
    assert sum("activation" in name for name in names) == 4


@pytest.mark.parametrize(
    "make",
    [
        lambda x: Group([pooled(rectified(x)), rectified(x)]),  # two rectifiers, one is an output
        lambda x: pooled(rectified(x)),  # the pooling is an output
        lambda x: softmax_of(pooled(rectified(x), pool_type="avg")),
        lambda x: softmax_of(pooled(sym.Activation(x, act_type="sigmoid"))),
        lambda x: softmax_of(pooled(sym.LeakyReLU(x))),
        lambda x: softmax_of(pooled(sym.Concat(rectified(x), convolution(x, "conv1")))),
        # Their first or last windows lie outside of an image of 13 pixels.
        lambda x: softmax_of(pooled(rectified(x), stride=(1, 1), pooling_convention="same")),
        lambda x: softmax_of(pooled(rectified(x), pad=(3, 3))),
        lambda x: softmax_of(
            pooled(rectified(x), kernel=(1, 1), pad=(0, 0), stride=(4, 4),
                   pooling_convention="full")
        ),
    ],
)  # fmt: skip
def test_other_networks_stay_as_they_are(make):
    network = make(convolution(sym.Variable("data"), "conv0"))
    assert pooled_first(network).tojson() == network.tojson()


def test_a_rectifier_with_two_readers_stays_before_the_pooling():
    x = rectified(convolution(sym.Variable("data"), "conv0"))
    network = softmax_of(sym.Concat(pooled(x), pooled(x, pool_type="avg")))
    assert order(pooled_first(network)) == order(network)


@pytest.mark.parametrize(
    "name", ["resnet-18", "squeezenet1.0", "googlenet", "vgg-bn-11", "vit-small"]
)
def test_parameters_and_outputs_keep_names_order_and_shapes(name):
    network = smallest(name)
    moved = pooled_first(network)
    assert moved.list_arguments() == network.list_arguments()
    assert moved.list_auxiliary_states() == network.list_auxiliary_states()
    assert moved.list_outputs() == network.list_outputs()
    size = {"data": (2, *smallest_shape(name))}
    assert moved.infer_shape(**size) == network.infer_shape(**size)
    assert pooled_first(moved).tojson() == moved.tojson()


def test_resnets_rectify_a_quarter_of_the_first_layer():
    nodes = json.loads(pooled_first(symbols.get_symbol("resnet-18", 10)).tojson())["nodes"]
    rectifier = next(node for node in nodes if node["name"] == "relu0")
    assert nodes[rectifier["inputs"][0][0]]["name"] == "pool0"
