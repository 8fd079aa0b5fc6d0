"""Every registered network at its smallest image size."""

import functools
import json
import math

import numpy as np

from imagenet_trainer import symbols
from imagenet_trainer.convert.equal_networks import parameter_names
from imagenet_trainer.engines.symbol import parameter_shapes
from imagenet_trainer.graph import sym

# The smallest image size by family; for those without one, a size that leaves several pixels.
SMALLEST = {
    "resnet": 33,
    "resnet_v1": 33,
    "densenet": 29,
    "inception_bn": 39,
    "inception_v3": 75,
    "inception_resnet_v2": 75,
    "googlenet": 33,
    "mobilenet": 33,
    "mobilenetv3": 33,
    "efficientnet": 33,
    "regnet": 33,
    "convnext": 32,
    "vit": 32,
    "squeezenet": 29,
    "vgg": 32,
    "alexnet": 63,
    "small_cnn": 64,
    "fast_cnn": 8,
}


CHEAPEST = (
    "resnet-20", "resnet-18", "resnet-v1-18", "resnet-v1b-18", "resnet-v1d-18", "seresnet-18",
    "resnext-50", "densenet-121", "inception-bn", "inception-v3", "inception-resnet-v2",
    "googlenet", "mobilenet0.25", "mobilenetv2-0.25", "mobilenetv3-small", "efficientnet-b0",
    "efficientnet-lite0", "regnet-y-400mf", "convnext-tiny", "vit-small",
    "squeezenet1.0", "squeezenet1.1", "vgg-bn-11", "alexnet", "one-stage-cnn", "six-stage-cnn",
    "cifar-cnn", "fast-cnn",
)  # fmt: skip


def all_names():
    """Every network once, by its default run name."""
    return list(dict.fromkeys(symbols.find(name).name for name in symbols.names()))


def classes_of(name):
    return {"one-stage-cnn": 2, "six-stage-cnn": 2, "cifar-cnn": 10, "fast-cnn": 10}.get(name, 6)


def smallest_shape(name):
    network = symbols.find(name)
    small_only = network.family == "resnet" and network.num_layers % 6 == 2 and (
        network.num_layers not in (50, 101, 152, 200, 269)
    )  # fmt: skip
    size = 12 if small_only else SMALLEST[network.family]
    return (3, size, size)


@functools.lru_cache(maxsize=2)
def smallest(name):
    """The symbol for the smallest images, without dropout, so that results are reproducible."""
    symbol = symbols.get_symbol(name, classes_of(name), smallest_shape(name))
    graph = json.loads(symbol.tojson())
    for node in graph["nodes"]:
        if node["op"] == "Dropout":
            node["attrs"]["p"] = "0"
    return sym.load_json(json.dumps(graph))


def first_parameters(shapes, aux_shapes):
    """Random parameters with He et al.'s variance, computed quickly."""
    # Drawn once and repeated: VGG has 28 million weights. No width divides the prime number.
    drawn = np.random.default_rng(0).standard_normal(1_000_003, np.float32)
    arg = {}
    for name, shape in shapes.items():
        value = np.full(shape, name.endswith(("gamma", "layer_scale")), np.float32)
        if name.endswith("weight"):
            value = np.resize(drawn, shape) * np.float32(math.sqrt(2 / math.prod(shape[1:])))
        arg[name] = value
    return arg, {
        name: np.full(s, name.endswith("var"), np.float32) for name, s in aux_shapes.items()
    }


def weights(equal, classes=5):
    """Random parameters of a network of `equal_networks`, by our names and by theirs."""
    shape = symbols.find(equal.network).image_shape
    symbol = symbols.get_symbol(equal.network, classes, shape)
    names = parameter_names(symbol, equal)
    random = np.random.default_rng(0)
    ours = {
        name: random.normal(0, 0.05, size).astype(np.float32)
        for part in parameter_shapes(symbol, shape)
        for name, size in part.items()
    }
    # Variances are not negative: the predictions of a network with one that is are not finite.
    ours = {name: abs(value) if name.endswith("_var") else value for name, value in ours.items()}
    return ours, {names[name]: value for name, value in ours.items()}
