"""Carved out of imagenet_trainer/published.py."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Dict, Optional, Tuple

from imagenet_trainer.errors import InputError
from symbols.families import GLUONCV, GLUONCV_RUN

if TYPE_CHECKING:
    from imagenet_trainer.runs.checkpoint import Preprocessing
    from imagenet_trainer.system.arrays import Arrays


Colours = Tuple[float, float, float]


Classes = Tuple[Tuple[str, str], ...]


_MODELS = "http://data.mxnet.io/models/"


_RAW: Tuple[Colours, Colours] = ((0, 0, 0), (1, 1, 1))  # a bn_data layer scales


_MXNET: Tuple[Colours, Colours] = ((123.68, 116.779, 103.939), (1, 1, 1))


# The authors' Caffe files; the conversion to MXNet turned the first layer from BGR to RGB.
_SQUEEZENET: Tuple[Colours, Colours] = ((123, 117, 104), (1, 1, 1))


_TENSORFLOW: Tuple[Colours, Colours] = ((128, 128, 128), (128, 128, 128))


# GluonCV: (x / 255 - mean) / std, of ImageNet and of CIFAR-10.
_GLUONCV: Tuple[Colours, Colours] = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))


_CIFAR: Tuple[Colours, Colours] = ((125.307, 122.961, 113.8575), (51.5865, 50.847, 51.255))


@dataclass(frozen=True)
class Checkpoint:
    """One of MXNet's published checkpoints, as data."""

    network: str  # in the registry
    address: str  # of its .params, or of the archive that holds it
    colours: Tuple[Colours, Colours] = _RAW  # mean and standard deviation of red, green, blue
    scores: Tuple[float, float] = (0, 0)  # ImageNet top-1 and top-5 in %, as published; 0: none
    size: int = 224  # pixels each way
    resize: int = 0  # short side before the crop; 0: by the rule of --val-resize
    file: str = ""  # where it is not the address's last part


def _resnet(depth: int, *scores: float) -> Checkpoint:
    address = f"imagenet/resnet/{depth}-layers/resnet-{depth}-0000.params"
    return Checkpoint(f"resnet-{depth}", address, scores=(scores[0], scores[1]))


