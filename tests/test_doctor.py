import numpy as np
import pytest
from conftest import run
from helpers.fake_gpus import H100, V100, build_with, fake_nvidia_smi, show

from imagenet_trainer import __version__, doctor
from imagenet_trainer.benchmarks import environment


@pytest.fixture
def report(monkeypatch, tmp_path, capsys):
    """Lines of doctor on a machine with these GPUs, and MXNet built for CUDA or not."""

    def run_doctor(*gpus, cuda=False, torch=False):
        real = environment.installed
        monkeypatch.setattr(
            environment, "installed", lambda name: torch or None if name == "torch" else real(name)
        )
        fake_nvidia_smi(monkeypatch, tmp_path, show(*gpus) if gpus else "exit 9")
        build_with(monkeypatch, cuda, len(gpus))
        assert doctor.main([]) == 0
        return capsys.readouterr().out.splitlines()

    return run_doctor


def test_the_command():
    text = run("-m", "imagenet_trainer.doctor").stdout
    assert text.startswith(f"imagenet-trainer {__version__}, Python 3.")
    assert "engine: MXNet on " in text


def test_installed_packages(report):
    lines = report()
    assert f"  numpy                   {np.__version__}" in lines
    installed = [line for line in lines if line.startswith("  mxnet")]
    assert len(installed) == 2 and sum("not installed" in line for line in installed) == 1
    assert environment.installed("no-such-package") is None
    assert any(line.startswith("processors: ") for line in lines)
    assert any(line.startswith("OpenMP threads: ") for line in lines)


def test_no_gpu(report):
    gpus, engine = report()[-2:]
    assert gpus.startswith("GPUs: none") and engine == "engine: MXNet on the CPU"


def test_no_gpu_and_pytorch(report):
    assert report(torch="2.13.0")[-1].endswith("--engine torch")


def test_a_gpu_that_another_build_of_mxnet_supports(report):
    lines = report(V100)
    assert "GPU 0: Tesla V100-SXM2-16GB, compute capability 7.0" in lines
    assert "pip uninstall -y mxnet; pip install -e '.[cu117]'" in lines[-2]
    assert lines[-1].startswith("engine: MXNet on the CPU; PyTorch")


def test_a_gpu_that_no_mxnet_supports(report):
    for cuda in (False, True):
        lines = report(H100, cuda=cuda)
        assert "GPU 0: NVIDIA H100 80GB HBM3, compute capability 9.0" in lines
        assert "5.0 to 8.9" in lines[-2]
        assert lines[-1].startswith("engine: MXNet on the CPU; PyTorch")
        lines = report(H100, cuda=cuda, torch="2.13.0")
        assert "  torch                   2.13.0" in lines
        assert lines[-1].startswith("engine: PyTorch on GPUs") and "--gpus 0" in lines[-1]


def test_two_gpus(report):
    assert report(V100, V100, cuda=True)[-1] == "engine: MXNet on GPUs; add --gpus 0,1"


def test_one_of_two_gpus(report):
    lines = report(H100, V100, cuda=True)
    assert "GPU 0 (NVIDIA H100 80GB HBM3)" in lines[-2]
    assert lines[-1] == "engine: MXNet on GPUs; add --gpus 1"
    # With MXNet for CPUs, each GPU has its own remedy.
    lines = report(H100, V100)
    assert "9.0" in lines[-3] and "'.[cu117]'" in lines[-2]
    assert lines[-1].startswith("engine: MXNet on the CPU; PyTorch")
