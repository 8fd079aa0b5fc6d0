import numpy as np
import pytest
from conftest import ROOT, one_line_failure

from imagenet_trainer import config, symbols
from imagenet_trainer import published as command
from imagenet_trainer.convert import published
from imagenet_trainer.convert.model_zoo import CHECKPOINTS
from imagenet_trainer.data.classes import are_placeholders
from imagenet_trainer.engines.symbol import parameter_shapes
from imagenet_trainer.errors import InputError
from imagenet_trainer.eval.files import predict
from imagenet_trainer.runs import params
from imagenet_trainer.runs.run import Run

IMAGE = next((ROOT / "imagenet_trainer" / "assets" / "photos").rglob("*.jpg"))


@pytest.fixture
def models(tmp_path, monkeypatch):
    """The folder for published files."""
    monkeypatch.setenv("MXNET_HOME", str(tmp_path / "home"))
    folder = tmp_path / "home" / "models"
    folder.mkdir(parents=True)
    assert published.models_folder() == folder
    return folder


def write(path, network, classes=1000, leave_out=""):
    """Write a file in MXNet's format with random parameters."""
    shape = symbols.find(network).image_shape
    random = np.random.default_rng(0)
    arg, aux = (
        {
            name: random.normal(0, 0.05, s).astype(np.float32) + name.endswith("var")
            for name, s in part.items()
            if name != leave_out
        }
        for part in parameter_shapes(symbols.get_symbol(network, classes, shape), shape)
    )
    path.write_bytes(params.dumps(params.join(arg, aux)))
    return arg, aux


@pytest.mark.parametrize("file", ["squeezenet_v1.1-0000.params",
                                  "imagenet1k-squeezenet1.1-0000.params"])  # fmt: skip
def test_a_published_file_becomes_a_run(models, tmp_path, file):
    arg, _ = write(models / file, "squeezenet1.1")
    prefix = str(tmp_path / "run" / "model")
    with pytest.raises(InputError, match=r"^val_resize 100: "):
        published.import_checkpoint(config.PublishedSettings(name="squeezenet1.1", val_resize=100))
    settings = config.PublishedSettings(name="squeezenet1.1", model_prefix=prefix)
    assert published.import_checkpoint(settings) == prefix
    checkpoint = Run(prefix).load(0)
    assert checkpoint.arg.keys() == arg.keys()
    for name, value in arg.items():
        np.testing.assert_array_equal(checkpoint.arg[name], value)
    how = checkpoint.preprocessing
    assert how.image_shape == (3, 227, 227) and how.rgb_mean == (123, 117, 104)
    assert checkpoint.classes[281] == ("n02123045", "tabby, tabby cat")
    (prediction,) = predict(config.PredictSettings(pictures=(str(IMAGE),), model_prefix=prefix))
    assert len(prediction) == 5 and sum(one.probability for one in prediction) <= 1.001
    with pytest.raises(InputError, match="--model-prefix"):
        published.import_checkpoint(settings)


def test_other_classes_than_imagenets_are_counted(models):
    write(models / "resnet-18-0000.params", "resnet-18", classes=7)
    network = published.load("resnet-18")
    assert len(network.classes) == 7 and are_placeholders(network.classes)
    assert network.preprocessing.rgb_mean == (0, 0, 0)


def test_a_file_of_another_network_is_refused(models):
    write(models / "squeezenet_v1.1-0000.params", "squeezenet1.0")
    with pytest.raises(InputError, match=r"v1\.1-0000\.params: conv1_weight is"):
        published.load("squeezenet1.1")
    write(models / "squeezenet_v1.1-0000.params", "squeezenet1.1", leave_out="conv10_bias")
    with pytest.raises(InputError, match=r"has no conv10_bias|has no conv10_weight"):
        published.load("squeezenet1.1")


def test_undefined_parameters_are_refused(models, tmp_path):
    file = models / "resnet-18-0000.params"
    arg, aux = write(file, "resnet-18", classes=7)
    arg["fc1_bias"][3] = np.nan
    file.write_bytes(params.dumps(params.join(arg, aux)))
    prefix = str(tmp_path / "run" / "model")
    with pytest.raises(InputError, match=r"resnet-18.*: fc1_bias"):
        published.import_checkpoint(config.PublishedSettings(name="resnet-18", model_prefix=prefix))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["vgg16", "vgg-16", "vgg", "imagenet1k-vgg16"])
def test_names_of_one_file(name):
    assert published.find(name) == ("imagenet1k-vgg16", CHECKPOINTS["imagenet1k-vgg16"])


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_every_checkpoint_is_of_a_network_at_a_size_that_it_takes(models, name):
    checkpoint = CHECKPOINTS[name]
    symbols.get_symbol(checkpoint.network, 1000, (3, checkpoint.size, checkpoint.size))
    with pytest.raises(InputError) as refused:
        published.load(name)
    line = str(refused.value)
    assert checkpoint.address in line and str(models) in line and "\n" not in line
    assert (checkpoint.file or checkpoint.address.rpartition("/")[2]) in line


# From MXNet's example/image-classification/symbols (Inception, ResNeXt) and, for the two that were
# converted from Caffe, the layers of the authors' prototxts with `_` for `/`. ResNet's are compared
# whole in test_symbols.py.
@pytest.mark.parametrize(
    "network, some, count",
    [
        ("resnext-50", "bn_data_beta conv0_weight bn0_gamma stage1_unit1_sc_weight "
         "stage1_unit1_sc_bn_gamma stage4_unit3_bn3_beta fc1_bias", 3 * 53 + 2 + 2),
        ("inception-bn", "conv_1_weight bn_1_gamma conv_2_red_bias "
         "conv_3a_double_3x3_reduce_weight bn_4e_double_3x3_1_beta "
         "conv_5b_proj_weight fc1_weight", 4 * 69 + 2),
        ("inception-7", "conv_conv2d_weight conv_4_batchnorm_gamma "
         "mixed_tower_conv_1_conv2d_weight mixed_3_tower_conv_2_conv2d_weight "
         "mixed_8_tower_1_conv_3_batchnorm_beta "
         "mixed_10_tower_1_mixed_conv_1_conv2d_weight fc1_weight", 3 * 94 + 2),
        ("squeezenet1.1", "conv1_weight fire2_squeeze1x1_bias fire9_expand3x3_weight conv10_bias",
         2 * 26),
        ("vgg-19", "conv1_1_weight conv5_4_bias fc6_weight fc7_bias fc8_weight", 2 * 19),
    ],
)  # fmt: skip
def test_names_of_the_published_parameters(network, some, count):
    shape = symbols.find(network).image_shape
    names = parameter_shapes(symbols.get_symbol(network, 1000, shape), shape)[0]
    assert set(some.split()) <= names.keys()
    assert len(names) == count


def test_the_table_and_unknown_names(models, capsys):
    assert command.main([]) == 0
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1 + len(CHECKPOINTS)
    assert "resnet-50" in printed and "not there" in printed.splitlines()[1]
    fails = one_line_failure(command.main, "published", capsys)
    line = fails("--name", "resnet-269")
    assert line.startswith("resnet-269: ") and "vgg16" in line
    assert fails("--model-prefix", "x").startswith("--model-prefix x: of which network?")
