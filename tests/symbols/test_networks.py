"""Tests for all networks of the registry, each at its smallest image size.

The normal run covers the cheapest network of every family where training is involved; `-m slow`
covers all of them.
"""

import json
import math
import re

import numpy as np
import pytest
from conftest import HAS_MXNET, needs_mxnet
from helpers.networks import (
    CHEAPEST,
    SMALLEST,
    all_names,
    classes_of,
    first_parameters,
    smallest,
    smallest_shape,
)

from imagenet_trainer import symbols
from imagenet_trainer.engines import Devices, Optimizer, Training
from imagenet_trainer.engines.factory import open_engine
from imagenet_trainer.engines.mxnet.arrays import to_symbol
from imagenet_trainer.engines.symbol import parameter_shapes
from imagenet_trainer.errors import InputError
from imagenet_trainer.graph import sym
from imagenet_trainer.system.machine import has_bfloat16
from imagenet_trainer.system.mxnet_import import mx
from imagenet_trainer.train.initializers import initial_parameters

BATCH = 4
# Families with a smallest image size.
LIMITED = (
    "densenet",
    "inception_bn",
    "inception_v3",
    "inception_resnet_v2",
    "googlenet",
    "vgg",
    "convnext",
)
IN_BFLOAT16 = (
    "resnet-20",
    "resnet-v1-18",
    "googlenet",
    "mobilenetv2-0.25",
    "squeezenet1.1",
    "one-stage-cnn",
    "cifar-cnn",
)
# Parameters that the following BatchNorm cancels: their gradient is rounding error only.
REDUNDANT = {
    "inception-bn": r"conv_.*_bias",
    "vgg-bn": r"conv\d_\d_bias",
    "resnet-v1-": r".*_conv[13]_bias",
    "mobilenetv2": r".*_project_bn_beta",
    "mobilenetv3": r".*_project_bn_beta",
    "efficientnet": r".*_project_bn_beta",
    "inception-resnet-v2": r"block8_10_up_bias",
}
# Learned parameters at 1,000 classes, with the source of each number.
LEARNED = {
    "resnet-18": 11_691_950,  # MXNet's published checkpoints, as the next six
    "resnet-34": 21_800_110,
    "resnet-50": 25_549_486,
    "resnet-101": 44_541_614,
    "resnet-152": 60_185_262,
    "resnet-200": 64_666_286,
    "resnet-269": 102_065_838,
    "resnet-v1b-18": 11_689_512,  # torchvision, as all v1b
    "resnet-v1b-34": 21_797_672,
    "resnet-v1b-50": 25_557_032,
    "resnet-v1b-101": 44_549_160,
    "resnet-v1b-152": 60_192_808,
    "resnet-v1d-18": 11_708_744,  # timm, as all v1d and SE
    "resnet-v1d-34": 21_816_904,
    "resnet-v1d-50": 25_576_264,
    "resnet-v1d-101": 44_568_392,
    "resnet-v1d-152": 60_212_040,
    "seresnet-18": 11_779_624,
    "seresnet-34": 21_960_416,
    "seresnet-50": 28_088_024,
    "seresnet-101": 49_326_872,
    "seresnet-152": 66_821_848,
    "resnext-50": 25_028_904 + 6,  # torchvision, and bn_data's, as the next
    "resnext-64x4d-101": 83_455_272 + 6,
    "densenet-161": 28_681_000,  # torchvision
    "inception-resnet-v2": 55_843_464,  # timm
    "googlenet": 6_624_904,  # torchvision, without its auxiliary classifiers
    "mobilenetv3-large": 5_483_032,  # torchvision, as the next six
    "mobilenetv3-small": 2_542_856,
    "efficientnet-b0": 5_288_548,
    "efficientnet-b1": 7_794_184,
    "efficientnet-b2": 9_109_994,
    "efficientnet-b3": 12_233_232,
    "efficientnet-b4": 19_341_616,
    "efficientnet-lite0": 4_652_008,  # timm, as all Lite
    "efficientnet-lite1": 5_416_680,
    "efficientnet-lite2": 6_092_072,
    "efficientnet-lite3": 8_197_096,
    "efficientnet-lite4": 13_006_568,
    "regnet-x-400mf": 5_495_976,  # torchvision, as all RegNets
    "regnet-x-800mf": 7_259_656,
    "regnet-x-1.6gf": 9_190_136,
    "regnet-x-3.2gf": 15_296_552,
    "regnet-x-8gf": 39_572_648,
    "regnet-x-16gf": 54_278_536,
    "regnet-x-32gf": 107_811_560,
    "regnet-y-400mf": 4_344_144,
    "regnet-y-800mf": 6_432_512,
    "regnet-y-1.6gf": 11_202_430,
    "regnet-y-3.2gf": 19_436_338,
    "regnet-y-8gf": 39_381_472,
    "regnet-y-16gf": 83_590_140,
    "regnet-y-32gf": 145_046_770,
    "convnext-tiny": 28_589_128,  # torchvision, as the next two
    "convnext-small": 50_223_688,
    "convnext-base": 88_591_464,
    "vit-small": 22_050_664,  # timm
    "squeezenet1.0": 1_248_424,  # torchvision, as the next ten
    "squeezenet1.1": 1_235_496,
    "vgg-11": 132_863_336,
    "vgg-13": 133_047_848,
    "vgg-16": 138_357_544,
    "vgg-19": 143_667_240,
    "vgg-bn-11": 132_868_840,
    "vgg-bn-13": 133_053_736,
    "vgg-bn-16": 138_365_992,
    "vgg-bn-19": 143_678_248,
    "alexnet": 61_100_840,
    # Two classes, two, and ten: "about two million".
    "one-stage-cnn": 4_195_457,
    "six-stage-cnn": 6_305_401,
    "cifar-cnn": 2_261_834,
    "fast-cnn": 1_130_176,  # with 864 gammas that stay 1
}
# Parameters and statistics: GluonCV.
WITH_STATISTICS = {
    "resnet-v1-50": 25_629_032,
    "densenet-121": 8_062_504,
    "densenet-169": 14_307_880,
    "densenet-201": 20_242_984,
    "inception-v3": 23_869_000,
    "inception-7": 23_869_000,
    "mobilenet": 4_253_864,
    "mobilenetv2": 3_539_136,
}


