import json

import pytest
from conftest import needs_mxnet

from imagenet_trainer import symbols
from imagenet_trainer.engines.mxnet.arrays import to_symbol
from imagenet_trainer.errors import InputError
from imagenet_trainer.symbols.classifier import classifier_of, with_classifier, with_features
from imagenet_trainer.system.mxnet_import import mx

SHAPE = (2, 3, 224, 224)


def ours(name):
    return symbols.get_symbol(name, 1000)


def gluons(name):
    """A network of Gluon's zoo as `export` writes it."""
    net = mx.gluon.model_zoo.vision.get_model(name, classes=1000, prefix="net_")
    return mx.sym.load_json(net(mx.sym.var("data")).tojson())


def by_fine_tune_script(symbol, num_classes, layer):
    """The same by the code of MXNet's example/image-classification/fine-tune.py."""
    net = symbol.get_internals()[layer + "_output"]
    net = mx.sym.FullyConnected(data=net, num_hidden=num_classes, name="fc")
    return mx.sym.SoftmaxOutput(data=net, name="softmax")


def shapes(symbol):
    arguments, outputs, auxiliary = symbol.infer_shape(data=SHAPE)
    arg = dict(zip(symbol.list_arguments(), arguments))
    arg.pop("softmax_label", None)
    return {**arg, **dict(zip(symbol.list_auxiliary_states(), auxiliary))}, outputs


NETWORKS = {
    "resnet18": (ours, ["fc1_weight", "fc1_bias"]),
    "squeezenet1.1": (ours, ["conv10_weight", "conv10_bias"]),
    "convnext-tiny": (ours, ["fc1_weight", "fc1_bias"]),
    "vit-small": (ours, ["fc1_weight", "fc1_bias"]),
    "resnet18_v1": (gluons, ["net_dense0_weight", "net_dense0_bias"]),
    "squeezenet1.0": (gluons, ["net_conv25_weight", "net_conv25_bias"]),
    "mobilenetv2_0.25": (gluons, ["net_output_pred_weight"]),
    "vgg11": (gluons, ["net_dense2_weight", "net_dense2_bias"]),
    "densenet121": (gluons, ["net_dense0_weight", "net_dense0_bias"]),
}


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_only_the_classifier_changes(name):
    make, classifier = NETWORKS[name]
    before = make(name)
    after = with_classifier(before, 7)
    assert classifier_of(before) == classifier_of(after) == classifier
    (old, _), (new, outputs) = shapes(before), shapes(after)
    assert outputs == [(2, 7)] and after.list_outputs() == ["softmax_output"]
    assert old.keys() == new.keys()
    for parameter, shape in old.items():
        wanted = (7, *shape[1:]) if parameter in classifier else shape
        assert new[parameter] == wanted, parameter


def test_the_result_is_the_network_built_for_these_classes():
    after = with_classifier(ours("resnet18"), 7)
    made = symbols.get_symbol("resnet18", 7)
    ours_nodes, theirs = (
        [(n["op"], n["name"], n.get("attrs", {})) for n in json.loads(symbol.tojson())["nodes"]]
        for symbol in (after, made)
    )
    assert ours_nodes == theirs


@needs_mxnet
@pytest.mark.parametrize("layer", ["flatten0", "flatten0_output", "pool1"])
def test_after_a_layer_it_is_by_fine_tune_script(layer):
    before = ours("resnet18")
    after = with_classifier(before, 7, layer)
    reference = by_fine_tune_script(to_symbol(before), 7, layer.replace("_output", ""))
    assert after.list_arguments() == reference.list_arguments()
    assert shapes(after) == shapes(reference)
    assert classifier_of(after) == ["fc_weight", "fc_bias"]


def test_everything_after_the_layer_is_removed():
    after = with_classifier(gluons("vgg11"), 7, "net_dense0_relu_fwd")
    assert classifier_of(after) == ["fc_weight", "fc_bias"]
    names = after.list_arguments()
    assert "net_dense0_weight" in names and "net_dense1_weight" not in names


def test_the_new_layer_gets_a_free_name():
    x = mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=4, name="fc")
    x = mx.sym.Activation(x, act_type="relu", name="relu")
    x = mx.sym.FullyConnected(x, num_hidden=9, name="last")
    after = with_classifier(x, 3, "relu")
    assert after.list_arguments() == [
        "data", "fc_weight", "fc_bias", "fc_new_weight", "fc_new_bias", "softmax_label",
    ]  # fmt: skip


def test_rate_factors_and_shapes_are_removed():
    # Gluon's export writes them to every parameter; MXNet's optimizer would obey them.
    before, after = gluons("resnet18_v1"), with_classifier(gluons("resnet18_v1"), 7)
    for word in ("__wd_mult__", "__lr_mult__", "__shape__"):
        assert word in before.tojson() and word not in after.tojson()


def test_unknown_layers_are_refused():
    with pytest.raises(InputError, match=r"^layer_before_fullc flaten0: .*mean flatten0"):
        with_classifier(ours("resnet18"), 7, "flaten0")
    with pytest.raises(InputError, match=r"the last are .*pool1, flatten0, fc1, softmax"):
        with_classifier(ours("resnet18"), 7, "nothing like it")


def test_networks_without_a_clear_classifier_are_refused():
    x = mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=4, name="first")
    both = x + mx.sym.Activation(x, act_type="relu", name="relu")
    for unclear in (both, mx.sym.Group([x, both])):
        with pytest.raises(InputError, match=r"^layer_before_fullc"):
            with_classifier(unclear, 3)
        if unclear is both:
            assert "fc_weight" in with_classifier(unclear, 3, "relu").list_arguments()


def test_a_single_logit_is_replaced():
    symbol = symbols.get_symbol("one-stage-cnn", 2, (3, 64, 64))
    assert classifier_of(symbol) == ["fc2_weight", "fc2_bias"]
    other = with_classifier(symbol, 5)
    assert classifier_of(other) == ["fc2_weight", "fc2_bias"]
    assert other.infer_shape(data=(2, 3, 64, 64))[1] == [(2, 5)]
    shapes = dict(zip(other.list_arguments(), other.infer_shape(data=(2, 3, 64, 64))[0]))
    assert shapes["fc2_weight"] == (5, 128)


@pytest.mark.parametrize(
    ("name", "width"), [("resnet18", 512), ("squeezenet", 512), ("vgg11", 4096)]
)
def test_features_are_what_the_classifier_takes(name, width):
    symbol = ours(name)
    _, outputs, _ = with_features(symbol).infer_shape(data=SHAPE)
    assert outputs == [(2, width), (2, 1000)]
    assert set(with_features(symbol).list_arguments()) == set(symbol.list_arguments())
