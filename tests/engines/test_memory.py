import pytest
from helpers.mxnet_engine import engine_of, network

from imagenet_trainer.engines import Devices, Optimizer, Training, memory
from imagenet_trainer.engines.factory import open_engine
from imagenet_trainer.engines.memory import (
    DeviceMemoryError,
    check_address_space,
    least_bytes,
    memory_errors,
)
from imagenet_trainer.errors import run_command


@pytest.mark.parametrize(
    "error",
    [
        # Messages of MXNet, cuDNN through MXNet, PyTorch, C++ and Python.
        RuntimeError(
            'Traceback (most recent call last):\n  File "../src/pooled_storage_manager.h", line 187'
            "\nMXNetError: cudaMalloc retry failed: out of memory"
        ),
        RuntimeError('File "x.h", line 74\nMXNetError: Failed to allocate CPU Memory'),
        RuntimeError("Check failed: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("Size of tensor you are trying to allocate is larger than 2^31 elements."),
        RuntimeError("std: :bad_alloc"),
        RuntimeError("simple_bind error.\nMXNetError: Resource temporarily unavailable"),
        RuntimeError("FIND was unable to find an engine to execute this computation"),
        MemoryError(),
    ],
)
def test_full_memory_is_one_line_with_the_flag(error, capsys):
    def body():
        with memory_errors(8, "GPU 0"):
            raise error

    assert run_command("fit", body) == 2
    line = capsys.readouterr().err
    assert line.startswith("fit: error: --batch-size: 8 images") and line.count("\n") == 1
    assert "GPU 0" in line and ("2^31" in line) == ("2^31" in str(error))
    assert ("cuDNN" in line) == ("engine" in str(error))


def test_only_the_first_of_several_errors_may_speak_of_memory():
    with pytest.raises(DeviceMemoryError), memory_errors(8, "GPU 0"):
        try:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        finally:
            raise RuntimeError("CUDA error: operation failed due to an error during capture")


def test_other_errors_of_the_engine_pass():
    with pytest.raises(RuntimeError, match="shapes"), memory_errors(8, "GPU 0"):
        raise RuntimeError("Check failed: shapes")


def test_mxnets_errors_are_translated_wherever_they_appear(monkeypatch):
    engine = engine_of(network())

    def full(*arguments, **keywords):
        raise RuntimeError("Failed to allocate CPU Memory")

    monkeypatch.setattr(engine._module, "set_params", full)
    with pytest.raises(DeviceMemoryError, match="the CPU"):
        engine.set_params({}, {})


SGD = Optimizer("sgd", 0.9, 1e-4)


def shares(images, kind=None, dtype="float32"):
    devices = Devices(dtype=dtype)
    return least_bytes(network(), (images, 8, 8, 3), devices, kind)


def test_the_least_memory_counts_parameters_and_what_backward_needs():
    parameters = shares(1)
    assert parameters == shares(64) > 0  # forward alone may free every output
    plain = Training(SGD)
    one, many = shares(8, plain), shares(64, plain)
    outputs = (many - one) // 56
    assert one == 3 * parameters + 8 * outputs and outputs > 0
    assert shares(64, Training(SGD, checkpoint_activations=True)) == 3 * parameters
    assert shares(8, plain, "bfloat16") == 3 * parameters + 4 * outputs


def test_a_limited_address_space_is_compared_before_the_engine_opens(monkeypatch):
    batch, devices = (1 << 21, 8, 8, 3), Devices(engine="mxnet")
    monkeypatch.setattr(memory, "address_space", lambda: 4 << 30)
    parts = Training(SGD, accumulate=2)
    with pytest.raises(DeviceMemoryError, match=r": 1048576 images at a time .*ulimit -v 4194304"):
        open_engine(network(), devices, batch, (0,) * 3, (1,) * 3, parts)
    check_address_space(network(), (8, 8, 8, 3), devices, Training(SGD))
    check_address_space(network(), batch, Devices(gpus=(0,)), Training(SGD))
