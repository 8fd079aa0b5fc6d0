"""Names and shapes of the parameters of other libraries, as those libraries have them.

`equal_networks.json` has a digest of each network, made with the libraries installed by
`python tests/convert/test_equal_networks.py tests/convert/equal_networks.json`.
"""

import hashlib
import json
import sys
from pathlib import Path

import pytest

from imagenet_trainer import symbols
from imagenet_trainer.convert.equal_networks import NETWORKS, parameter_names
from imagenet_trainer.convert.layer_names import GLUON
from imagenet_trainer.convert.other_weights import is_unused
from imagenet_trainer.engines.symbol import parameter_shapes

FACTS = Path(__file__).with_name("equal_networks.json")
QUICK = (
    "torchvision/resnet50", "torchvision/densenet121", "torchvision/inception_v3", "timm/vgg11_bn",
    "torchvision/vgg11",
    "torchvision/googlenet", "torchvision/squeezenet1_0", "torchvision/alexnet",
    "timm/inception_resnet_v2", "torchvision/mobilenet_v3_small", "torchvision/efficientnet_b1",
    "timm/efficientnet_b0", "torchvision/convnext_tiny", "torchvision/regnet_y_1_6gf",
    "timm/seresnet18", "timm/vit_small_patch16_224",
    "timm/efficientnet_lite1", "gluon/resnet50_v1", "gluon/densenet121",
    "gluon/inceptionv3", "gluon/squeezenet1.1", "gluon/vgg11", "gluon/mobilenet0.25",
    "gluon/mobilenetv2_0.25", "gluon/alexnet", "gluon/googlenet",
)  # fmt: skip


def digest(shapes):
    """SHA-256 of the names, sorted, and their shapes."""
    lines = sorted(f"{name} {tuple(shape)}" for name, shape in shapes.items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:20]


@pytest.mark.parametrize(
    "equal",
    [
        pytest.param(e, id=e.title, marks=[] if e.title in QUICK else pytest.mark.slow)
        for e in NETWORKS
    ],
)
def test_names_and_shapes_are_those_of_the_library(equal):
    shape = symbols.find(equal.network).image_shape
    symbol = symbols.get_symbol(equal.network, 1000, shape)
    arg, aux = parameter_shapes(symbol, shape)
    names = parameter_names(symbol, equal)
    shapes = {
        names[name]: equal.their_shape(names[name], value) for name, value in {**arg, **aux}.items()
    }
    assert len(shapes) == len(arg) + len(aux)
    if equal.library == "timm" and "vgg" in equal.name:  # its dense layers are convolutions
        shapes["pre_logits.fc1.weight"] = (4096, 512, 7, 7)
        shapes["pre_logits.fc2.weight"] = (4096, 4096, 1, 1)
    assert digest(shapes) == json.loads(FACTS.read_text())[equal.title]


def test_published_images_are_resized_as_torchvision_does():
    facts = {
        equal.name: (equal.resize, equal.interpolation)
        for equal in NETWORKS
        if equal.library == "torchvision"
    }
    assert facts["efficientnet_b3"] == (320, "pil-bicubic")
    assert facts["convnext_small"] == (230, "pil-bilinear")
    assert facts["regnet_y_400mf"] == (0, "pil-bilinear")


def of_library(equal):
    """The library's own names and shapes."""
    if equal.library == GLUON:
        from imagenet_trainer.symbols.gluoncv_zoo import import_gluoncv
        from imagenet_trainer.system.mxnet_import import mx

        zoo = import_gluoncv().model_zoo
        if equal.name.startswith("mobilenetv2"):  # GluonCV's has other layers
            zoo = mx.gluon.model_zoo.vision
        net = zoo.get_model(equal.name)
        net.initialize()
        size = symbols.find(equal.network).image_shape[1]
        net(mx.nd.zeros((1, 3, size, size)))
        return {name: value.shape for name, value in net._collect_params_with_prefix().items()}
    if equal.library == "timm":
        import timm

        return {k: v.shape for k, v in timm.create_model(equal.name).state_dict().items()}
    import torchvision

    model = torchvision.models.get_model(equal.name, weights=None)
    return {k: v.shape for k, v in model.state_dict().items()}


if __name__ == "__main__":
    facts = {}
    for one in NETWORKS:
        found = {name: shape for name, shape in of_library(one).items() if not is_unused(name)}
        facts[one.title] = digest(found)
    Path(sys.argv[1]).write_text(json.dumps(facts, indent=1) + "\n")
