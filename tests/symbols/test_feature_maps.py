"""Splitting networks at their last feature maps."""

import pytest
from helpers.networks import CHEAPEST, classes_of, smallest_shape

from imagenet_trainer import symbols
from imagenet_trainer.graph import GraphError, Symbol, sym
from imagenet_trainer.symbols.feature_maps import split_at_maps


@pytest.mark.parametrize("name", CHEAPEST)
def test_the_two_parts_make_the_network(name):
    """The tail on the maps of the body is the network, node for node."""
    shape = smallest_shape(name)
    symbol = symbols.get_symbol(name, classes_of(name), shape)
    split = split_at_maps(symbol, shape)
    logits = Symbol(symbol.entries[0].node.inputs[:1])
    assert split.tail(data=split.body[0]).structure() == logits.structure()
    assert split.body[1].structure() == symbol.structure()
    assert split.shape[1] * split.shape[2] > 1
    assert split.body.infer_shape(data=(1, *shape))[1][0] == (1, *split.shape)


@pytest.mark.parametrize(
    ("name", "layer", "shape"),
    [
        ("resnet-18", "relu1", (512, 7, 7)),
        ("vgg-16", "relu5_3", (512, 14, 14)),  # as in the paper
        ("squeezenet1.1", "conv10_relu", (1000, 13, 13)),
        ("convnext-tiny", "stage4_unit3_plus", (768, 7, 7)),
        ("mobilenetv3-small", "conv2_hard_swish", (576, 7, 7)),
    ],
)
def test_the_maps_are_those_before_the_last_pooling(name, layer, shape):
    split = split_at_maps(symbols.get_symbol(name, 1000, (3, 224, 224)), (3, 224, 224))
    assert (split.layer, split.shape) == (layer, shape)


def softmax(x):
    return sym.SoftmaxOutput(sym.FullyConnected(sym.Flatten(x), num_hidden=2), name="softmax")


def test_a_branch_around_a_layer_makes_an_earlier_one_the_last():
    data = sym.Variable("data")
    first = sym.Convolution(data, kernel=(3, 3), num_filter=4, name="first")
    second = sym.Convolution(first, kernel=(1, 1), num_filter=4, name="second")
    pooled = [
        sym.Flatten(sym.Pooling(one, global_pool=True, kernel=(1, 1), pool_type="avg"))
        for one in (first, second)
    ]
    network = softmax(sym.Concat(*pooled, dim=1))
    assert split_at_maps(network, (3, 8, 8)).layer == "first"


def test_a_network_without_maps_is_refused():
    flat = sym.FullyConnected(sym.Flatten(sym.Variable("data")), num_hidden=4)
    with pytest.raises(GraphError):
        split_at_maps(softmax(flat), (3, 8, 8))
