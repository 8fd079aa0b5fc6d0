import importlib
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from imagenet_trainer import symbols
from imagenet_trainer.data.augment import EvalTransform, decode
from imagenet_trainer.engines import Devices, Optimizer, Training
from imagenet_trainer.engines.factory import open_engine
from imagenet_trainer.engines.mxnet.arrays import to_symbol
from imagenet_trainer.engines.symbol import parameter_shapes
from imagenet_trainer.errors import InputError
from imagenet_trainer.symbols.families import FAMILIES
from imagenet_trainer.system.mxnet_import import mx
from imagenet_trainer.train.initializers import initial_parameters

FACTS = json.loads((Path(__file__).parent / "facts" / "resnet_v2_parameters.json").read_text())


def shapes_of(symbol, image_shape, batch=1):
    """Shapes of the learned arguments, of the auxiliary states and of the output."""
    arg, out, aux = symbol.infer_shape(data=(batch, *image_shape))
    shapes = dict(zip(symbol.list_arguments(), arg))
    assert shapes.pop("data") == (batch, *image_shape)
    assert shapes.pop("softmax_label") == (batch,)
    return shapes, dict(zip(symbol.list_auxiliary_states(), aux)), out


def random_parameters(shapes, aux_shapes, seed=0):
    """Parameters that leave no layer without effect, in sizes that keep a deep network finite."""
    random = np.random.default_rng(seed)
    arg, aux = initial_parameters(shapes, aux_shapes, symbols.HE_NORMAL, seed)
    for name, value in {**arg, **aux}.items():
        if name.endswith(("gamma", "moving_var")):
            value[...] = random.uniform(0.5, 1.5, value.shape)
        elif not name.endswith("weight"):
            value[...] = random.uniform(-0.2, 0.2, value.shape)
    return arg, aux


def as_nd(arrays):
    return {name: mx.nd.array(array) for name, array in arrays.items()}


def images(batch, image_shape, seed=1):
    return np.random.default_rng(seed).uniform(0, 2, (batch, *image_shape)).astype(np.float32)


def executor_of(symbol, image_shape, batch=2, grad_req="null"):
    """The bound symbol with random parameters and images, and the parameters."""
    shapes, aux_shapes, _ = shapes_of(symbol, image_shape, batch)
    arg, aux = random_parameters(shapes, aux_shapes)
    executor = symbol.simple_bind(mx.cpu(), data=(batch, *image_shape), grad_req=grad_req)
    executor.copy_params_from(as_nd(arg), as_nd(aux))
    executor.arg_dict["data"][:] = images(batch, image_shape)
    executor.arg_dict["softmax_label"][:] = np.arange(batch)
    return executor, arg, aux


# --- ResNet-v2 and SqueezeNet; what all networks share is in test_networks.py -------------------


@pytest.mark.parametrize("depth", FACTS)
def test_resnet_has_the_parameters_of_the_published_checkpoints(depth):
    facts = FACTS[depth]
    symbol = to_symbol(symbols.get_symbol("resnet", 1000, num_layers=int(depth)))
    shapes, aux_shapes, _ = shapes_of(symbol, (3, 224, 224))
    assert {name: list(shape) for name, shape in shapes.items()} == facts["arguments"]
    assert {name: list(shape) for name, shape in aux_shapes.items()} == facts["auxiliary"]
    assert list(shapes) == list(facts["arguments"])
    learnable = sum(map(math.prod, shapes.values()))
    assert learnable == facts["learnable"]
    assert learnable + sum(map(math.prod, aux_shapes.values())) == facts["with_statistics"]


# The papers' own counts, in millions: 2015, table 6, for 20 to 110 layers, and 2016, table 4, for
# 164 and 1001.
@pytest.mark.parametrize(
    "depth, count, within",
    [
        (20, 0.27e6, 0.01e6), (32, 0.46e6, 0.01e6), (44, 0.66e6, 0.01e6), (56, 0.85e6, 0.01e6),
        (110, 1.7e6, 0.05e6), (164, 1.7e6, 0.05e6), (1001, 10.2e6, 0.2e6),
    ],
)  # fmt: skip
def test_parameter_count(depth, count, within):
    shape = (3, 28, 28)
    shapes, _, _ = shapes_of(symbols.get_symbol(f"resnet{depth}", 10, shape), shape)
    assert abs(sum(map(math.prod, shapes.values())) - count) <= within


# --- single layers --------------------------------------------------------------------------------


def test_batch_norms_have_the_constants_of_the_published_checkpoints():
    nodes = json.loads(symbols.get_symbol("resnet50", 10).tojson())["nodes"]
    norms = {node["name"]: node["attrs"] for node in nodes if node["op"] == "BatchNorm"}
    assert len(norms) == 1 + 1 + 3 * (3 + 4 + 6 + 3) + 1
    for name, constants in norms.items():
        assert float(constants["eps"]) == 2e-5 and float(constants["momentum"]) == 0.9
        assert (constants["fix_gamma"] == "True") == (name == "bn_data")


