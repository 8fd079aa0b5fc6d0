"""Options of networks: graphs with a blur in front of strides, and with branches that drop out."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import ENGINES, needs_mxnet

from imagenet_trainer import symbols
from imagenet_trainer.config import FitSettings
from imagenet_trainer.engines import Devices, Optimizer, Training
from imagenet_trainer.engines.factory import open_engine
from imagenet_trainer.engines.symbol import parameter_shapes
from imagenet_trainer.errors import InputError
from imagenet_trainer.graph import sym
from imagenet_trainer.symbols import vit
from imagenet_trainer.train.architecture import (
    refuse_options,
    with_blur_pool,
    with_options,
    with_stochastic_depth,
)

torch = pytest.importorskip("torch")

SHAPE = (3, 16, 18)


def strided():
    x = sym.Convolution(sym.Variable("data"), kernel=(3, 3), pad=(1, 1), stride=(2, 2),
                        num_filter=16, name="first")  # fmt: skip
    x = sym.Convolution(x, kernel=(3, 3), pad=(1, 1), stride=(2, 2), num_filter=4, name="second")
    x = sym.FullyConnected(sym.Flatten(x), num_hidden=5, name="fc")
    return sym.SoftmaxOutput(x, name="softmax")


def blurred_by_pytorch(x):
    """FFCV's filter: a fixed depthwise convolution with zeros around the image."""
    filter_ = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16
    weight = filter_.expand(x.shape[1], 1, 3, 3)
    return torch.nn.functional.conv2d(x, weight, padding=1, groups=x.shape[1])


@pytest.mark.parametrize("engine", ENGINES)
def test_the_blur_is_ffcvs(engine):
    symbol = with_blur_pool(strided(), SHAPE)
    assert symbol.list_arguments() == strided().list_arguments()
    random = np.random.RandomState(0)
    arg = {
        name: random.randn(*shape).astype(np.float32) * 0.1
        for name, shape in parameter_shapes(symbol, SHAPE)[0].items()
    }
    opened = open_engine(symbol, Devices(engine=engine), (2, *SHAPE[1:], 3), (0, 0, 0), (1, 1, 1))
    opened.set_params(arg, {})
    images = random.randint(0, 256, (2, *SHAPE[1:], 3)).astype(np.uint8)
    t = {name: torch.tensor(value) for name, value in arg.items()}
    convolve = torch.nn.functional.conv2d
    x = torch.tensor(images).permute(0, 3, 1, 2).float()
    x = convolve(x, t["first_weight"], t["first_bias"], 2, 1)  # three channels: no blur
    x = convolve(blurred_by_pytorch(x), t["second_weight"], t["second_bias"], 2, 1)
    wanted = torch.nn.functional.linear(x.flatten(1), t["fc_weight"], t["fc_bias"]).softmax(1)
    np.testing.assert_allclose(opened.predict(images), wanted, atol=1e-5)


def test_the_average_poolings_of_densenet_become_the_blur():
    symbol = symbols.get_symbol("densenet121", 10, (3, 64, 64))
    shape = {"image_shape": (3, 64, 64)}
    changed = with_options(FitSettings(blur_pool=True, **shape), symbol, "densenet121")
    assert len(changed.nodes) == len(symbol.nodes) + 3  # one in each transition
    assert parameter_shapes(changed, (3, 64, 64)) == parameter_shapes(symbol, (3, 64, 64))
    x = sym.Convolution(sym.Variable("data"), kernel=(1, 1), num_filter=3, name="same")
    x = sym.Pooling(x, kernel=(2, 2), stride=(2, 2), pool_type="avg")
    changed = with_blur_pool(sym.SoftmaxOutput(sym.Flatten(x), name="softmax"), (3, 8, 10))
    opened = open_engine(changed, Devices(engine="torch"), (2, 8, 10, 3), (0, 0, 0), (1, 1, 1))
    same = np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1)
    opened.set_params({"same_weight": same, "same_bias": np.zeros(3, np.float32)}, {})
    images = np.random.RandomState(0).randint(0, 9, (2, 8, 10, 3)).astype(np.uint8)
    wanted = blurred_by_pytorch(torch.tensor(images).permute(0, 3, 1, 2).float())[:, :, ::2, ::2]
    wanted = wanted.flatten(1).softmax(1).numpy()
    np.testing.assert_allclose(opened.predict(images), wanted, atol=1e-6)


