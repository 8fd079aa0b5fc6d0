"""Our networks compute the same as Gluon's and GluonCV's with the same parameters.

Parameters are copied in order; suffixes of names and shapes must agree, or the test fails. Images
are as small as the layers allow. `-m slow` compares the larger networks: a change of their graphs
fails in tests/graph/test_networks.py, too.
"""

import functools
import math

import numpy as np
import pytest
from helpers.gluoncv_networks import gluoncv  # noqa: F401

from imagenet_trainer import symbols
from imagenet_trainer.engines.mxnet.arrays import to_symbol
from imagenet_trainer.engines.symbol import parameter_shapes
from imagenet_trainer.system.mxnet_import import mx

nn = mx.gluon.nn
gluon = mx.gluon.model_zoo.vision
CLASSES = 11


def random_parameters(symbol, image_shape):
    """Parameters that give every layer an effect and keep deep networks finite."""
    random = np.random.default_rng(0)
    weights = random.standard_normal(1_000_003, np.float32)  # repeated, to be quick

    def value_of(name, shape):
        if name.endswith("weight"):
            return np.resize(weights, shape) * np.float32(math.sqrt(2 / math.prod(shape[1:])))
        low, high = (0.8, 1.2) if name.endswith(("gamma", "moving_var")) else (-0.2, 0.2)
        return random.uniform(low, high, shape).astype(np.float32)

    return [
        {name: value_of(name, shape) for name, shape in part.items()}
        for part in parameter_shapes(symbol, image_shape)
    ]


def copy_into(net, arg, aux):
    """Fill a Gluon network with our parameters, in order; suffixes and shapes must agree."""
    arg, aux = list(arg.items()), list(aux.items())
    for name, parameter in net.collect_params().items():
        end = name.rsplit("_", 1)[1]
        source, value = (aux if "running" in name else arg).pop(0)
        assert source.endswith(end), (source, name)
        assert value.shape == parameter.shape, (source, name)
        parameter.set_data(mx.nd.array(value))
    assert not arg and not aux


def with_global_pooling(block):
    """Replace Gluon's last mean pooling, which fits only 224 or 299 pixels, by a global one."""
    for key, child in block._children.items():
        if isinstance(child, nn.AvgPool2D):
            block._children[key] = nn.GlobalAvgPool2D()


def compare(name, net, image_shape):
    """The same images and parameters give the same logits, to 1e-5 of the largest."""
    symbol = to_symbol(symbols.get_symbol(name, CLASSES, image_shape))
    logits = symbol.get_internals()[
        [output for output in symbol.get_internals().list_outputs() if "softmax" not in output][-1]
    ]
    both = mx.sym.Group([logits, symbol])
    arg, aux = random_parameters(symbol, image_shape)
    executor = both.simple_bind(mx.cpu(), data=(2, *image_shape), grad_req="null")
    executor.copy_params_from(
        *({k: mx.nd.array(v) for k, v in part.items()} for part in (arg, aux))
    )
    images = np.random.default_rng(1).uniform(0, 2, (2, *image_shape)).astype(np.float32)
    data = mx.nd.array(images)
    executor.arg_dict["data"][:] = data
    net.initialize()
    net(data)  # gives the parameters their shapes
    copy_into(net, arg, aux)
    found, probabilities = (output.asnumpy() for output in executor.forward(is_train=False))
    expected = net(data).asnumpy()
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found / scale, expected / scale, atol=1e-5)
    assert np.ptp(found, axis=0).max() > 1e-3 * scale  # the output depends on the image
    np.testing.assert_allclose(
        probabilities, mx.nd.softmax(mx.nd.array(found)).asnumpy(), atol=1e-6
    )