def networks(normal):
    """Every network, those that are not in `normal` marked slow."""
    slow = pytest.mark.slow
    names = [name if name in normal else pytest.param(name, marks=slow) for name in all_names()]
    return pytest.mark.parametrize("name", names)


every_network = networks(all_names())


def engine_of(name, dtype="float32"):
    symbol, shape = smallest(name), smallest_shape(name)
    engine = open_engine(
        symbol, Devices(dtype=dtype), (BATCH, *shape[1:], 3), (123.7, 116.8, 103.9), (58, 57, 57),
        Training(Optimizer("sgd", 0.9, 0.0)),
    )  # fmt: skip
    engine.set_params(*first_parameters(*parameter_shapes(symbol, shape)))
    return engine


def batch_of(name):
    random = np.random.default_rng(1)
    images = random.integers(0, 256, (BATCH, *smallest_shape(name)[1:], 3)).astype(np.uint8)
    return images, np.arange(BATCH) % classes_of(name)


def loss_of(engine):
    return engine.read_counts()[3] / BATCH


# tests/graph/test_networks.py compares the JSON with MXNet's, byte for byte.
@pytest.mark.slow
@every_network
def test_output_and_json(name):
    classes, shape = classes_of(name), smallest_shape(name)
    symbol = symbols.get_symbol(name, classes, shape)
    _, out, _ = symbol.infer_shape(data=(3, *shape))
    assert symbol.list_outputs() == ["softmax_output"] and out == [(3, classes)]
    assert {"data", "softmax_label"} <= set(symbol.list_arguments())
    for library in [sym, mx.sym] if HAS_MXNET else [sym]:
        again = library.load_json(symbol.tojson())
        assert again.list_arguments() == symbol.list_arguments()
        assert again.list_auxiliary_states() == symbol.list_auxiliary_states()
        assert again.tojson() == symbol.tojson()
    # The text does not depend on what was built before: runs compare it.
    assert symbols.get_symbol(name, classes, shape).tojson() == symbol.tojson()