# Scores: MXNet's README (resnext, inception-bn), the model gallery's pages (the rest of
# imagenet1k-), and for the ResNets the measurements that the networks' table quotes.
CHECKPOINTS: Dict[str, Checkpoint] = {
    "imagenet1k-resnet-18": _resnet(18, 69.52, 89.08),
    "imagenet1k-resnet-34": _resnet(34, 72.80, 91.14),
    "imagenet1k-resnet-50": _resnet(50, 75.61, 92.76),
    "imagenet1k-resnet-101": _resnet(101, 77.32, 93.42),
    "imagenet1k-resnet-152": _resnet(152, 77.75, 93.58),
    "imagenet1k-resnet-200": _resnet(200, 77.86, 93.84),
    "imagenet1k-resnext-50": Checkpoint(
        "resnext-50", "imagenet/resnext/50-layers/resnext-50-0000.params", scores=(76.89, 93.32)
    ),
    "imagenet1k-resnext-101": Checkpoint(
        "resnext-101", "imagenet/resnext/101-layers/resnext-101-0000.params", scores=(78.28, 94.08)
    ),
    "imagenet1k-resnext-101-64x4d": Checkpoint(
        "resnext-64x4d-101", "imagenet/resnext/101-layers/resnext-101-64x4d-0000.params",
        scores=(79.11, 94.30),
    ),
    "imagenet1k-inception-bn": Checkpoint(
        "inception-bn", "imagenet/inception-bn/Inception-BN-0126.params", _MXNET, (72.45, 90.79)
    ),
    "imagenet1k-inception-v3": Checkpoint(
        "inception-7", "imagenet/inception-v3.tar.gz", _TENSORFLOW, (76.88, 93.34), 299, 384,
        "Inception-7-0001.params",
    ),
    "imagenet1k-squeezenet1.0": Checkpoint(
        "squeezenet1.0", "imagenet/squeezenet/squeezenet_v1.0-0000.params", _SQUEEZENET,
        (55.4, 78.8), 227,
    ),
    "imagenet1k-squeezenet1.1": Checkpoint(
        "squeezenet1.1", "imagenet/squeezenet/squeezenet_v1.1-0000.params", _SQUEEZENET, size=227
    ),
    "imagenet1k-vgg16": Checkpoint(
        "vgg-16", "imagenet/vgg/vgg16-0000.params", _MXNET, (71.0, 89.9)
    ),
    "imagenet1k-vgg19": Checkpoint("vgg-19", "imagenet/vgg/vgg19-0000.params", _MXNET),
    # Other classes than ImageNet's 1,000; their files must have modelzoo.py's names, because their
    # own is that of the ones above.
    "imagenet11k-resnet-152": Checkpoint(
        "resnet-152", "imagenet-11k/resnet-152/resnet-152-0000.params",
        file="imagenet11k-resnet-152-0000.params",
    ),
    "imagenet11k-place365ch-resnet-50": Checkpoint(
        "resnet-50", "imagenet-11k-place365-ch/resnet-50-0000.params",
        file="imagenet11k-place365ch-resnet-50-0000.params",
    ),
    "imagenet11k-place365ch-resnet-152": Checkpoint(
        "resnet-152", "imagenet-11k-place365-ch/resnet-152-0000.params",
        file="imagenet11k-place365ch-resnet-152-0000.params",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Pretrained:
    """Published parameters, whole."""

    network: str  # as --network takes it
    arg: "Arrays"
    aux: "Arrays"
    preprocessing: "Preprocessing"
    classes: Classes  # (id, name) in the order of the outputs


def folder() -> Path:
    """Where the files are looked for: Gluon's own cache."""
    home = os.environ.get("MXNET_HOME", os.path.join("~", ".mxnet"))
    return Path(home).expanduser() / "models"


def find(name: str) -> Tuple[str, Checkpoint]:
    """The published checkpoint of that name, or of the network of that name.

    Raises InputError, with all names, where there is none.
    """
    import symbols

    if name in CHECKPOINTS:
        return name, CHECKPOINTS[name]
    try:
        network = symbols.find(name).name
    except InputError:
        network = name
    for published, checkpoint in CHECKPOINTS.items():
        if network == checkpoint.network or published == f"imagenet1k-{name}":
            return published, checkpoint
    raise InputError(
        f"{name}: no published checkpoint is known of it; there are {', '.join(CHECKPOINTS)}, and "
        "gluoncv/NAME"
    )


def place(name: str, checkpoint: Checkpoint) -> Optional[Path]:
    """Its file, by its own name or by that which MXNet's modelzoo.py gives it; None: not here."""
    own = checkpoint.file or checkpoint.address.rpartition("/")[2]
    for file in (f"{name}-0000.params", own):
        if (folder() / file).is_file():
            return folder() / file
    return None


def load(name: str) -> Pretrained:
    """Published parameters, of the network's names and shapes.

    Raises InputError for a name that is none, for a file that is not here, saying which to fetch
    and where to put it, and for one of another network.
    """
    if name.startswith((GLUONCV, GLUONCV_RUN)):
        return _of_gluoncv(name)
    from imagenet_trainer.runs import params

    published, checkpoint = find(name)
    path = place(published, checkpoint)
    if path is None:
        raise InputError(
            f"{name}: its file is not in {folder()}; fetch {_MODELS}{checkpoint.address} "
            f"(or a copy of it) and put {checkpoint.file or checkpoint.address.rpartition('/')[2]} "
            "there; nothing is downloaded here"
        )
    arg, aux = params.split(params.read(path), path)
    how = (checkpoint.size, checkpoint.resize, checkpoint.colours)
    return _checked(checkpoint.network, arg, aux, how, str(path))


def _of_gluoncv(name: str) -> Pretrained:
    import symbols
    from symbols import gluoncv_zoo

    network = symbols.find(name)
    size = network.image_shape[1]
    symbols.get_symbol(network.name, 1000, network.image_shape)  # is it a classifier at all?
    arg, aux = gluoncv_zoo.pretrained_parameters(network.build_options["name"])
    how = (size, size, _CIFAR) if "cifar" in name else (size, 0, _GLUONCV)
    return _checked(network.name, arg, aux, how, name)


def _checked(
    network: str,
    arg: "Arrays",
    aux: "Arrays",
    how: Tuple[int, int, Tuple[Colours, Colours]],
    path: str,
) -> Pretrained:
    import symbols
    from imagenet_trainer.data.records.manifest import known_synsets
    from imagenet_trainer.engines.symbol import check_parameters
    from imagenet_trainer.runs.checkpoint import Preprocessing

    size, resize, (mean, std) = how
    classes = _number_of_classes(network, arg, path)
    shape = (3, size, size)
    check_parameters(symbols.get_symbol(network, classes, shape), shape, arg, aux, path)
    known = tuple(known_synsets().items())
    names = known if classes == len(known) else tuple((str(n), str(n)) for n in range(classes))
    return Pretrained(network, arg, aux, Preprocessing(shape, mean, std, resize), names)


def _number_of_classes(network: str, arg: "Arrays", path: str) -> int:
    """The length of the last layer: the parameter whose shape follows the number of classes."""
    import symbols
    from imagenet_trainer.engines.symbol import parameter_shapes

    shape = symbols.find(network).image_shape
    few, more = (parameter_shapes(symbols.get_symbol(network, n, shape), shape)[0] for n in (2, 3))
    last = next(name for name in few if few[name] != more[name])
    if last not in arg:
        raise InputError(f"{path}: has no {last}: it is of another network")
    return len(arg[last])
