import hashlib
import sys

import numpy as np
import pytest
from conftest import needs_mxnet, run
from helpers.gluoncv_networks import (
    CLASSES,
    classification_names,
    gluoncv,  # noqa: F401
    symbol_of,
)

from imagenet_trainer import symbols
from imagenet_trainer.engines import Devices, Optimizer, Training
from imagenet_trainer.engines.factory import open_engine
from imagenet_trainer.engines.mxnet.arrays import to_symbol
from imagenet_trainer.engines.symbol import parameter_shapes
from imagenet_trainer.errors import InputError
from imagenet_trainer.graph import Group
from imagenet_trainer.symbols import gluoncv_zoo
from imagenet_trainer.system.mxnet_import import mx
from imagenet_trainer.train.initializers import initial_parameters


def filled(net, image_shape):
    """The Gluon network with random parameters and statistics, and these by name."""
    net.initialize(mx.init.MSRAPrelu())
    net(mx.nd.zeros((1, *image_shape)))
    random = np.random.default_rng(0)
    for name, parameter in net.collect_params().items():
        if name.endswith(("gamma", "beta", "mean", "var", "bias")):
            low = 1.2 if name.endswith("gamma") else 0.5 if name.endswith("var") else -0.2
            parameter.set_data(mx.nd.array(random.uniform(low, low + 0.5, parameter.shape)))
    return {name: parameter.data() for name, parameter in net.collect_params().items()}


@pytest.mark.parametrize(
    "name, size",
    [
        ("resnet18_v1b", 40),
        ("cifar_resnet20_v1", 32),
        ("mobilenetv3_small", 64),
        pytest.param("resnet50_v1b_gn", 40, marks=pytest.mark.slow),
        pytest.param("se_resnet18_v1", 40, marks=pytest.mark.slow),
        pytest.param("resnest14", 64, marks=pytest.mark.slow),
        pytest.param("hrnet_w18_small_v1_c", 64, marks=pytest.mark.slow),
        pytest.param("dla34", 64, marks=pytest.mark.slow),
    ],
)
def test_the_symbol_equals_the_gluon_network(gluoncv, name, size):
    image_shape = (3, size, size)
    symbol = symbol_of(name, image_shape)
    options = {"num_classes" if "hrnet" in name else "classes": CLASSES}
    with mx.name.NameManager():
        net = gluoncv.model_zoo.get_model(name, **options)
    values = filled(net, image_shape)
    arg, aux = parameter_shapes(symbol, image_shape)
    assert {*arg, *aux} == set(values)
    outputs = [name for name in symbol.get_internals().list_outputs() if "softmax" not in name]
    both = to_symbol(Group([symbol.get_internals()[outputs[-1]], symbol]))
    executor = both.simple_bind(mx.cpu(), data=(2, *image_shape), grad_req="null")
    executor.copy_params_from({key: values[key] for key in arg}, {key: values[key] for key in aux})
    data = mx.nd.random.uniform(0, 2, (2, *image_shape))
    executor.arg_dict["data"][:] = data
    logits, probabilities = executor.forward(is_train=False)
    found, wanted = logits.asnumpy(), net(data).asnumpy()
    scale = np.abs(wanted).max()
    np.testing.assert_allclose(found / scale, wanted / scale, atol=1e-5)
    assert np.ptp(found, axis=0).max() > 1e-4 * scale  # the output depends on the image
    np.testing.assert_allclose(probabilities.asnumpy(), mx.nd.softmax(logits).asnumpy(), atol=1e-6)


def test_training_lowers_the_loss(gluoncv):
    name, shape = "cifar_resnet20_v1", (3, 32, 32)
    symbol = symbol_of(name, shape)
    engine = open_engine(
        symbol, Devices(), (8, 32, 32, 3), (127,) * 3, (60,) * 3, Training(Optimizer("sgd", 0.9, 0))
    )
    initializer = symbols.find(f"gluoncv/{name}").initializer
    engine.set_params(*initial_parameters(*parameter_shapes(symbol, shape), initializer, 0))
    images = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3)).astype(np.uint8)
    losses = []
    for _ in range(5):
        engine.train_batch(images, np.arange(8) % CLASSES, 0.02)
        losses.append(engine.read_counts()[3])
    assert losses[-1] < 0.7 * losses[0]


def test_a_fresh_process_has_the_same_text_and_pytorch_and_pillow_as_before(gluoncv):
    symbol_of("resnet18_v1b", (3, 64, 64))  # would advance Gluon's counters of names
    symbol_of("cifar_resnet20_v1", (3, 32, 32))
    here = symbol_of("cifar_resnet20_v1", (3, 32, 32)).tojson()
    code = (
        "import sys; from imagenet_trainer import symbols; from PIL import ImageFile; "
        "sys.modules['torch'] = sys; "
        f"text = symbols.get_symbol('gluoncv/cifar_resnet20_v1', {CLASSES}, (3, 32, 32)).tojson(); "
        "print(sys.modules['torch'] is sys, ImageFile.LOAD_TRUNCATED_IMAGES, text); "
        "del sys.modules['torch']"
    )
    assert run("-c", code).stdout.strip() == f"True False {here.strip()}"
    assert '"cifarresnetv10_conv0_weight"' in here