# The first takes as long as all others together; smaller networks of the same blocks stand for the
# others.
@networks(
    set(CHEAPEST)
    - {"inception-resnet-v2", "inception-v3", "resnet-v1b-18", "resnet-v1d-18", "seresnet-18"}
    - {"resnext-50", "efficientnet-b0", "resnet-18", "densenet-121", "regnet-y-400mf"}
    - {"inception-bn", "googlenet", "vgg-bn-11", "alexnet", "six-stage-cnn"}
)
def test_gradient_reaches_every_parameter_and_an_update_lowers_the_loss(name):
    engine, batch = engine_of(name), batch_of(name)
    # A tiny rate leaves the parameters unchanged, and the momentum is the gradient.
    engine.train_batch(*batch, 1e-12)
    before, state = loss_of(engine), engine.get_state()
    gradients = {
        key.split(":")[1]: value / np.float32(-1e-12)
        for key, value in state.items()
        if key.startswith("momentum:")
    }
    nodes = json.loads(smallest(name).tojson())["nodes"]
    fixed = {
        f"{node['name']}_gamma"
        for node in nodes
        if node["op"] == "BatchNorm" and node["attrs"]["fix_gamma"] == "True"
    }
    redundant = next((rule for start, rule in REDUNDANT.items() if name.startswith(start)), "$^")
    for parameter, gradient in gradients.items():
        assert np.isfinite(gradient).all(), parameter
        if not re.fullmatch(redundant, parameter):
            # The gamma of a fixed scale must not change; all others learn.
            assert gradient.any() == (parameter not in fixed), parameter
    # One gradient step that should lower the loss by this part; a shorter one where a BatchNorm
    # over few pixels makes the loss too curved for it.
    squares = sum(float(np.vdot(gradient, gradient)) for gradient in gradients.values())
    for part in (1e-2, 1e-3):
        if part < 1e-2:
            engine.set_params(
                *first_parameters(*parameter_shapes(smallest(name), smallest_shape(name)))
            )
        engine.set_state({"updates": np.array(0)})
        engine.train_batch(*batch, part * before / squares)
        loss_of(engine)
        engine.train_batch(*batch, 1e-12)
        lowered = 1 - loss_of(engine) / before
        if lowered > 0.3 * part:
            return
    raise AssertionError(f"the loss went from {before} to {loss_of(engine)}")


@networks(set(IN_BFLOAT16) - {"cifar-cnn", "googlenet"})
@pytest.mark.skipif(not has_bfloat16(), reason="this CPU has no bfloat16")
def test_bfloat16(name):
    images, labels = batch_of(name)
    losses = []
    for dtype in ("float32", "bfloat16"):
        engine = engine_of(name, dtype)
        engine.train_batch(images, labels, 1e-12)
        losses.append(loss_of(engine))
        assert all(value.dtype == np.float32 for value in engine.get_params()[0].values())
    # A hundred BatchNorms over 16 values each amplify rounding: 36 % in ResNet-101, measured.
    near = 0.3 if name in IN_BFLOAT16 else 0.5
    assert losses[0] != losses[1] and losses[1] == pytest.approx(losses[0], rel=near)


@networks(CHEAPEST)
def test_the_initializer_knows_every_parameter(name):
    shapes = parameter_shapes(smallest(name), smallest_shape(name))
    # Rules depend on names and on the number of dimensions only; small arrays are quick.
    small = [{key: tuple(min(n, 2) for n in s) for key, s in part.items()} for part in shapes]
    how = symbols.find(name).initializer
    arg, aux = initial_parameters(*small, how, 0)
    assert (arg.keys(), aux.keys()) == (small[0].keys(), small[1].keys())
    assert all(value.any() for key, value in arg.items() if key.endswith("weight"))
    assert how.get("except", {}).keys() <= arg.keys()


def counts_of(name, classes=1000):
    """Learned parameters, and statistics, at the size that the network was published for."""
    shape = symbols.find(name).image_shape
    shapes = parameter_shapes(symbols.get_symbol(name, classes, shape), shape)
    return tuple(sum(map(math.prod, part.values())) for part in shapes)


@pytest.mark.parametrize("name", LEARNED)
def test_learned_parameters(name):
    own = {"one-stage-cnn": 2, "six-stage-cnn": 2, "cifar-cnn": 10, "fast-cnn": 10}
    assert counts_of(name, own.get(name, 1000))[0] == LEARNED[name]


@pytest.mark.parametrize("name", WITH_STATISTICS)
def test_all_parameters(name):
    assert sum(counts_of(name)) == WITH_STATISTICS[name]


