from helpers.fake_gpus import (
    H100,
    V100,
    machine,  # noqa: F401
)

from imagenet_trainer.engines.mxnet.devices import gpu_problem


def test_an_mxnet_for_the_cpu(machine):
    machine()
    text = gpu_problem((0, 1))
    assert "build for CPUs" in text and "driver" in text
    machine(V100)
    assert "pip uninstall -y mxnet; pip install -e '.[cu117]'" in gpu_problem((0,))
    # Another build of MXNet would not help, or does not exist.
    machine(H100)
    text = gpu_problem((0,))
    assert "compute capability 9.0" in text and "cu117]" not in text
    machine(V100, kind=("Linux", "aarch64"))
    text = gpu_problem((0,))
    assert "aarch64" in text and "cu117]" not in text


def test_an_mxnet_with_cuda(machine):
    machine(V100, H100, mxnet="cu117")
    assert gpu_problem((0,)) is None
    text = gpu_problem((0, 1))
    assert text.startswith("GPU 1 (NVIDIA H100 80GB HBM3)") and "9.0" in text
    assert "5.0 to 8.9" in text
    assert gpu_problem((2,)).startswith("there is no GPU 2")


def test_mxnets_own_count_decides_without_compute_capabilities(machine):
    machine(V100, V100, mxnet="cu117", old_driver=True)
    assert gpu_problem((0, 1)) is None
    assert gpu_problem((2,)).startswith("there is no GPU 2")