def nodes_of(symbol, op):
    return [node for node in symbol.nodes if node.op == op]


@pytest.mark.parametrize(("network", "branches", "strides"), [
    ("resnet18", 8, 6), ("resnet-v1b-50", 16, 6), ("mobilenetv2", 10, 4),
    ("mobilenetv3-large", 10, 4), ("efficientnet-b0", 9, 4), ("seresnet-18", 8, 6),
    ("regnet-y-400mf", 16, 8), ("convnext-tiny", 18, 3),
])  # fmt: skip
def test_options_of_families(network, branches, strides):
    symbol = symbols.get_symbol(network, 10, (3, 64, 64))
    settings = FitSettings(blur_pool=True, stochastic_depth=0.4, image_shape=(3, 64, 64))
    changed = with_options(settings, symbol, network)
    own = {node.name for node in nodes_of(symbol, "Dropout")}
    drops = [node for node in nodes_of(changed, "Dropout") if node.name not in own]
    shares = [node.values["p"] for node in drops]
    assert shares == pytest.approx([0.4 * k / branches for k in range(1, branches + 1)], abs=1e-5)
    assert {tuple(node.values["axes"]) for node in drops} == {(1, 2, 3)}
    blurs = len(nodes_of(changed, "Pooling")) - len(nodes_of(symbol, "Pooling"))
    assert blurs == 2 * strides
    assert parameter_shapes(changed, (3, 64, 64)) == parameter_shapes(symbol, (3, 64, 64))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_transformer_drops_the_branches_of_whole_images(engine, monkeypatch):
    monkeypatch.setattr(vit, "BLOCKS", 2)
    shape = (3, 16, 16)
    symbol = symbols.get_symbol("vit-small", 3, shape)
    changed = with_stochastic_depth(symbol, 0.999)
    drops = nodes_of(changed, "Dropout")
    assert len(drops) == 4 and {tuple(node.values["axes"]) for node in drops} == {(1, 2)}
    assert {node.inputs[0].node.name.rpartition("_")[2] for node in drops} == {"proj", "fc2"}
    random = np.random.RandomState(0)
    arg = {
        name: (random.randn(*size) * 0.05).astype(np.float32)
        for name, size in parameter_shapes(symbol, shape)[0].items()
    }
    how = Training(Optimizer("sgd", 0.0, 0.0))
    opened = open_engine(
        changed, Devices(engine=engine), (2, 16, 16, 3), (0, 0, 0), (255, 255, 255), how
    )
    opened.set_params(arg, {})
    opened.train_batch(np.zeros((2, 16, 16, 3), np.uint8), np.arange(2), 1e-12)
    assert np.isfinite(opened.read_counts()[3])


def test_the_branch_is_dropped_and_not_the_shortcut():
    symbol = with_stochastic_depth(symbols.get_symbol("resnet18", 10, (3, 64, 64)), 0.5)
    for node in nodes_of(symbol, "elemwise_add"):
        (drop,) = [entry.node for entry in node.inputs if entry.node.op == "Dropout"]
        assert drop.inputs[0].node.name.endswith("_conv2")


@needs_mxnet
def test_mxnet_drops_whole_images():
    from imagenet_trainer.system.mxnet_import import mx

    with mx.autograd.train_mode():
        dropped = mx.nd.Dropout(mx.nd.ones((4000, 2, 3, 4)), p=0.25, axes=(1, 2, 3)).asnumpy()
    rows = dropped.reshape(4000, -1)
    assert (rows == rows[:, :1]).all()
    assert set(np.unique(rows)) == {0, np.float32(4 / 3)} and abs(rows.mean() - 1) < 0.03


@pytest.mark.parametrize(("options", "network", "expected"), [
    ({"blur_pool": True}, "alexnet", "--blur-pool: alexnet has no strided"),
    ({"stochastic_depth": 0.1}, "vgg11", "--stochastic-depth: vgg11 has no residual"),
])  # fmt: skip
def test_networks_without_such_layers_are_refused(options, network, expected):
    settings = replace(FitSettings(), **options)
    symbol = symbols.get_symbol(network, 10, (3, 224, 224))
    with pytest.raises(InputError, match=expected):
        with_options(settings, symbol, network)
    with pytest.raises(InputError, match=r"--(blur-pool 1|stochastic-depth 0.1): .*--pretrained"):
        refuse_options(settings, "--pretrained")
    refuse_options(FitSettings(), "--pretrained")