class AlwaysProjecting(gluon.ResNetV2):
    """Gluon's ResNet-v2 with a projection in the first unit of every stage.

    Gluon omits it where the number of channels stays the same (stage 1 without bottlenecks);
    MXNet's published checkpoints, and ours, always have it. The units are Gluon's own.
    """

    def _make_layer(self, block, layers, channels, stride, stage_index, in_channels=0):
        stage = nn.HybridSequential(prefix=f"stage{stage_index}_")
        with stage.name_scope():
            stage.add(block(channels, stride, True, in_channels=in_channels, prefix=""))
            for _ in range(layers - 1):
                stage.add(block(channels, 1, False, in_channels=channels, prefix=""))
        return stage


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    "name, theirs, size",
    [
        ("resnet18-v1", "resnet18_v1", 36),
        slow("resnet34-v1", "resnet34_v1", 36),
        slow("resnet50-v1", "resnet50_v1", 36),
        slow("resnet101-v1", "resnet101_v1", 36),
        slow("resnet152-v1", "resnet152_v1", 36),
        ("mobilenet0.25", "mobilenet0.25", 33),
        slow("mobilenet0.5", "mobilenet0.5", 33),
        slow("mobilenet0.75", "mobilenet0.75", 33),
        slow("mobilenet", "mobilenet1.0", 224),
        ("mobilenetv2-0.25", "mobilenetv2_0.25", 33),
        slow("mobilenetv2-0.5", "mobilenetv2_0.5", 33),
        slow("mobilenetv2-0.75", "mobilenetv2_0.75", 33),
        slow("mobilenetv2", "mobilenetv2_1.0", 224),
        slow("densenet121", "densenet121", 29),
        slow("densenet161", "densenet161", 224),
        slow("densenet169", "densenet169", 29),
        slow("densenet201", "densenet201", 29),
        slow("inception-v3", "inceptionv3", 75),
        slow("inception-v3", "inceptionv3", 299),
        slow("vgg11", "vgg11", 32),
        slow("vgg13", "vgg13", 32),
        slow("vgg16", "vgg16", 32),
        slow("vgg19", "vgg19", 224),
        slow("vgg11-bn", "vgg11_bn", 32),
        slow("vgg13-bn", "vgg13_bn", 32),
        slow("vgg16-bn", "vgg16_bn", 32),
        slow("vgg19-bn", "vgg19_bn", 32),
        slow("alexnet", "alexnet", 63),
        # Gluon's last pooling has a fixed window of 13 x 13, the whole plane at 224 pixels.
        ("squeezenet1.0", "squeezenet1.0", 224),
        ("squeezenet1.1", "squeezenet1.1", 224),
    ],
)
def test_as_gluon(name, theirs, size):
    net = gluon.get_model(theirs, classes=CLASSES)
    if size not in (224, 299):
        with_global_pooling(net.features)
    compare(name, net, (3, size, size + (4 if size < 224 else 0)))


@pytest.mark.parametrize(
    "name, height, block, units, filters",
    [
        slow("resnet18", 64, "BasicBlockV2", [2, 2, 2, 2], [64, 64, 128, 256, 512]),
        slow("resnet50", 64, "BottleneckV2", [3, 4, 6, 3], [64, 256, 512, 1024, 2048]),
        slow("resnet18", 32, "BasicBlockV2", [2, 2, 2, 2], [64, 64, 128, 256, 512]),
        ("resnet20", 28, "BasicBlockV2", [3, 3, 3], [16, 16, 32, 64]),
        slow("resnet164", 8, "BottleneckV2", [18, 18, 18], [16, 64, 128, 256]),
    ],
)
def test_resnet_v2_as_gluon(name, height, block, units, filters, monkeypatch):
    # Gluon's zoo has a fixed eps; everything else is unchanged.
    monkeypatch.setattr(nn, "BatchNorm", functools.partial(nn.BatchNorm, epsilon=2e-5))
    net = AlwaysProjecting(
        getattr(gluon, block), units, filters, classes=CLASSES, thumbnail=height <= 32
    )
    compare(name, net, (3, height, height + 4))


@pytest.mark.parametrize("name, block, units", [
    ("resnet18-v1", "BasicBlockV1", (2, 2, 2, 2)),
    slow("resnet50-v1", "BottleneckV1", (3, 4, 6, 3)),
])  # fmt: skip
def test_small_images_as_gluon(name, block, units):
    channels = [64, 64, 128, 256, 512] if "18" in name else [64, 256, 512, 1024, 2048]
    net = gluon.ResNetV1(getattr(gluon, block), units, channels, classes=CLASSES, thumbnail=True)
    compare(name, net, (3, 32, 28))


@pytest.mark.parametrize(
    "name, theirs, size",
    [
        ("resnet18-v1b", "resnet18_v1b", 36),
        slow("resnet34-v1b", "resnet34_v1b", 36),
        slow("resnet50-v1b", "resnet50_v1b", 36),
        slow("resnet101-v1b", "resnet101_v1b", 36),
        slow("resnet152-v1b", "resnet152_v1b", 36),
        slow("resnet50-v1d", "resnet50_v1d", 41),
        ("googlenet", "googlenet", 33),
        slow("googlenet", "googlenet", 224),
    ],
)
def test_as_gluoncv(gluoncv, name, theirs, size):
    net = gluoncv.model_zoo.get_model(theirs, classes=CLASSES)
    if theirs == "googlenet" and size != 224:
        with_global_pooling(net.head)
    compare(name, net, (3, size, size + (4 if size < 224 else 0)))


@pytest.mark.parametrize(
    "name, theirs",
    [
        ("resnext50", "resnext50_32x4d"),
        slow("resnext101", "resnext101_32x4d"),
        slow("resnext101-64x4d", "resnext101_64x4d"),
    ],
)
def test_resnext_as_gluoncv_after_its_first_batch_norm(gluoncv, name, theirs):
    """Ours begins with `bn_data`, as MXNet's published checkpoints do; prepend one to theirs."""
    net = nn.HybridSequential(prefix="")
    net.add(nn.BatchNorm(scale=False, epsilon=2e-5))
    net.add(gluoncv.model_zoo.get_model(theirs, classes=CLASSES, norm_kwargs={"epsilon": 2e-5}))
    compare(name, net, (3, 36, 40))
