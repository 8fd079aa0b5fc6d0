"""What of a network is computed in bfloat16, and by which of oneDNN's kernels."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest

import symbols
from imagenet_trainer.engines.mxnet.engine import normalised
from imagenet_trainer.engines.mxnet.precision import in_16_bits, slow_in_bfloat16
from imagenet_trainer.system.machine import has_bfloat16

on_bfloat16 = pytest.mark.skipif(not has_bfloat16(), reason="this CPU has no bfloat16 instructions")
SIDE = 40
BATCH_SHAPE = (2, SIDE, SIDE, 3)


def headed(name):
    return normalised(symbols.get_symbol(name, 16, (3, SIDE, SIDE)), (0, 0, 0), (1, 1, 1))


def kernels(name, primitive):
    """(kernel, types and layouts) of the primitives that take bfloat16, forward and backward.

    oneDNN tells them on standard output.
    """
    command = [
        sys.executable, "-m", "imagenet_trainer.fit", "--benchmark", "1", "--network", name,
        "--num-classes", "16", "--batch-size", "2", "--image-shape", f"3,{SIDE},{SIDE}",
        "--lr", "1e-9", "--disp-batches", "1", "--dtype", "bfloat16", "--engine", "mxnet",
    ]  # fmt: skip
    environment = {**os.environ, "DNNL_VERBOSE": "1"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    line = rf"dnnl_verbose,exec,cpu,{primitive},([^,]+),[^,]+,([^,]*_bf16[^,]*),"
    return re.findall(line, done.stdout)


@on_bfloat16
@pytest.mark.parametrize("name", ["resnet-18", "mobilenetv2-0.25"])
def test_no_batch_norm_takes_bfloat16_in_plain_layout(name):
    found = kernels(name, "batch_normalization")
    assert len(found) > 50 and {kernel for kernel, _ in found} == {"bnorm_jit:avx512_core_bf16"}


@on_bfloat16
def test_no_group_is_left_to_the_general_product():
    found = kernels("resnext-50", "convolution")
    assert len(found) > 500 and all("gemm" not in kernel for kernel, _ in found)


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
    # Every channel a group, all in multiples of 16; a quarter of the width begins with 8.
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
def test_what_is_bfloat16():
    types = types_in("resnet-18")
    assert {types[name] for name in types if re.search("_(weight|gamma|bias|mean)$", name)} == {
        "float32"
    }
    # The first convolution and what follows it, up to the next.
    for name in ("conv0", "bn0", "relu0", "pool0", "stage1_unit1_relu1", "softmax"):
        assert types[f"{name}_output"] == "float32", name
    for name in ("stage1_unit1_conv1", "stage1_unit1_plus", "stage4_unit2_bn2", "bn1", "fc1"):
        assert types[f"{name}_output"] == "bfloat16", name


@on_bfloat16
def test_where_the_first_convolution_cannot_stay_in_float32():
    # A Concat joins it with the others.
    types = types_in("densenet-121")
    assert types["conv0_output"] == types["stage1_unit1_concat_output"] == "bfloat16"
