"""The checkpoints that MXNet published: networks, files, preprocessing and scores, as data."""

from dataclasses import dataclass
from typing import Dict, Tuple

Colours = Tuple[float, float, float]
MODELS = "http://data.mxnet.io/models/"
_RAW: Tuple[Colours, Colours] = ((0, 0, 0), (1, 1, 1))  # the layer bn_data scales
_MXNET: Tuple[Colours, Colours] = ((123.68, 116.779, 103.939), (1, 1, 1))
# The authors' Caffe files; the conversion to MXNet changed the first layer from BGR to RGB.
_SQUEEZENET: Tuple[Colours, Colours] = ((123, 117, 104), (1, 1, 1))
_TENSORFLOW: Tuple[Colours, Colours] = ((128, 128, 128), (128, 128, 128))
# GluonCV: (x / 255 - mean) / std, of ImageNet and of CIFAR-10.
GLUONCV_COLOURS: Tuple[Colours, Colours] = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
CIFAR_COLOURS: Tuple[Colours, Colours] = ((125.307, 122.961, 113.8575), (51.5865, 50.847, 51.255))


@dataclass(frozen=True)
class PublishedCheckpoint:
    """A checkpoint that MXNet published."""

    network: str  # in `symbols`
    address: str  # of its .params, or of the archive with it
    colours: Tuple[Colours, Colours] = _RAW  # mean and standard deviation of red, green, blue
    scores: Tuple[float, float] = (0, 0)  # ImageNet top-1 and top-5 in %, as published; 0: none
    size: int = 224  # pixels each way
    resize: int = 0  # short side before the crop; 0: by the default rule
    file: str = ""  # if it is not the last part of the address


def _resnet(depth: int, *scores: float) -> PublishedCheckpoint:
    address = f"imagenet/resnet/{depth}-layers/resnet-{depth}-0000.params"
    return PublishedCheckpoint(f"resnet-{depth}", address, scores=(scores[0], scores[1]))


# Scores: MXNet's README (resnext, inception-bn), the model gallery's pages (the rest of
# imagenet1k-), and for the ResNets the measurements that the networks' table quotes.
CHECKPOINTS: Dict[str, PublishedCheckpoint] = {
    "imagenet1k-resnet-18": _resnet(18, 69.52, 89.08),
    "imagenet1k-resnet-34": _resnet(34, 72.80, 91.14),
    "imagenet1k-resnet-50": _resnet(50, 75.61, 92.76),
    "imagenet1k-resnet-101": _resnet(101, 77.32, 93.42),
    "imagenet1k-resnet-152": _resnet(152, 77.75, 93.58),
    "imagenet1k-resnet-200": _resnet(200, 77.86, 93.84),
    "imagenet1k-resnext-50": PublishedCheckpoint(
        "resnext-50", "imagenet/resnext/50-layers/resnext-50-0000.params", scores=(76.89, 93.32)
    ),
    "imagenet1k-resnext-101": PublishedCheckpoint(
        "resnext-101", "imagenet/resnext/101-layers/resnext-101-0000.params", scores=(78.28, 94.08)
    ),
    "imagenet1k-resnext-101-64x4d": PublishedCheckpoint(
        "resnext-64x4d-101", "imagenet/resnext/101-layers/resnext-101-64x4d-0000.params",
        scores=(79.11, 94.30),
    ),
    "imagenet1k-inception-bn": PublishedCheckpoint(
        "inception-bn", "imagenet/inception-bn/Inception-BN-0126.params", _MXNET, (72.45, 90.79)
    ),
    "imagenet1k-inception-v3": PublishedCheckpoint(
        "inception-7", "imagenet/inception-v3.tar.gz", _TENSORFLOW, (76.88, 93.34), 299, 384,
        "Inception-7-0001.params",
    ),
    "imagenet1k-squeezenet1.0": PublishedCheckpoint(
        "squeezenet1.0", "imagenet/squeezenet/squeezenet_v1.0-0000.params", _SQUEEZENET,
        (55.4, 78.8), 227,
    ),
    "imagenet1k-squeezenet1.1": PublishedCheckpoint(
        "squeezenet1.1", "imagenet/squeezenet/squeezenet_v1.1-0000.params", _SQUEEZENET, size=227
    ),
    "imagenet1k-vgg16": PublishedCheckpoint(
        "vgg-16", "imagenet/vgg/vgg16-0000.params", _MXNET, (71.0, 89.9)
    ),
    "imagenet1k-vgg19": PublishedCheckpoint("vgg-19", "imagenet/vgg/vgg19-0000.params", _MXNET),
    # Not ImageNet's 1,000 classes. Their files must have the names of modelzoo.py, as the names in
    # their addresses are those of the checkpoints above.
    "imagenet11k-resnet-152": PublishedCheckpoint(
        "resnet-152", "imagenet-11k/resnet-152/resnet-152-0000.params",
        file="imagenet11k-resnet-152-0000.params",
    ),
    "imagenet11k-place365ch-resnet-50": PublishedCheckpoint(
        "resnet-50", "imagenet-11k-place365-ch/resnet-50-0000.params",
        file="imagenet11k-place365ch-resnet-50-0000.params",
    ),
    "imagenet11k-place365ch-resnet-152": PublishedCheckpoint(
        "resnet-152", "imagenet-11k-place365-ch/resnet-152-0000.params",
        file="imagenet11k-place365ch-resnet-152-0000.params",
    ),
}  # fmt: skip