def test_inception_bn_has_the_parameters_of_the_papers_table():
    """The sum of figure 5 of the paper; Cadene's and the Caffe original have as many."""
    layers = [(3, 64, 7), (64, 64, 1), (64, 192, 3)]  # input, output, kernel
    width = 192
    for direct, three, double, pooled in (
        (64, (64, 64), (64, 96), 32), (64, (64, 96), (64, 96), 64), (0, (128, 160), (64, 96), 0),
        (224, (64, 96), (96, 128), 128), (192, (96, 128), (96, 128), 128),
        (160, (128, 160), (128, 160), 128), (96, (128, 192), (160, 192), 128),
        (0, (128, 192), (192, 256), 0), (352, (192, 320), (160, 224), 128),
        (352, (192, 320), (192, 224), 128),
    ):  # fmt: skip
        layers += [(width, three[0], 1), (three[0], three[1], 3)]
        layers += [(width, double[0], 1), (double[0], double[1], 3), (double[1], double[1], 3)]
        layers += [(width, direct, 1), (width, pooled, 1)] if direct else []
        width = direct + three[1] + double[1] + (pooled or width)
    learned = sum(before * n * kernel**2 + 3 * n for before, n, kernel in layers) + 1025 * 1000
    assert counts_of("inception-bn") == (learned, sum(2 * n for _, n, _ in layers))


def test_every_family_is_covered():
    families = {symbols.find(name).family for name in all_names()}
    counted = {symbols.find(name).family for name in (*LEARNED, *WITH_STATISTICS, "inception-bn")}
    assert families == SMALLEST.keys() == counted
    assert families == {symbols.find(name).family for name in CHEAPEST}
    assert set(CHEAPEST) <= set(all_names())


@pytest.mark.parametrize("name", CHEAPEST)
def test_unknown_activations_are_refused(name):
    with pytest.raises(InputError, match=r"^activation gelu: "):
        symbols.get_symbol(name, 10, activation="gelu")


@pytest.mark.parametrize("name", [n for n in CHEAPEST if symbols.find(n).family in LIMITED])
def test_images_that_are_too_small_are_refused(name):
    _, height, width = smallest_shape(name)
    for shape in ((3, height - 1, width), (3, height, width - 1)):
        with pytest.raises(InputError) as refused:
            symbols.get_symbol(name, 10, shape)
        assert f"{height} x {height} pixels" in str(refused.value)


@needs_mxnet
def test_one_logit_is_the_sigmoid_with_its_loss_and_gradient():
    symbol = to_symbol(symbols.get_symbol("one-stage-cnn", 2, (3, 8, 8)))
    logit = symbol.get_internals()["fc2_output"]
    both = mx.sym.Group([symbol, mx.sym.BlockGrad(logit)])
    executor = both.simple_bind(mx.cpu(), data=(6, 3, 8, 8), grad_req="write")
    shapes = {name: array.shape for name, array in executor.arg_dict.items()}
    values, _ = first_parameters(shapes, {})
    values["data"] = np.random.default_rng(2).uniform(-1, 1, shapes["data"]).astype(np.float32)
    values["softmax_label"] = labels = np.array([0, 1, 1, 0, 1, 0], np.float32)
    for name, value in values.items():
        executor.arg_dict[name][:] = value
    mx.random.seed(0)
    probabilities, z = (output.asnumpy() for output in executor.forward(is_train=True))
    executor.backward()
    sigmoid = 1 / (1 + np.exp(-z[:, 0].astype(np.float64)))
    np.testing.assert_allclose(probabilities, np.stack([1 - sigmoid, sigmoid], 1), atol=1e-6)
    # d/dz of the binary cross-entropy is sigmoid(z) - y; the bias sums it over the batch.
    found = executor.grad_dict["fc2_bias"].asnumpy()
    np.testing.assert_allclose(found, [(sigmoid - labels).sum()], atol=1e-5)
    assert symbols.get_symbol("one-stage-cnn", 5, (3, 8, 8)).infer_shape(data=(1, 3, 8, 8))[1] == [
        (1, 5)
    ]


def test_the_cifar_network_bounds_its_first_dense_layer():
    symbol = symbols.get_symbol("cifar-cnn", 10, (3, 32, 32))
    attributes = symbol.attr_dict()
    assert {name for name in attributes if "__max_norm__" in attributes[name]} == {"fc1_weight"}
    engine = engine_of("cifar-cnn")
    images, labels = batch_of("cifar-cnn")
    for _ in range(3):
        engine.train_batch(images, labels, 1.0)  # a far too large rate
    weight = engine.get_params()[0]["fc1_weight"]
    assert np.linalg.norm(weight, axis=1).max() == pytest.approx(3, abs=1e-3)