def test_moving_statistics_follow_the_batch():
    symbol = to_symbol(symbols.get_symbol("resnet8", 10, (3, 28, 28)))
    executor, _, aux = executor_of(symbol, (3, 28, 28), batch=4, grad_req="write")
    executor.forward(is_train=True)
    executor.backward()  # updates the statistics, but reading them does not wait for it
    mx.nd.waitall()
    batch = images(4, (3, 28, 28)).astype(np.float64)
    for end, statistic in (("mean", batch.mean((0, 2, 3))), ("var", batch.var((0, 2, 3)))):
        expected = 0.9 * aux[f"bn_data_moving_{end}"] + 0.1 * statistic
        moved = executor.aux_dict[f"bn_data_moving_{end}"].asnumpy()
        np.testing.assert_allclose(moved, expected, rtol=1e-3)


def test_published_scaling_of_raw_pixels():
    """bn_data ignores its gamma: another one gives the same output."""
    symbol = to_symbol(symbols.get_symbol("resnet8", 10, (3, 28, 28)))
    executor, _, _ = executor_of(symbol, (3, 28, 28))
    before = executor.forward(is_train=False)[0].asnumpy()
    executor.arg_dict["bn_data_gamma"][:] = 7
    np.testing.assert_array_equal(executor.forward(is_train=False)[0].asnumpy(), before)


def test_elu_is_the_papers():
    symbol = to_symbol(symbols.get_symbol("squeezenet1.1", 10, (3, 25, 25), activation="elu"))
    inner = symbol.get_internals()
    ends = mx.sym.Group([inner["conv1_output"], inner["conv1_elu_output"]])
    shapes = dict(zip(ends.list_arguments(), ends.infer_shape(data=(2, 3, 25, 25))[0]))
    values = as_nd({name: np.random.default_rng(0).normal(size=s) for name, s in shapes.items()})
    x, y = (output.asnumpy() for output in ends.bind(mx.cpu(), values).forward())
    assert (x < 0).any()
    np.testing.assert_allclose(y, np.where(x > 0, x, np.expm1(np.minimum(x, 0))), atol=1e-6)


def test_dropout_is_one_half_before_the_last_convolution():
    symbol = to_symbol(symbols.get_symbol("squeezenet1.0", 10, (3, 64, 64)))
    inner = symbol.get_internals()
    ends = mx.sym.Group([inner["fire9_concat_output"], inner["drop9_output"]])
    executor = ends.simple_bind(mx.cpu(), data=(2, 3, 64, 64), grad_req="write")
    for array in executor.arg_dict.values():
        array[:] = 0.01
    mx.random.seed(0)
    before, after = (output.asnumpy() for output in executor.forward(is_train=True))
    assert (before > 0).all()
    assert (after == 0).mean() == pytest.approx(0.5, abs=0.05)
    np.testing.assert_allclose(after[after > 0], 2 * before[after > 0], rtol=1e-6)


# --- names and errors -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "network, num_layers, name",
    [
        ("resnet", None, "resnet-50"),
        ("resnet", 18, "resnet-18"),
        ("resnet18", None, "resnet-18"),
        ("resnet-18", None, "resnet-18"),
        ("resnet18", 18, "resnet-18"),
        ("resnet1001", None, "resnet-1001"),
        ("squeezenet", None, "squeezenet1.0"),
        ("squeezenet1.1", None, "squeezenet1.1"),
        ("resnet-v1", None, "resnet-v1-50"),
        ("resnet-v1b", 18, "resnet-v1b-18"),
        ("resnet50_v1", None, "resnet-v1-50"),
        ("resnet-50-v1b", None, "resnet-v1b-50"),
        ("resnext", 101, "resnext-101"),
        ("resnext50_32x4d", None, "resnext-50"),
        ("resnext-101-64x4d", None, "resnext-64x4d-101"),
        ("densenet201", None, "densenet-201"),
        ("inceptionv3", None, "inception-v3"),
        ("inception-7", None, "inception-7"),
        ("mobilenet1.0", None, "mobilenet"),
        ("mobilenetv2_0.5", None, "mobilenetv2-0.5"),
        ("vgg", 19, "vgg-19"),
        ("vgg16_bn", None, "vgg-bn-16"),
        ("resnet50d", None, "resnet-v1d-50"),
        ("resnet50_v1d", None, "resnet-v1d-50"),
        ("se-resnet", 18, "seresnet-18"),
        ("regnet_y_1_6gf", None, "regnet-y-1.6gf"),
        ("gluoncv/resnet18_v1b", None, "gluoncv-resnet18_v1b"),
    ],
)
def test_find(network, num_layers, name):
    found = symbols.find(network, num_layers)
    assert found.name == name
    assert symbols.find(found.name) == found
    assert found.image_shape == (3, 299, 299) if "inception" in name else (3, 224, 224)


def test_every_listed_name_can_be_looked_up():
    for name in symbols.names():
        assert symbols.find(name).name == symbols.find(symbols.find(name).name).name


