import json

import numpy as np
import pytest
from helpers.tiny_engine import (
    BATCH,
    CLASSES,
    MEAN,
    SIDE,
    STD,
    assert_same,
    batches,
    engine_of,
    everything,
    train,
)

from imagenet_trainer import symbols
from imagenet_trainer.engines import Devices, Optimizer, Training
from imagenet_trainer.engines.factory import open_engine
from imagenet_trainer.engines.mxnet import engine as mxnet_engine
from imagenet_trainer.engines.mxnet import fused_relu
from imagenet_trainer.engines.mxnet.arrays import to_symbol
from imagenet_trainer.engines.mxnet.fused_relu import with_fused_relu
from imagenet_trainer.engines.symbol import parameter_shapes
from imagenet_trainer.graph import sym
from imagenet_trainer.system.mxnet_import import mx
from imagenet_trainer.train.initializers import initial_parameters

X = sym.Convolution(sym.Variable("data"), kernel=(3, 3), num_filter=16, name="conv")
RESNET = symbols.get_symbol("resnet", CLASSES, (3, SIDE, SIDE), 8)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(fused_relu, "_LEAST", 0)


def norm(x, **options):
    return sym.BatchNorm(x, fix_gamma=False, name="norm", **options)


def relu(x):
    return sym.Activation(x, act_type="relu", name="relu")


NORM = norm(X)


def operators(symbol):
    return {node["name"]: node["op"] for node in json.loads(symbol.tojson())["nodes"]}


def is_fused(output):
    symbol = with_fused_relu(to_symbol(output), {"data": (2, 4, 8, 8)})
    assert symbol.list_outputs() == output.list_outputs()
    assert symbol.list_arguments() == output.list_arguments()
    found = operators(symbol)
    return found["norm"] == "_contrib_BatchNormWithReLU" and found["relu"] == "_copy"


def test_what_is_fused():
    assert is_fused(relu(norm(X)))
    depthwise = sym.Convolution(X, kernel=(3, 3), num_filter=16, num_group=16, name="depthwise")
    assert is_fused(relu(norm(depthwise)))
    assert is_fused(relu(sym.BatchNorm(X, name="norm")))  # no attributes


@pytest.mark.parametrize(
    "output",
    [
        pytest.param(relu(NORM) + NORM, id="two readers"),
        pytest.param(sym.Group([relu(NORM), NORM]), id="an output"),
        pytest.param(sym.Activation(norm(X), act_type="tanh", name="relu"), id="tanh"),
        pytest.param(relu(norm(X, use_global_stats=True)), id="moving statistics"),
        pytest.param(relu(norm(X, axis=3)), id="axis 3"),
        pytest.param(relu(norm(sym.FullyConnected(X, num_hidden=16, name="fc"))), id="2-D"),
        pytest.param(
            relu(norm(sym.Convolution(X, kernel=(1, 1), num_filter=24, name="more"))),
            id="24 channels",
        ),
        pytest.param(
            relu(norm(sym.Convolution(X, kernel=(1, 1), num_filter=32, num_group=2, name="two"))),
            id="groups",
        ),
        pytest.param(
            sym.Pooling(relu(NORM), kernel=(1, 1), global_pool=True, pool_type="avg", name="pool"),
            id="pooled",
        ),
    ],
)
def test_what_stays(output):
    assert not is_fused(output)


def trained(monkeypatch, choice, sides=(SIDE,), **options):
    """Everything of a training on images of these sizes, and how many operators were fused."""
    with monkeypatch.context() as patched:
        patched.setattr(mxnet_engine, "fused_relu", choice)
        engine = engine_of(RESNET, **options)
        fused = []
        for side in sides:
            for images, labels in batches(3):
                engine.train_batch(np.resize(images, (BATCH, side, side, 3)), labels, 0.01)
            fused.append(engine._bound.symbol.tojson().count("BatchNormWithReLU"))
            seen = engine.predict(batches(1)[0][0][:, :side, :side])
        return {**everything(engine), "seen": seen}, fused


