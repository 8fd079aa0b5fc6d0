"""GluonCV's classification networks."""

import importlib.util

import pytest

from imagenet_trainer import symbols
from imagenet_trainer.symbols import gluoncv_zoo

CLASSES = 6


# Names to exclude: quantised networks cannot be trained.
QUANTIZED = ("mobilenet1.0_int8", "resnet50_v1_int8")


# Prefixes and parts of the names of other networks.
OTHER_WORK = (
    "ssd_", "rcnn", "yolo", "fcn_", "psp_", "deeplab", "icnet", "danet", "fastscnn", "_pose",
    "pose_", "center_net", "siamrpn", "monodepth", "kinetics", "ucf101", "hmdb51", "sthsth",
    "_custom",
)  # fmt: skip


@pytest.fixture(scope="module")
def gluoncv():
    if importlib.util.find_spec("gluoncv") is None:
        pytest.skip("GluonCV is not installed")
    return gluoncv_zoo.import_gluoncv()


def classification_names():
    """The image classifiers among GluonCV's 332 names."""
    return [
        name
        for name in gluoncv_zoo.names()
        if name not in QUANTIZED
        and not any(word in name for word in OTHER_WORK)
        and not (name.startswith("hrnet") and name.endswith("_s"))
    ]


def symbol_of(name, image_shape):
    return symbols.get_symbol(f"gluoncv/{name}", CLASSES, image_shape)
