"""Layers that compute in bfloat16, and their kernels in oneDNN."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest

from imagenet_trainer import symbols
from imagenet_trainer.engines.mxnet.arrays import to_symbol
from imagenet_trainer.engines.mxnet.engine import normalised
from imagenet_trainer.engines.mxnet.precision import in_16_bits, slow_in_bfloat16
from imagenet_trainer.system.machine import has_bfloat16

on_bfloat16 = pytest.mark.skipif(not has_bfloat16(), reason="this CPU has no bfloat16 instructions")
SIDE = 40
BATCH_SHAPE = (2, SIDE, SIDE, 3)


def headed(name):
    symbol = to_symbol(symbols.get_symbol(name, 16, (3, SIDE, SIDE)))
    return normalised(symbol, (0, 0, 0), (1, 1, 1))


UPDATE = """
import sys
import numpy as np
from imagenet_trainer import symbols
from imagenet_trainer.engines import Devices, Optimizer, Training
from imagenet_trainer.engines.factory import open_engine

from imagenet_trainer.system.mxnet_import import mx

side = int(sys.argv[1])
shape, how = (2, side, side, 3), Training(Optimizer("sgd", 0.9, 0.0))
for name in sys.argv[2:]:
    print("network", name, flush=True)
    symbol = symbols.get_symbol(name, 16, (3, side, side))
    engine = open_engine(symbol, Devices(dtype="bfloat16"), shape, (0,) * 3, (1,) * 3, how)
    engine.train_batch(np.zeros(shape, np.uint8), np.zeros(2, np.int64), 0.0)
    mx.nd.waitall()
"""


@pytest.fixture(scope="module")
def kernels():
    """A function that returns the kernels of an update that take bfloat16.

    oneDNN prints them on standard output; one process makes an update of each network.
    """
    command = [sys.executable, "-c", UPDATE, str(SIDE), "mobilenetv2-0.25", "resnext-50"]
    environment = {**os.environ, "DNNL_VERBOSE": "1"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    parts = re.split(r"^network (\S+)\n", done.stdout, flags=re.M)
    by_network = dict(zip(parts[1::2], parts[2::2]))

    def kernels_of(name, primitive):
        line = rf"dnnl_verbose,exec,cpu,{primitive},([^,]+),[^,]+,[^,]*_bf16[^,]*,"
        return re.findall(line, by_network[name])

    return kernels_of


@on_bfloat16
@pytest.mark.parametrize("name", ["resnext-50", "mobilenetv2-0.25"])
def test_no_batch_norm_has_bfloat16_in_plain_layout(kernels, name):
    found = kernels(name, "batch_normalization")
    assert len(found) > 20 and set(found) == {"bnorm_jit:avx512_core_bf16"}


@on_bfloat16
def test_no_grouped_convolution_uses_the_general_product(kernels):
    found = kernels("resnext-50", "convolution")
    assert len(found) > 60 and all("gemm" not in kernel for kernel in found)


def test_convolutions_that_stay_in_float32():
    def slow(name):
        return slow_in_bfloat16(headed(name), BATCH_SHAPE)

    assert slow("resnet-18") == ["conv0"]
    # No BatchNorm follows the first, nor conv10 with its odd number of classes.
    assert slow("squeezenet1.0") == []
    # Groups of 4 and 8 channels; those of the other stages have 16 and 32.
    units = ["stage1_unit1", "stage1_unit2", "stage1_unit3"]
    units += ["stage2_unit1", "stage2_unit2", "stage2_unit3", "stage2_unit4"]
    assert slow("resnext-50") == ["conv0", *(f"{unit}_conv2" for unit in units)]
    # Depthwise, with multiples of 16 channels; a quarter of the width begins with 8.
    assert slow("mobilenet") == ["conv1"]
    assert slow("mobilenet0.25") == ["conv1", "conv2_dw", "conv2"]


def types_in(name):
    nodes = in_16_bits(headed(name), "bfloat16", (), BATCH_SHAPE).get_internals()
    _, outputs, _ = nodes.infer_type(data=np.uint8)
    return {
        name: "float32" if kind == np.float32 else "bfloat16"
        for name, kind in zip(nodes.list_outputs(), outputs)
    }


@on_bfloat16
def test_types_of_the_layers():
    types = types_in("resnet-18")
    assert {types[name] for name in types if re.search("_(weight|gamma|bias|mean)$", name)} == {
        "float32"
    }
    # The first convolution and the layers up to the next one.
    for name in ("conv0", "bn0", "relu0", "pool0", "stage1_unit1_relu1", "softmax"):
        assert types[f"{name}_output"] == "float32", name
    for name in ("stage1_unit1_conv1", "stage1_unit1_plus", "stage4_unit2_bn2", "bn1", "fc1"):
        assert types[f"{name}_output"] == "bfloat16", name


@on_bfloat16
def test_a_first_convolution_in_bfloat16():
    # A Concat joins its output with others.
    types = types_in("densenet-121")
    assert types["conv0_output"] == types["stage1_unit1_concat_output"] == "bfloat16"
