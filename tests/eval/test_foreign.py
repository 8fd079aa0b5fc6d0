import json

import numpy as np
import pytest

from imagenet_trainer.engines import Devices
from imagenet_trainer.engines.factory import open_engine
from imagenet_trainer.errors import InputError
from imagenet_trainer.eval.foreign import adapt
from imagenet_trainer.graph import sym

SIDE, CLASSES = 8, 4
SHAPE = (3, SIDE, SIDE)


def features(name="data"):
    x = sym.Convolution(sym.Variable(name), kernel=(3, 3), num_filter=4, name="conv")
    return sym.Flatten(sym.Activation(x, act_type="relu"))


def logits(name="data"):
    return sym.FullyConnected(features(name), num_hidden=CLASSES, name="fc")


def fully_convolutional():
    x = sym.Convolution(sym.Variable("data"), kernel=(3, 3), num_filter=CLASSES, name="conv")
    return sym.Pooling(x, global_pool=True, kernel=(1, 1), pool_type="avg")


NETWORKS = {
    "SoftmaxOutput": lambda: sym.SoftmaxOutput(logits(), name="softmax"),
    "other label": lambda: sym.SoftmaxOutput(logits(), sym.Variable("truth"), name="prob"),
    "old Softmax": lambda: sym.Softmax(logits(), name="softmax"),
    "softmax": lambda: sym.softmax(logits(), name="prob"),
    "temperature": lambda: sym.softmax(logits(), temperature=2.5),
    "log_softmax": lambda: sym.log_softmax(logits()),
    "SoftmaxActivation": lambda: sym.SoftmaxActivation(logits()),
    "logits": logits,
    "other input": lambda: logits("input_0"),
    "softmax of another input": lambda: sym.softmax(logits("photo")),
    "pooled": fully_convolutional,
    "flattened": lambda: sym.Flatten(fully_convolutional()),
    "with features": lambda: sym.Group([features(), sym.softmax(logits())]),
}


def parameters(seed=0):
    random = np.random.RandomState(seed)
    shapes = {"conv_weight": (4, 3, 3, 3), "conv_bias": (4,), "fc_weight": (CLASSES, 144),
              "fc_bias": (CLASSES,)}  # fmt: skip
    return {name: random.randn(*shape).astype(np.float32) * 0.05 for name, shape in shapes.items()}


def by_hand(name, arg, images):
    """Probabilities by NumPy alone, from uint8 (n, SIDE, SIDE, 3)."""
    planes = images.astype(np.float64) / 10
    patches = np.lib.stride_tricks.sliding_window_view(planes, (3, 3), axis=(1, 2))
    found = np.einsum("nhwcyx,fcyx->nfhw", patches, arg["conv_weight"].astype(np.float64))
    found += arg["conv_bias"][:, None, None]
    if name in ("pooled", "flattened"):
        found = found.mean(axis=(2, 3))
    else:
        found = np.maximum(found, 0).reshape(len(images), -1)
        found = found @ arg["fc_weight"].T + arg["fc_bias"]
    found = found / (2.5 if name == "temperature" else 1)
    found = np.exp(found - found.max(axis=1, keepdims=True))
    return found / found.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_probabilities_by_hand(name):
    arg = parameters()
    if name in ("pooled", "flattened"):
        arg = {key: value for key, value in arg.items() if key.startswith("conv")}
    symbol = sym.load_json(NETWORKS[name]().tojson())
    found = adapt(symbol, arg.keys(), SHAPE, "x-symbol.json")
    assert found.classes == CLASSES
    engine = open_engine(found.symbol, Devices(), (3, SIDE, SIDE, 3), (0, 0, 0), (10, 10, 10))
    engine.set_params(arg, {})
    images = np.random.RandomState(1).randint(0, 256, (3, SIDE, SIDE, 3)).astype(np.uint8)
    np.testing.assert_allclose(engine.predict(images), by_hand(name, arg, images), rtol=1e-4)


def test_symbols_of_this_program_are_unchanged():
    symbol = NETWORKS["SoftmaxOutput"]()
    found = adapt(symbol, parameters().keys(), SHAPE, "x")
    assert found.symbol.tojson() == symbol.tojson() and found.notes == []


def test_changes_are_noted():
    arg = parameters().keys()
    assert "ends in FullyConnected" in adapt(logits(), arg, SHAPE, "x").notes[0]
    assert "'photo'" in adapt(sym.softmax(logits("photo")), arg, SHAPE, "x").notes[0]


def test_a_symbol_of_an_early_mxnet():
    # As MXNet 0.5 wrote them: "param" and "attr" instead of "attrs".
    text = json.loads(NETWORKS["SoftmaxOutput"]().tojson())
    for node in text["nodes"]:
        node["param"] = node.pop("attrs", {})
        node["backward_source_id"] = -1
    text["attrs"] = {"mxnet_version": ["int", 500]}
    symbol = sym.load_json(json.dumps({k: text[k] for k in ("nodes", "arg_nodes", "heads")}))
    assert adapt(symbol, parameters().keys(), SHAPE, "x").classes == CLASSES


REFUSED = {
    "two softmaxes": (lambda: sym.Group([sym.softmax(logits())] * 2), "has 2 outputs"),
    "two features": (lambda: sym.Group([features(), logits()]), "none of them"),
    "sigmoid": (lambda: sym.sigmoid(logits()), "ends in sigmoid"),
    "regression": (lambda: sym.LinearRegressionOutput(logits()), "ends in LinearRegression"),
    "segmentation": (
        lambda: sym.SoftmaxOutput(
            sym.Convolution(sym.Variable("data"), kernel=(3, 3), num_filter=4, name="conv"),
            multi_output=True,
        ),
        "(1, 4, 6, 6) for one image of --image-shape 3,8,8",
    ),
    "one class": (
        lambda: sym.FullyConnected(features(), num_hidden=1, name="fc"), "(1, 1) for one image",
    ),
    "a second input": (
        lambda: sym.broadcast_add(logits(), sym.Variable("offset")), "needs offset ",
    ),
    "two unknown inputs": (
        lambda: sym.broadcast_add(logits("a"), sym.Variable("b")), "(a, b)",
    ),
    "pooling beyond the image": (
        lambda: sym.softmax(sym.Flatten(
            sym.Pooling(sym.Variable("data"), kernel=(9, 9), pool_type="avg"))),
        "--image-shape 3,8,8",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_networks_that_are_not_image_classifiers(name):
    make, reason = REFUSED[name]
    with pytest.raises(InputError) as error:
        adapt(make(), parameters().keys(), SHAPE, "x-symbol.json")
    assert str(error.value).startswith("x-symbol.json: ") and reason in str(error.value)
    assert "\n" not in str(error.value)