@pytest.mark.parametrize(
    "network, num_layers, message",
    [
        ("resnet5", None, "network resnet5: no such network; did you mean resnet50?"),
        ("resnet51", None, "did you mean resnet50?"),
        ("ResNet50", None, "did you mean resnet50?"),
        ("sqeezenet1.1", None, "did you mean squeezenet1.1?"),
        ("transformer", None, "network transformer: "),
        ("squeezenet18", None, "network squeezenet18: "),
        ("resnet0", None, "network resnet0: "),
        ("", None, "no such network"),
        ("resnet50", 18, "num_layers 18: "),
        ("resnet", 5, "num_layers 5: resnet has 18, 34, 50"),
        ("resnet", 0, "num_layers 0: resnet has 18, 34, 50"),
        ("squeezenet", 18, "num_layers 18: squeezenet has"),
        ("densenet", 100, "num_layers 100: densenet has 121, 161, 169, 201"),
        ("resnet20_v1", None, "did you mean resnet"),
        ("mobilenet0.3", None, "did you mean mobilenet0."),
        ("gluoncv/vgg16", 16, "num_layers 16: gluoncv/vgg16"),
    ],
)
def test_invalid_names_are_refused(network, num_layers, message):
    with pytest.raises(InputError) as refused:
        symbols.find(network, num_layers)
    assert message in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "network, num_layers, image_shape, activation, message",
    [
        ("resnet", 18, (3, 28, 28), "relu", "num_layers 18: for images up to 28 pixels"),
        ("resnet", 20, (3, 29, 29), "relu", "num_layers 20: for images 29 pixels high"),
        ("resnet", 20, (3, 224, 224), "relu", "18, 34, 50, 101, 152, 200, 269"),
        ("resnet", 50, (3, 224, 224), "elu", "activation elu: "),
        ("squeezenet", None, (3, 224, 224), "gelu", "activation gelu: use relu or elu"),
        ("squeezenet1.0", None, (3, 28, 224), "relu", "image_shape 3,28,224: SqueezeNet 1.0"),
        ("squeezenet1.1", None, (3, 224, 24), "relu", "at least 25 x 25 pixels"),
    ],
)
def test_invalid_options_are_refused(network, num_layers, image_shape, activation, message):
    with pytest.raises(InputError) as refused:
        symbols.get_symbol(network, 10, image_shape, num_layers, activation)
    assert message in str(refused.value) and "\n" not in str(refused.value)


def test_unknown_options_are_a_type_error():
    with pytest.raises(TypeError):
        symbols.get_symbol("resnet", 10, num_layer=18)


def test_every_depth_of_the_registry_fits_some_image_size():
    family = FAMILIES["resnet"]
    resnet = importlib.import_module("imagenet_trainer.symbols.resnet")
    for depth in family.depths + family.more_depths:
        fits = []
        for height in (28, 224):
            try:
                fits.append(resnet._stages(depth, height))
            except InputError:
                continue
        assert fits, depth
    assert set(resnet.UNITS) <= set(family.depths)


@pytest.mark.parametrize(
    ("name", "activation"), [("squeezenet1.0", "relu"), ("squeezenet1.1", "elu")]
)
def test_squeezenet_starts_at_its_published_rate(name, activation):
    # Without BatchNorm and with pixels of +-128, He's initialiser makes the third loss nan.
    folder = ROOT / "imagenet_trainer" / "assets" / "photos"
    shape, files = (3, 112, 112), sorted(folder.glob("*/*.jpg"))[:4]
    transform, images = EvalTransform(shape), np.empty((4, *shape[1:], 3), np.uint8)
    for place, file in enumerate(files):
        transform.apply(decode(file.read_bytes()), None, place, images[place])
    symbol = to_symbol(symbols.get_symbol(name, 1000, shape, activation=activation))
    how = Training(Optimizer("sgd", 0.9, 2e-4))
    engine = open_engine(
        symbol, Devices(), images.shape, (123.68, 116.779, 103.939), (1, 1, 1), how
    )
    shapes = parameter_shapes(symbol, shape)
    engine.set_params(*initial_parameters(*shapes, symbols.find(name).initializer, 0))
    losses = []
    for _ in range(4):
        engine.train_batch(images, np.arange(4), 0.01)
        losses.append(engine.read_counts()[3] / 4)
    assert losses[0] == pytest.approx(math.log(1000), abs=0.2)
    assert losses == sorted(losses, reverse=True)


@pytest.mark.parametrize("what", ["file", "package"])
def test_a_file_or_folder_of_this_name_is_not_taken_for_the_package(tmp_path, what):
    # MXNet's own examples have a folder `symbols`, from whose parent their users run commands.
    if what == "file":
        (tmp_path / "symbols.py").write_text("raise ImportError")
    else:
        (tmp_path / "symbols").mkdir()
        (tmp_path / "symbols" / "__init__.py").write_text("raise ImportError")
    code = "from imagenet_trainer.symbols import get_symbol; print(get_symbol('resnet18', 10).name)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