@pytest.mark.parametrize("options", [{}, {"accumulate": 2, "cpus": 2}], ids=str)
def test_training_and_prediction_have_the_bits_of_separate_operators(monkeypatch, options):
    ours, fused = trained(monkeypatch, fused_relu.fused_relu, **options)
    theirs, separate = trained(monkeypatch, lambda *given: None, **options)
    assert fused[0] > 0 and separate == [0]
    assert_same(ours, theirs)


@pytest.mark.parametrize("cpus", [1, 2])
def test_the_choice_may_change_with_the_size_of_images(monkeypatch, cpus):
    def choice(*given):
        chosen = fused_relu.fused_relu(*given)
        symbol_for = chosen.symbol_for

        def small_only(inputs, devices):
            large = inputs[0].shape[1] > SIDE
            return chosen._symbol if large else symbol_for(inputs, devices)

        chosen.symbol_for = small_only
        return chosen

    sides = (SIDE, SIDE + 4, SIDE)
    ours, fused = trained(monkeypatch, choice, sides, cpus=cpus)
    theirs, _ = trained(monkeypatch, lambda *given: None, sides, cpus=cpus)
    assert fused[0] == fused[2] > 0 and fused[1] == 0
    assert_same(ours, theirs)


@pytest.mark.parametrize("fault", ["an error", "other bits"])
def test_separate_operators_are_used_where_the_fused_ones_fail(monkeypatch, fault):
    fuse, with_fault = with_fused_relu, []

    def faulty(symbol, shapes):
        graph = json.loads(fuse(symbol, shapes).tojson())
        for node in graph["nodes"]:
            if node["op"] == "_contrib_BatchNormWithReLU":
                change = {"axis": "2"} if fault == "an error" else {"eps": "0.01"}
                node["attrs"].update(change)
                with_fault.append(node["name"])
        return mx.sym.load_json(json.dumps(graph))

    expected = everything(train(engine_of(RESNET), batches(2)))
    monkeypatch.setattr(fused_relu, "with_fused_relu", faulty)
    engine = engine_of(RESNET)
    assert with_fault and "WithReLU" not in engine._bound.symbol.tojson()
    assert_same(everything(train(engine, batches(2))), expected)


def test_a_network_for_whose_layouts_onednn_has_no_fused_operators(monkeypatch):
    """MobileNet 0.75 on CPUs with AVX-512; on others it may have them."""
    monkeypatch.setattr(fused_relu, "_is_blocked", lambda shape: len(shape) == 4)
    shape = (3, 32, 32)
    network = symbols.get_symbol("mobilenet0.75", CLASSES, shape)
    parameters = initial_parameters(
        *parameter_shapes(network, shape), symbols.find("mobilenet").initializer, 0
    )
    random = np.random.RandomState(0)
    images = random.randint(0, 256, (4, 32, 32, 3)).astype(np.uint8)

    def trained_with(choice):
        monkeypatch.setattr(mxnet_engine, "fused_relu", choice)
        engine = open_engine(
            network, Devices(engine="mxnet"), images.shape, MEAN, STD,
            Training(Optimizer("sgd", 0.9, 1e-4)),
        )  # fmt: skip
        engine.set_params(*parameters)
        engine.train_batch(images, np.arange(4), 0.01)
        return everything(engine)

    assert_same(trained_with(fused_relu.fused_relu), trained_with(lambda *given: None))


def test_small_batches_are_not_tried(monkeypatch):
    pixels = BATCH * SIDE * SIDE
    for least, is_fused in ((pixels, True), (pixels + 1, False)):
        monkeypatch.setattr(fused_relu, "_LEAST", least)
        assert ("BatchNormWithReLU" in engine_of(RESNET)._bound.symbol.tojson()) == is_fused