def test_gluons_attributes_of_variables_are_removed(gluoncv):
    for attributes in symbol_of("resnet18_v1b", (3, 64, 64)).attr_dict().values():
        assert not {"__wd_mult__", "__lr_mult__", "__init__"} & set(attributes)


@pytest.mark.parametrize(
    "name, image_shape, message",
    [
        ("resnet18_v1z", (3, 64, 64), "no such network; did you mean gluoncv/resnet18_v1"),
        ("ssd_512_resnet50_v1_voc", (3, 64, 64), "not an image classifier"),
        ("yolo3_darknet53_voc", (3, 64, 64), "not an image classifier"),
        ("simple_pose_resnet18_v1b", (3, 64, 64), "not an image classifier"),
        ("mobilenet1.0_int8", (3, 224, 224), "not an image classifier"),
        ("c3d_kinetics400", (3, 112, 112), "not an image classifier"),  # for videos
        ("densenet121", (3, 64, 64), "image_shape 3,64,64: gluoncv/densenet121"),
    ],
)
def test_unsuitable_networks_are_refused(gluoncv, name, image_shape, message):
    with pytest.raises(InputError) as refused:
        symbol_of(name, image_shape)
    assert message in str(refused.value) and "\n" not in str(refused.value)


@needs_mxnet
def test_without_gluoncv_the_error_names_the_install_command(monkeypatch):
    for module in [name for name in sys.modules if name.split(".")[0] == "gluoncv"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "gluoncv", None)
    monkeypatch.delitem(sys.modules, "gluoncv")
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "meta_path", [])
    with pytest.raises(InputError, match="pip install --no-deps 'gluoncv"):
        gluoncv_zoo.import_gluoncv()


# --- published parameters -------------------------------------------------------------------------


@pytest.fixture
def published(gluoncv, tmp_path, monkeypatch):
    """A file in GluonCV's cache with random parameters, whose SHA-1 is in its list."""
    monkeypatch.setenv("MXNET_HOME", str(tmp_path))
    folder = tmp_path / "models"
    folder.mkdir()
    net = gluoncv.model_zoo.get_model("cifar_resnet20_v1")
    values = filled(net, (3, 32, 32))
    net.save_parameters(str(folder / "new"))
    digest = hashlib.sha1((folder / "new").read_bytes()).hexdigest()
    path = folder / f"cifar_resnet20_v1-{digest[:8]}.params"
    (folder / "new").rename(path)
    store = sys.modules["gluoncv.model_zoo.model_store"]
    monkeypatch.setitem(store._model_sha1, "cifar_resnet20_v1", digest)
    return path, values


def test_published_parameters_are_read_from_the_file(published):
    _, values = published
    arg, aux = gluoncv_zoo.pretrained_parameters("cifar_resnet20_v1")
    shapes = parameter_shapes(symbols.get_symbol("gluoncv/cifar_resnet20_v1", 10, (3, 32, 32)),
                              (3, 32, 32))  # fmt: skip
    assert [{k: v.shape for k, v in part.items()} for part in (arg, aux)] == list(shapes)
    wanted = {name.split("_", 1)[1]: value.asnumpy() for name, value in values.items()}
    for name, value in {**arg, **aux}.items():
        np.testing.assert_array_equal(value, wanted.pop(name.split("_", 1)[1]))
    assert not wanted


def test_missing_and_damaged_files_are_not_downloaded(published):
    path, _ = published
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    for _ in range(2):
        with pytest.raises(InputError) as refused:
            gluoncv_zoo.pretrained_parameters("cifar_resnet20_v1")
        line = str(refused.value)
        assert "nothing is downloaded" in line and path.stem in line and str(path.parent) in line
        path.unlink(missing_ok=True)


def test_networks_without_published_parameters(gluoncv, tmp_path, monkeypatch):
    monkeypatch.setenv("MXNET_HOME", str(tmp_path))
    with pytest.raises(InputError, match="se_resnet18_v1: GluonCV publishes no parameters"):
        gluoncv_zoo.pretrained_parameters("se_resnet18_v1")


# --- all of them ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_classification_network_is_a_symbol(gluoncv):
    names = classification_names()
    assert len(gluoncv_zoo.names()) == 332 and len(names) == 129
    for name in names:
        network = symbols.find(f"gluoncv/{name}")
        symbol = symbol_of(name, network.image_shape)
        shapes = parameter_shapes(symbol, network.image_shape)
        assert len(set(symbol.list_inputs())) == len(symbol.list_inputs()), name
        small = [{key: tuple(min(n, 2) for n in s) for key, s in part.items()} for part in shapes]
        initial_parameters(*small, network.initializer, 0)
        assert mx.sym.load_json(symbol.tojson()).tojson() == symbol.tojson(), name


@pytest.mark.slow
def test_every_other_network_is_refused(gluoncv):
    for name in sorted(set(gluoncv_zoo.names()) - set(classification_names())):
        with pytest.raises(InputError):
            symbol_of(name, (3, 224, 224))
