import pytest
from helpers.mxnet_engine import engine_of, network

from imagenet_trainer.engines.memory import DeviceMemoryError, memory_errors
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


def test_other_errors_of_the_engine_pass():
    with pytest.raises(RuntimeError, match="shapes"), memory_errors(8, "GPU 0"):
        raise RuntimeError("Check failed: shapes")


def test_mxnets_errors_are_translated_wherever_they_appear(monkeypatch):
    engine = engine_of(network())

    def full(*arguments, **keywords):
        raise RuntimeError("Failed to allocate CPU Memory")

    monkeypatch.setattr(engine._module, "get_params", full)
    with pytest.raises(DeviceMemoryError, match="the CPU"):
        engine.get_params()
